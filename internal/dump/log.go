package dump

import (
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/replica"
)

// Log prints every record of the raft log. It only reads, so the log of a running server may be printed too,
// without what it is just writing.
func (d *Dump) Log(dir string) error {
	if err := d.exists(dir, "raft log"); err != nil {
		return err
	}
	file := ""
	return raftlog.Dump(d.FS, dir, func(r raftlog.RecordInfo) error {
		if r.File != file {
			file = r.File
			if err := d.printf("log segment %s\n", file); err != nil {
				return err
			}
		}
		if err := d.printf("%10d  %s\n", r.Offset, recordLine(r)); err != nil {
			return err
		}
		if r.Kind != raftlog.KindEntry {
			return nil
		}
		return d.entry(r)
	})
}

func recordLine(r raftlog.RecordInfo) string {
	switch r.Kind {
	case raftlog.KindBegin:
		return fmt.Sprintf("begin   after entry %d, forgotten up to %d (term %d), %s", r.Last, r.Index, r.Term, hardState(r))
	case raftlog.KindEntry:
		return fmt.Sprintf("entry   %d term %d, %s, %d bytes", r.Index, r.Term, entryType(r.EntryType), len(r.Data))
	case raftlog.KindState:
		return "state   " + hardState(r)
	case raftlog.KindPrefix:
		return fmt.Sprintf("prefix  forgotten up to %d (term %d)", r.Index, r.Term)
	case raftlog.KindStop:
		return "end     " + r.Note
	}
	return r.Kind.String()
}

func hardState(r raftlog.RecordInfo) string {
	return fmt.Sprintf("term %d, vote %x, commit %d", r.HardTerm, r.Vote, r.Commit)
}

func entryType(t raftpb.EntryType) string {
	switch t {
	case raftpb.EntryNormal:
		return "commands"
	case raftpb.EntryConfChange, raftpb.EntryConfChangeV2:
		return "change of members"
	}
	return t.String()
}

// entry prints the commands of an entry. One that cannot be read is said to be so, and the next is printed:
// who dumps a log may well do it because something is wrong with it.
func (d *Dump) entry(r raftlog.RecordInfo) error {
	if r.EntryType != raftpb.EntryNormal {
		return d.printf("%14s%s\n", "", d.changeLine(r))
	}
	var failed error
	err := command.Split(r.Data, func(e command.Encoded) bool {
		line := ""
		if op, err := e.Decode(); err != nil {
			line = err.Error()
		} else {
			line = d.commandLine(op)
		}
		failed = d.printf("%14s%016x %s\n", "", e.ID, line)
		return failed == nil
	})
	if failed == nil && err != nil {
		failed = d.printf("%14s%v\n", "", err)
	}
	return failed
}

// changeLine is a change of the membership.
func (d *Dump) changeLine(r raftlog.RecordInfo) string {
	c, err := replica.DecodeChange(r.Data)
	if err != nil || r.EntryType != raftpb.EntryConfChange {
		return d.text(r.Data)
	}
	switch c.Kind {
	case command.AddVoter:
		return fmt.Sprintf("add member %x at %s", c.Member, strings.Join(c.PeerURLs, ","))
	case command.AddLearner:
		return fmt.Sprintf("add learner %x at %s", c.Member, strings.Join(c.PeerURLs, ","))
	case command.PromoteMember:
		return fmt.Sprintf("promote member %x", c.Member)
	}
	return fmt.Sprintf("remove member %x", c.Member)
}

func (d *Dump) commandLine(op command.Op) string {
	switch op := op.(type) {
	case *pb.PutRequest:
		line := fmt.Sprintf("put %s = %s", d.text(op.Key), d.text(op.Value))
		if op.Lease != 0 {
			line += fmt.Sprintf(" lease %x", uint64(op.Lease))
		}
		return line
	case *pb.DeleteRangeRequest:
		if len(op.RangeEnd) == 0 {
			return "delete " + d.text(op.Key)
		}
		return fmt.Sprintf("delete %s to %s", d.text(op.Key), d.text(op.RangeEnd))
	case *pb.CompactionRequest:
		return fmt.Sprintf("compact %d", op.Revision)
	case *pb.LeaseGrantRequest:
		return fmt.Sprintf("grant lease %x for %d s", uint64(op.ID), op.TTL)
	case *command.LeaseRevoke:
		verb := "revoke leases"
		if op.Expired {
			verb = "end expired leases"
		}
		return verb + hexList(op.IDs)
	case *command.LeaseCheckpoint:
		var b strings.Builder
		b.WriteString("note what leases have left:")
		for _, l := range op.Leases {
			fmt.Fprintf(&b, " %x %d s", uint64(l.ID), l.Seconds)
		}
		return b.String()
	case *command.MemberPublish:
		text := fmt.Sprintf("publish member %x as %q at %s", op.ID, op.Name, strings.Join(op.ClientURLs, ","))
		if op.Level > 0 {
			text += fmt.Sprintf(", incarnation %x, level %d, %s", op.Incarnation, op.Level, op.Version)
		}
		return text
	case *command.MemberUpdate:
		return fmt.Sprintf("member %x is at %s", op.ID, strings.Join(op.PeerURLs, ","))
	case *command.ClusterLevel:
		return fmt.Sprintf("feature level %d", op.Level)
	case *command.DigestMark:
		return fmt.Sprintf("mark %x for a comparison", op.ID)
	case *command.DigestReport:
		return fmt.Sprintf("member %x held %08x and %016x at mark %x, compacted to %d", op.Member, op.Hash, op.Rest, op.Mark, op.Compact)
	case proto.Message:
		text := prototext.MarshalOptions{}.Format(op)
		return fmt.Sprintf("%s %s", strings.ToLower(strings.TrimSuffix(string(op.ProtoReflect().Descriptor().Name()), "Request")), d.text([]byte(text)))
	}
	return fmt.Sprintf("%T", op)
}

func hexList(ids []int64) string {
	var b strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&b, " %x", uint64(id))
	}
	return b.String()
}
