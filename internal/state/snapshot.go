package state

import (
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/storage"
)

// Snapshot is the whole state at one moment: what the log has made of it up to Applied. It is read from the
// engine and not from the tables in memory. A group of commands is one batch there, so every moment of the
// engine is one between two groups, and nobody has to stop for it.
type Snapshot struct {
	engine *storage.Snapshot

	Applied   Position
	ConfState *raftpb.ConfState
	Members   []member.Member
	Leases    []lease.Lease
	Auth      *auth.View
	Alarms    []*pb.AlarmMember
	Downgrade string // as DowngradeTarget
	KV        *mvcc.Moment
}

// Snapshot takes the state at this moment. It must be closed; while it is open it costs the disk space of what
// was removed or replaced since, and nothing else.
func (m *Machine) Snapshot() (*Snapshot, error) {
	e, err := m.engine.Snapshot()
	if err != nil {
		return nil, err
	}
	s := &Snapshot{engine: e}
	if err := s.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("read a snapshot of the state: %w", err), e.Close())
	}
	return s, nil
}

func (s *Snapshot) read() (err error) {
	var ok bool
	if s.Applied, ok, err = readApplied(s.engine.Get); err != nil || !ok {
		return errors.Join(err, errors.New("there must be an applied position"))
	}
	if s.ConfState, err = readConfState(s.engine); err != nil {
		return err
	}
	members, err := member.Open(s.engine)
	if err != nil {
		return err
	}
	s.Members = members.List()
	leases, err := lease.Open(s.engine)
	if err != nil {
		return err
	}
	s.Leases = leases.List()
	users, err := auth.Open(s.engine)
	if err != nil {
		return err
	}
	s.Auth = users.View()
	alarms, err := openAlarms(s.engine)
	if err != nil {
		return err
	}
	s.Alarms = alarms.list()
	if s.Downgrade, err = readDowngrade(s.engine); err != nil {
		return err
	}
	s.KV, err = mvcc.At(s.engine)
	return err
}

// Scratch creates a file for so many bytes, for whoever works on the snapshot and has not the memory for it.
func (s *Snapshot) Scratch(need int64) (*storage.Scratch, error) { return s.engine.Scratch(need) }

// Close lets go of the moment.
func (s *Snapshot) Close() error { return s.engine.Close() }
