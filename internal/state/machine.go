package state

import (
	"errors"
	"fmt"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/invariant"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/storage"
)

// Machine is the state of one member.
type Machine struct {
	engine  *storage.Engine
	kv      *mvcc.Store
	leases  *lease.Table
	auth    *auth.Table
	members *member.Table
	alarms  *alarms
	marks   *marks
	conf    atomic.Pointer[raftpb.ConfState]
	level   atomic.Uint32
	log     uint64
	applied atomic.Pointer[Position]

	downgrade atomic.Pointer[string]

	// The write side, touched by the applying goroutine alone.
	batch  *storage.Batch
	writer *mvcc.Writer // nil outside Begin and Commit
	// nextConf is who votes once the group is committed; nil when that does not change.
	nextConf *raftpb.ConfState
	counts   Counts
}

// Result is what became of one command.
type Result struct {
	Rev mvcc.Rev // the store's revision after the command
	// Response is the answer in etcd's type for the command, its header left to the door; nil with Err.
	Response any
	Err      error // the verdict that every member reached; nil when the command was carried out
	Took     Took  // filled in by the room that puts commands into order
}

// Took is where the time of a command went, in nanoseconds.
type Took struct {
	Queue int64 // until it became part of a log entry
	Sync  int64 // until that entry was durable on a quorum, and its turn to be applied
	Apply int64 // until the effects of the group it was applied with could be seen
}

// ErrKeyNotFound is the verdict on a put that keeps the value or lease of a key that does not exist.
var ErrKeyNotFound = errors.New("key not found")

// isVerdict reports whether err is a command's own error, the same on every member.
func isVerdict(err error) bool {
	for _, v := range [...]error{
		ErrKeyNotFound, ErrNoSpace, ErrCorrupt, ErrBadHash,
		mvcc.ErrCompacted, mvcc.ErrFutureRev, lease.ErrNotFound, lease.ErrExists,
		member.ErrRemoved, member.ErrExists, member.ErrNotFound, member.ErrNotLearner, member.ErrPeerURLExists,
	} {
		if errors.Is(err, v) {
			return true
		}
	}
	return auth.IsVerdict(err)
}

// Open reads the state that the engine holds. Found must have been called on it once.
func Open(e *storage.Engine, o mvcc.Options) (*Machine, error) {
	if err := checkFormat(e); err != nil {
		return nil, err
	}
	m := &Machine{engine: e, marks: newMarks()}
	applied, ok, err := readApplied(e.Get)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("read the applied position: it is missing: the state directory is damaged; restore it from a backup or another member")
	}
	m.applied.Store(&applied)
	if m.log, err = readLog(e); err != nil {
		return nil, err
	}
	conf, err := readConfState(e)
	if err != nil {
		return nil, err
	}
	m.conf.Store(conf)
	level, err := readLevel(e)
	if err != nil {
		return nil, err
	}
	m.level.Store(level)
	if m.members, err = member.Open(e); err != nil {
		return nil, err
	}
	if m.leases, err = lease.Open(e); err != nil {
		return nil, err
	}
	if m.auth, err = auth.Open(e); err != nil {
		return nil, err
	}
	if m.alarms, err = openAlarms(e); err != nil {
		return nil, err
	}
	target, err := readDowngrade(e)
	if err != nil {
		return nil, err
	}
	m.setDowngrade(target)
	if m.kv, err = mvcc.Open(e, o); err != nil {
		return nil, err
	}
	orphan := ""
	for key, id := range m.kv.Leased {
		if !m.leases.Attach(lease.ID(id), key) {
			orphan = fmt.Sprintf("key %q hangs on lease %x, which does not exist", key, id)
		}
	}
	if orphan != "" {
		return nil, fmt.Errorf("attach keys to leases: %s: the state directory is damaged; restore it from a backup or another member", orphan)
	}
	m.batch = e.NewBatch()
	return m, nil
}

// Auth returns the users and roles.
func (m *Machine) Auth() *auth.Table { return m.auth }

// KV returns the keys.
func (m *Machine) KV() *mvcc.Store { return m.kv }

// Leases returns the leases.
func (m *Machine) Leases() *lease.Table { return m.leases }

// Members returns the members.
func (m *Machine) Members() *member.Table { return m.members }

// Log names the log that feeds this state; another one is not to be applied to it.
func (m *Machine) Log() uint64 { return m.log }

// ConfState returns who votes. The caller does not change it.
func (m *Machine) ConfState() *raftpb.ConfState { return m.conf.Load() }

// Applied returns the place in the log up to which commands are applied and visible.
func (m *Machine) Applied() Position { return *m.applied.Load() }

// DurableApplied returns the place in the log up to which the state would survive a crash now: what the
// log may forget.
func (m *Machine) DurableApplied() (Position, error) {
	p, _, err := readApplied(func(key, _ []byte) ([]byte, bool, error) { return m.engine.GetDurable(key) })
	return p, err
}

// Begin starts a group of commands.
func (m *Machine) Begin() {
	invariant.Check(m.writer == nil, "a group of commands begins only after the one before it was committed")
	m.batch.Reset()
	m.writer = m.kv.Begin(m.batch)
}

// Apply carries out one command of the group. The error is a failure of this member, after which it must
// not go on; the command's own error is in the Result.
func (m *Machine) Apply(op command.Op) (Result, error) {
	invariant.Check(m.writer != nil, "a command is applied within a group")
	var by command.Identity
	if s, ok := op.(command.Signed); ok {
		by, op = s.By, s.Op
	}
	response, rev, err := m.applyFor(by, op)
	if err != nil {
		if !isVerdict(err) {
			return Result{}, fmt.Errorf("apply %T: %w", op, err)
		}
		return Result{Rev: m.writer.Rev(), Err: err}, nil
	}
	return Result{Rev: rev, Response: response}, nil
}

// applyFor carries out a command for somebody, if neither an alarm nor a missing right is in the way.
func (m *Machine) applyFor(by command.Identity, op command.Op) (any, mvcc.Rev, error) {
	if err := m.checkAlarms(op); err != nil {
		return nil, 0, err
	}
	if err := m.checkRights(by, op); err != nil {
		return nil, 0, err
	}
	return m.apply(op)
}

func (m *Machine) apply(op command.Op) (any, mvcc.Rev, error) {
	switch op := op.(type) {
	case *pb.PutRequest:
		tx := m.writer.NewTx()
		if err := m.checkPut(tx, op); err != nil {
			return end(tx, nil, err)
		}
		r, err := m.put(tx, op)
		return end(tx, r, err)
	case *pb.DeleteRangeRequest:
		tx := m.writer.NewTx()
		r, err := m.deleteRange(tx, op)
		return end(tx, r, err)
	case *pb.TxnRequest:
		tx := m.writer.NewTx()
		r, err := m.txn(tx, op)
		return end(tx, r, err)
	case *pb.CompactionRequest:
		return &pb.CompactionResponse{}, m.writer.Rev(), m.writer.Compact(mvcc.Rev(op.Revision))
	case *pb.LeaseGrantRequest:
		r, err := m.grant(op)
		return r, m.writer.Rev(), err
	case *command.LeaseRevoke:
		err := m.revoke(op)
		return &pb.LeaseRevokeResponse{}, m.writer.Rev(), err
	case *command.LeaseCheckpoint:
		for _, l := range op.Leases {
			m.leases.Checkpoint(m.batch, lease.ID(l.ID), l.Seconds)
		}
		return nil, m.writer.Rev(), nil
	case *command.MemberPublish:
		m.members.Publish(m.batch, member.Member{
			ID: member.ID(op.ID), Name: op.Name, ClientURLs: op.ClientURLs, Incarnation: op.Incarnation, Level: op.Level, Version: op.Version,
		})
		return nil, m.writer.Rev(), nil
	case *command.MemberUpdate:
		err := m.members.Update(m.batch, member.ID(op.ID), op.PeerURLs)
		return MemberList(m.members), m.writer.Rev(), err
	case *command.DigestMark:
		return nil, m.writer.Rev(), m.applyMark(op)
	case *command.DigestReport:
		m.marks.reported = append(m.marks.reported, *op)
		return nil, m.writer.Rev(), nil
	case *command.ClusterLevel:
		return nil, m.writer.Rev(), m.raiseLevel(op.Level)
	case *pb.AlarmRequest:
		return m.alarms.set(m.batch, op), m.writer.Rev(), nil
	case *command.Downgrade:
		m.applyDowngrade(op.Target)
		return &pb.DowngradeResponse{}, m.writer.Rev(), nil
	}
	r, err := m.applyAuth(op)
	return r, m.writer.Rev(), err
}

// end closes a command's transaction. Commands check before they write, so one that failed wrote nothing.
func end(tx *mvcc.Tx, response any, err error) (any, mvcc.Rev, error) {
	if err != nil {
		if isVerdict(err) {
			tx.Abort()
		}
		return nil, 0, err
	}
	return response, tx.End(), nil
}

// Commit ends the group, whose last command came from the entry at p: all of it reaches the engine in one
// batch and becomes visible. A failure is final.
func (m *Machine) Commit(p Position) error {
	invariant.Check(m.writer != nil, "only a group that has begun is committed")
	invariant.Check(p.Index > m.Applied().Index, "the log is applied forwards")
	if err := m.writer.Finish(); err != nil {
		return fmt.Errorf("finish a group of commands: %w", err)
	}
	writeApplied(m.batch, p)
	if err := m.engine.Commit(m.batch); err != nil {
		return fmt.Errorf("commit a group of commands: %w", err)
	}
	// Rights before keys: who sees a key is held to the rights that were in force when it was written.
	m.auth.Publish()
	m.alarms.publish()
	m.writer.Publish()
	m.writer = nil
	m.leases.Publish()
	if m.nextConf != nil {
		m.conf.Store(m.nextConf)
		m.nextConf = nil
	}
	m.marks.publish()
	// Last: who finds a position applied finds its effects too.
	m.applied.Store(&p)
	return nil
}
