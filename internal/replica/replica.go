package replica

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/state"
)

// Limits of raft itself.
const (
	maxMessageBytes     = 1 << 20  // of entries in one message to another member
	maxInflightMessages = 512      // messages to a member that it has not answered
	maxInflightBytes    = 64 << 20 // of entries in those messages
	maxUncommittedBytes = 64 << 20 // of entries that wait for a quorum
	maxApplyBytes       = 8 << 20  // of entries handed to the state machine at once
)

// Options are what a replica is built from.
type Options struct {
	Log       *raftlog.Log
	Machine   *state.Machine
	Heartbeat time.Duration // one tick of raft
	Election  time.Duration // a multiple of Heartbeat
	// MaxRequestBytes bounds one encoded command.
	MaxRequestBytes int
	// WarnApply is the time to apply one command from which on it is logged as slow.
	WarnApply time.Duration
	Seed      uint64 // random; names this run and its proposals
	// Priority is how much this member is wanted as the leader: the leader hands over to a voter that is
	// wanted more than itself and as up to date. Most clusters leave it at 0 everywhere.
	Priority int
	// LeaseReads lets a leader answer barriers by its lease, without asking the quorum; see lease.go for what
	// that rests on. It counts only where all voters have it.
	LeaseReads bool
	// TickAdvance shortens the first wait for a leader, once a quorum is connected.
	TickAdvance bool
	Metrics     *metrics.Set
	Logger      *slog.Logger
}

// Replica is this member's part in the order of commands.
type Replica struct {
	opts    Options
	id      uint64
	node    *raft.RawNode
	log     *raftlog.Log
	machine *state.Machine
	logger  *slog.Logger

	proposals *proposals
	changes   *changes
	barriers  *barriers

	outboxes *outboxes
	memories *memories
	received *mailbox[parcel] // from other members to Run
	tasks    *mailbox[func()] // what others want done by Run, which owns the RawNode

	appends *mailbox[*raftpb.Message] // from Run to RunAppend
	applies *mailbox[*raftpb.Message] // from Run to RunApply
	answers *mailbox[answer]          // from both back to Run

	status   atomic.Pointer[Status]
	progress atomic.Pointer[map[uint64]Progress] // of the others, while this member leads
	leader   *leaderSignal
	lag      *lag
	lease    readLease
	work     work
	begun    time.Time     // when this replica was built
	stopped  chan struct{} // closed when Run returns

	// Owned by Run.
	appending   int       // appends of entries that are under way
	leaderSince time.Time // when the present leader was first seen
	inCharge    bool      // this member leads and has applied an entry of its term
	charged     uint64    // what was applied when inCharge last changed
	proposed    uint64    // index of the last entry that this member put into its log as the leader
	proposedAt  time.Time // when it last proposed
	acked       acked     // what it told the leader last
	gather      *gather
	changing    uint64 // index of the last change of the membership that it put there
	ticks       int    // since the start
	alone       bool   // raft knows no other member
	failover    failover
	office      office
	leaving     time.Time // when this member ends because it was removed; zero while it belongs

	applyTimings applyTimings // owned by RunApply
}

// Status is how this member sees the replication.
type Status struct {
	ID      uint64
	Leader  uint64 // 0 when none is known
	Term    uint64
	Commit  uint64
	Applied uint64
	Role    string // as raft names it: StateLeader, StateFollower ...
	Pending int    // proposals waiting for their result
	Alone   bool   // raft knows no other member, neither voter nor learner
}

// New builds a replica on an open log and the state that belongs to it.
func New(o Options) (*Replica, error) {
	r := &Replica{
		opts:      o,
		id:        uint64(o.Machine.Members().Local()),
		log:       o.Log,
		machine:   o.Machine,
		logger:    o.Logger,
		proposals: newProposals(o.Seed),
		changes:   newChanges(),
		barriers:  newBarriers(o.Seed),
		outboxes:  newOutboxes(o.Metrics.Network.PeerSentFailures),
		memories:  newMemories(),
		received:  newMailbox[parcel](),
		tasks:     newMailbox[func()](),
		lag:       newLag(),
		gather:    newGather(),
		appends:   newMailbox[*raftpb.Message](),
		applies:   newMailbox[*raftpb.Message](),
		answers:   newMailbox[answer](),
		leader:    newLeaderSignal(),
		begun:     time.Now(),
		stopped:   make(chan struct{}),
	}
	r.work.base = r.begun
	r.applyTimings = newApplyTimings(o.Metrics)
	if err := r.checkLog(); err != nil {
		return nil, err
	}
	node, err := raft.NewRawNode(&raft.Config{
		ID:                        r.id,
		ElectionTick:              int(o.Election / o.Heartbeat),
		HeartbeatTick:             1,
		Storage:                   o.Log,
		Applied:                   o.Machine.Applied().Index,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             maxMessageBytes,
		MaxInflightMsgs:           maxInflightMessages,
		MaxInflightBytes:          maxInflightBytes,
		MaxUncommittedEntriesSize: maxUncommittedBytes,
		MaxCommittedSizePerReady:  maxApplyBytes,
		CheckQuorum:               true,
		PreVote:                   true,
		StepDownOnRemoval:         true,
		Logger:                    raftLogger{r.logger},
	})
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	r.node = node
	r.countMembers()
	r.publishStatus()
	return r, nil
}

// checkLog makes sure that the log continues the state, and tells it who votes and what was applied, which
// is committed even where the log could not note that before a crash.
func (r *Replica) checkLog() error {
	applied := r.machine.Applied()
	first, err := r.log.FirstIndex()
	if err != nil {
		return fmt.Errorf("read the log's bounds: %w", err)
	}
	last, err := r.log.LastIndex()
	if err != nil {
		return fmt.Errorf("read the log's bounds: %w", err)
	}
	if first > applied.Index+1 || last < applied.Index {
		return fmt.Errorf("the log holds entries %d to %d and the state was applied up to %d: they do not belong together; "+
			"restore both from the same backup, or remove both and start from another member", first, last, applied.Index)
	}
	if term, err := r.log.Term(applied.Index); err != nil || term != applied.Term {
		return fmt.Errorf("entry %d has term %d in the log and %d in the state (%v): they do not belong together; "+
			"restore both from the same backup", applied.Index, term, applied.Term, err)
	}
	return r.log.SetSnapshot(applied.Index, applied.Term, r.machine.ConfState())
}

// Machine returns the state that commands are applied to.
func (r *Replica) Machine() *state.Machine { return r.machine }

// Propose hands in a command and waits until it is applied. An error means that it was refused or that
// its outcome is unknown; the command's own error is in the Result.
func (r *Replica) Propose(ctx context.Context, op command.Op) (state.Result, error) {
	return r.ProposeIn(ctx, 0, op)
}

// ProposeIn is Propose for what this member decides as the leader of a term, such as the end of a lease: no other leader
// is given it, because that one may know better by now. The error is ErrNotLeader then. Term 0 stands for any term and leader.
func (r *Replica) ProposeIn(ctx context.Context, term uint64, op command.Op) (state.Result, error) {
	one := &proposal{id: r.proposals.newID(), op: op, reign: term, since: time.Now(), done: make(chan outcome, 1)}
	if !command.Allowed(op, r.machine.Level()) {
		return state.Result{}, ErrLevel
	}
	var err error
	if one.encoded, err = command.AppendEncoded(nil, command.Command{ID: one.id, Op: op}); err != nil {
		return state.Result{}, err
	}
	// The limit is on what clients ask for; our own commands are bounded where they are made.
	if asked(op) && len(one.encoded) > r.opts.MaxRequestBytes {
		return state.Result{}, ErrTooLarge
	}
	if err := r.proposals.add(one); err != nil {
		return state.Result{}, err
	}
	select {
	case out := <-one.done:
		return out.result, out.err
	case <-ctx.Done():
		r.proposals.forget(one.id)
		r.opts.Metrics.Server.ProposalsFailed.Inc()
		return state.Result{}, ctx.Err()
	}
}

// asked says that a command is a client's request as it came.
func asked(op command.Op) bool {
	if s, ok := op.(command.Signed); ok {
		op = s.Op
	}
	_, ok := op.(proto.Message)
	return ok
}

// Status returns how things are. It takes no lock that replication needs.
func (r *Replica) Status() Status {
	applied := r.machine.Applied().Index // first: it never shows more than is committed
	s := *r.status.Load()
	s.Applied = applied
	s.Pending = r.proposals.pending()
	return s
}

// LeaderChanged returns a channel that is closed when the leader, as seen here, changes, and when this
// member has become able to decide as one: when it has applied an entry of its own term.
func (r *Replica) LeaderChanged() <-chan struct{} { return r.leader.changed() }
