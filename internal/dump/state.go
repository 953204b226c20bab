package dump

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/storage"
)

// State prints every table of the engine. Rows that cannot be read are printed as they are.
func (d *Dump) State(dir string) error {
	if err := d.exists(dir, "state"); err != nil {
		return err
	}
	e, err := storage.Open(storage.Options{FS: d.FS, Dir: dir, ReadOnly: true})
	if errors.Is(err, storage.ErrLocked) {
		return fmt.Errorf("the directory %s is in use: a server runs on it, and its state can be read only while it is stopped; "+
			"\"keelson dump log\" and \"keelson get\" work meanwhile", dir)
	}
	if err != nil {
		return fmt.Errorf("dump state: %w", err)
	}
	err = errors.Join(d.meta(e), d.members(e), d.leases(e), d.revisions(e), d.records(e))
	return errors.Join(err, e.Close())
}

// rows prints a table: its heading and a line per row.
func (d *Dump) rows(e *storage.Engine, heading string, first byte, line func(key, value []byte) string) error {
	it, err := e.Iter([]byte{first}, []byte{first + 1})
	if err != nil {
		return fmt.Errorf("dump state: %w", err)
	}
	err = d.printf("%s\n", heading)
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		text := line(it.Key(), it.Value())
		if text == "" {
			text = fmt.Sprintf("unreadable row %x = %x", it.Key(), it.Value())
		}
		err = d.printf("  %s\n", text)
	}
	return errors.Join(err, it.Close())
}

func (d *Dump) meta(e *storage.Engine) error {
	head := storage.MetaKey(nil, "")
	return d.rows(e, "meta", head[0], func(key, value []byte) string {
		name := string(key[len(head):])
		switch {
		case name == storage.MetaApplied && len(value) == 16:
			return fmt.Sprintf("%s: entry %d term %d", name, binary.BigEndian.Uint64(value), binary.BigEndian.Uint64(value[8:]))
		case name == storage.MetaConfState:
			conf := new(raftpb.ConfState)
			if proto.Unmarshal(value, conf) != nil {
				return ""
			}
			return fmt.Sprintf("%s: voters %x learners %x", name, conf.GetVoters(), conf.GetLearners())
		case name == storage.MetaCluster && len(value) == 17:
			return fmt.Sprintf("%s: %x, this member is %x", name, binary.BigEndian.Uint64(value[1:]), binary.BigEndian.Uint64(value[9:]))
		case len(value) == 8:
			return fmt.Sprintf("%s: %d", name, int64(binary.BigEndian.Uint64(value)))
		case len(value) == 1:
			return fmt.Sprintf("%s: %d", name, value[0])
		}
		return fmt.Sprintf("%s: %x", name, value)
	})
}

func (d *Dump) members(e *storage.Engine) error {
	t, err := member.Open(e)
	if err != nil {
		return d.printf("members\n  %v\n", err)
	}
	if err := d.printf("members\n"); err != nil {
		return err
	}
	for _, m := range t.List() {
		learner := ""
		if m.Learner {
			learner = ", learner"
		}
		err := d.printf("  %x %q, peers at %s, clients at %s%s\n", uint64(m.ID), m.Name,
			strings.Join(m.PeerURLs, ","), strings.Join(m.ClientURLs, ","), learner)
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *Dump) leases(e *storage.Engine) error {
	t, err := lease.Open(e)
	if err != nil {
		return d.printf("leases\n  %v\n", err)
	}
	if err := d.printf("leases\n"); err != nil {
		return err
	}
	for _, l := range t.List() {
		if err := d.printf("  %x granted %d s, recorded %d s\n", uint64(l.ID), l.TTL, l.Remaining); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dump) revisions(e *storage.Engine) error {
	table := storage.AppendRevisionKey(nil, 0, 0)[0]
	return d.rows(e, "revisions", table, func(key, value []byte) string {
		rev, sub, ok := storage.ParseRevisionKey(key)
		r, err := storage.ParseRevision(value)
		if !ok || err != nil {
			return ""
		}
		verb := "put"
		if r.Delete {
			verb = "delete"
		}
		line := fmt.Sprintf("%d.%d %s %s, %d bytes with sum %08x", rev, sub, verb, d.text([]byte(r.User)), r.Value.Len, r.Value.CRC)
		if r.PrevRev != 0 {
			line += fmt.Sprintf(", after %d.%d", r.PrevRev, r.PrevSub)
		}
		return line
	})
}

func (d *Dump) records(e *storage.Engine) error {
	table := storage.AppendRecordFrom(nil, "")[0]
	return d.rows(e, "records", table, func(key, value []byte) string {
		shared, rev, sub, ok := storage.SplitRecordKey(bytes.Clone(key))
		if !ok {
			return ""
		}
		user, ok := storage.UserKey(shared, nil)
		if !ok {
			return ""
		}
		if len(value) == 0 {
			return fmt.Sprintf("%s at %d.%d deleted", d.text(user), rev, sub)
		}
		kv := new(mvccpb.KeyValue)
		if proto.Unmarshal(value, kv) != nil {
			return ""
		}
		line := fmt.Sprintf("%s at %d.%d = %s, created %d, version %d", d.text(user), rev, sub, d.text(kv.Value), kv.CreateRevision, kv.Version)
		if kv.Lease != 0 {
			line += fmt.Sprintf(", lease %x", uint64(kv.Lease))
		}
		return line
	})
}
