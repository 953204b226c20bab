package replica

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/invariant"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/state"
)

// MaxPendingChanges bounds the changes of the membership that wait to be proposed, in changes.
const MaxPendingChanges = 64

// leaveHeartbeats is how long a member that was removed goes on, in heartbeats.
const leaveHeartbeats = 5

// changes are the changes of the membership that wait: raft takes one at a time, and forgets another one without
// a word.
type changes struct {
	ready chan struct{} // holds a token while something may be queued

	mu      sync.Mutex
	queue   []change
	waiting map[uint64]chan outcome
	closed  bool
}

// change is one of them.
type change struct {
	encoded []byte // a raftpb.ConfChange
	id      uint64 // who waits for it here; 0 for nobody
	reign   uint64 // the only term in which this member may propose it, as the leader; 0 for any, and any leader
}

func newChanges() *changes {
	return &changes{ready: make(chan struct{}, 1), waiting: make(map[uint64]chan outcome)}
}

func (c *changes) wake() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// add queues a change.
func (c *changes) add(one change) bool {
	c.mu.Lock()
	if c.closed || len(c.queue) >= MaxPendingChanges {
		c.mu.Unlock()
		return false
	}
	c.queue = append(c.queue, one)
	c.mu.Unlock()
	c.wake()
	return true
}

func (c *changes) wait(id uint64) chan outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := make(chan outcome, 1)
	c.waiting[id] = done
	return done
}

// settle ends the wait for a change.
func (c *changes) settle(id uint64, out outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done, ok := c.waiting[id]; ok {
		delete(c.waiting, id)
		done <- out
	}
}

func (c *changes) first() (one change, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return one, false
	}
	return c.queue[0], true
}

func (c *changes) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = c.queue[1:]
}

func (c *changes) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed, c.queue = true, nil
	for id, done := range c.waiting {
		delete(c.waiting, id)
		done <- outcome{err: ErrStopped}
	}
}

// Change adds, promotes or removes a member and waits until that is applied. As with Propose, an error means
// that it was refused or that its outcome is unknown; the verdict is in the Result.
func (r *Replica) Change(ctx context.Context, c command.MemberChange) (state.Result, error) {
	return r.ChangeIn(ctx, 0, c)
}

// ChangeIn is Change for what this member decides as the leader of a term, as ProposeIn is Propose.
func (r *Replica) ChangeIn(ctx context.Context, term uint64, c command.MemberChange) (state.Result, error) {
	id := r.proposals.newID()
	encoded, err := proto.Marshal(&raftpb.ConfChange{
		Type: raftKind(c.Kind).Enum(), NodeId: new(c.Member), Context: command.AppendChange(nil, id, c),
	})
	if err != nil {
		return state.Result{}, fmt.Errorf("encode a change of the membership: %w", err)
	}
	done := r.changes.wait(id)
	if !r.changes.add(change{encoded: encoded, id: id, reign: term}) {
		r.changes.settle(id, outcome{})
		return state.Result{}, ErrTooManyRequests
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout(), ErrTimeout)
	defer cancel()
	select {
	case out := <-done:
		return out.result, out.err
	case <-ctx.Done():
		r.changes.settle(id, outcome{})
		return state.Result{}, context.Cause(ctx)
	}
}

func raftKind(k command.ChangeKind) raftpb.ConfChangeType {
	switch k {
	case command.AddLearner:
		return raftpb.ConfChangeAddLearnerNode
	case command.RemoveMember:
		return raftpb.ConfChangeRemoveNode
	}
	return raftpb.ConfChangeAddNode
}

// proposeChange puts the first change that waits into the log, when none is under way. A leader knows that once an
// entry of its own term is applied, and its last change after that, and raft has heard so.
func (r *Replica) proposeChange() error {
	first, ok := r.changes.first()
	if !ok {
		return nil
	}
	s := r.node.BasicStatus()
	if first.reign != 0 && (s.Lead != r.id || s.GetTerm() != first.reign) {
		r.changes.drop()
		r.changes.settle(first.id, outcome{err: ErrNotLeader})
		return nil
	}
	if s.Lead == raft.None || (s.Lead == r.id && (!r.inCharge || s.Applied < max(r.charged, r.changing))) {
		return nil
	}
	cc := new(raftpb.ConfChange)
	if err := proto.Unmarshal(first.encoded, cc); err != nil {
		r.changes.drop()
		r.logger.Warn("dropped a change of the membership that cannot be read", "error", err.Error())
		return nil
	}
	if cc.GetType() == raftpb.ConfChangeRemoveNode && cc.GetNodeId() == s.ID && s.Lead == r.id && r.office.leave(r, time.Now()) {
		return nil // to the next leader, then
	}
	err := r.node.ProposeConfChange(cc)
	if errors.Is(err, raft.ErrProposalDropped) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("propose a change of the membership: %w", err)
	}
	r.changes.drop()
	if s.Lead == r.id {
		r.changing = math.MaxUint64 // until the entry is seen and its index known
	}
	return nil
}

// changed is a change of the membership on its way from RunApply to Run.
type changed struct {
	change *raftpb.ConfChange
	after  *raftpb.ConfState
}

// applyChange carries out the change that an entry holds.
func (r *Replica) applyChange(e *raftpb.Entry) (*changed, func(), error) {
	cc := new(raftpb.ConfChange)
	if err := proto.Unmarshal(e.GetData(), cc); err != nil {
		return nil, nil, fmt.Errorf("read a change of the membership: %w", err)
	}
	id, change, err := command.DecodeChange(cc.GetContext())
	if err != nil {
		return nil, nil, err
	}
	result, err := r.machine.ApplyChange(change)
	if err != nil {
		return nil, nil, err
	}
	if result.Err != nil {
		cc.NodeId = new(raft.None) // raft, too, leaves everything as it is
	}
	return &changed{change: cc, after: r.machine.NextConfState()}, func() { r.changes.settle(id, outcome{result: result}) }, nil
}

// takeChange tells raft of a change that the state has carried out.
func (r *Replica) takeChange(c *changed) {
	conf := r.node.ApplyConfChange(c.change)
	invariant.Check(raftpb.EnsureConfState(conf).Equivalent(c.after) == nil, "raft and the state agree on who votes")
	r.countMembers()
	r.publishStatus()
	if r.leaving.IsZero() && r.machine.Members().Removed(member.ID(r.id)) {
		r.logger.Warn("this member was removed from the cluster and will stop")
		// The others may have to hear from it that the change is committed.
		r.leaving = time.Now().Add(leaveHeartbeats * r.opts.Heartbeat)
	}
}

// countMembers notes whether raft knows of others.
func (r *Replica) countMembers() {
	r.alone = true
	r.node.WithProgress(func(id uint64, _ raft.ProgressType, _ tracker.Progress) { r.alone = r.alone && id == r.id })
}
