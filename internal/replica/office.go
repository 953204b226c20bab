package replica

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
)

const (
	// slowParts says for what part of an election timeout a leader's log may lie behind what the others have
	// committed before it hands over to one of them: an ordinary pause of a disk is shorter.
	slowParts = 4
	// stallTimeouts is how many election timeouts a write to the log, or the applying of a group, may take
	// before health checks fail. A leader whose log is stalled steps down then.
	stallTimeouts = 2
	// applyTimeouts is how many election timeouts the applying of a group may take before a leader hands over.
	applyTimeouts = 10
	// restTimeouts is how many election timeouts lie between two attempts to hand over, so that members
	// whose disks are all slow do not pass leadership around.
	restTimeouts = 10
	// handOverTries is how often, once a heartbeat, it is looked for somebody to hand over to before a stop.
	handOverTries = 3
	// priorityTicks is how often the leader looks for a member that is wanted more, in ticks.
	priorityTicks = 50
)

// work is when the goroutines that may be stuck began what they are doing, in nanoseconds since a base that no
// step of the wall clock moves; 0 while they wait.
type work struct {
	base          time.Time
	append, apply atomic.Int64
}

func (w *work) begin(at *atomic.Int64) { at.Store(max(1, time.Since(w.base).Nanoseconds())) }
func (w *work) end(at *atomic.Int64)   { at.Store(0) }

func (w *work) since(at *atomic.Int64) time.Duration {
	if began := at.Load(); began != 0 {
		return time.Since(w.base) - time.Duration(began)
	}
	return 0
}

// Stalled reports that this member cannot do what members do, and why: a write to its log or the applying of
// a group takes too long to be called slow. It is nil for a member that is well.
func (r *Replica) Stalled() error {
	if err := r.stalledLog(); err != nil {
		return err
	}
	if took := r.work.since(&r.work.apply); took > stallTimeouts*r.opts.Election {
		return fmt.Errorf("a group of commands has been applied for %v: it is very large, or the disk of the state does not answer", took.Round(time.Millisecond))
	}
	return nil
}

// stalledLog is Stalled for the log alone.
func (r *Replica) stalledLog() error {
	if took := r.work.since(&r.work.append); took > stallTimeouts*r.opts.Election {
		return fmt.Errorf("a write to the raft log has been under way for %v: the disk does not answer", took.Round(time.Millisecond))
	}
	return nil
}

// office is what a leader watches itself for.
type office struct {
	behind time.Time // since when the others have committed what this member's log does not hold
	tried  time.Time // when it was last tried to hand over
	muted  bool      // nothing that keeps others from electing a leader goes out any more
	left   time.Time // when it was last tried to hand over before this leader is removed
}

// watch looks once a tick whether this leader should go on leading.
func (o *office) watch(r *Replica, now time.Time) {
	s := r.status.Load()
	if s.Leader != s.ID {
		*o = office{tried: o.tried}
		return
	}
	if err := r.stalledLog(); err == nil {
		o.muted = false
	} else if !o.muted && !r.onlyVoter() {
		// A leader cannot tell raft that it gives up. It falls silent instead, and the others do the rest.
		o.muted = true
		r.logger.Error("this leader is stalled and steps down", "why", err.Error())
	}
	if took := r.work.since(&r.work.apply); took > applyTimeouts*r.opts.Election {
		// What takes long because it is large takes as long on the others. What takes this long is stuck.
		o.handOver(r, now, "applying commands is stuck", func(Progress) bool { return true })
	}
	if o.slow(r, s, now) {
		o.handOver(r, now, "this leader's disk is slower than the others'", func(Progress) bool { return true })
	}
	if r.ticks%priorityTicks == 0 {
		o.yield(r, now)
	}
}

// slow reports whether this leader's log has been behind what the others committed for too long.
func (o *office) slow(r *Replica, s *Status, now time.Time) bool {
	last, err := r.log.LastIndex()
	if err != nil || last >= s.Commit {
		o.behind = time.Time{}
		return false
	}
	if o.behind.IsZero() {
		o.behind = now
	}
	return now.Sub(o.behind) > r.opts.Election/slowParts
}

// handOver begins to hand leadership to the best of the voters that a condition holds for.
func (o *office) handOver(r *Replica, now time.Time, why string, good func(Progress) bool) {
	if now.Sub(o.tried) < restTimeouts*r.opts.Election {
		return
	}
	to := r.successor(good)
	if to == 0 {
		return
	}
	o.tried = now
	r.logger.Warn("handing leadership over", "to", fmt.Sprintf("%x", to), "why", why)
	r.transfer(to)
}

// yield hands over to a member that is wanted more than this one and holds all that is committed.
func (o *office) yield(r *Replica, now time.Time) {
	voters := r.machine.ConfState().GetVoters()
	wanted := slices.ContainsFunc(voters, func(id uint64) bool { return id != r.id && r.memories.priority(id) > r.opts.Priority })
	if !wanted || !r.inCharge {
		return
	}
	to := r.successor(func(p Progress) bool { return p.Match >= r.status.Load().Commit })
	if to != 0 && r.memories.priority(to) > r.opts.Priority && now.Sub(o.tried) >= restTimeouts*r.opts.Election {
		o.tried = now
		r.logger.Info("handing leadership to a member that is wanted more", "to", fmt.Sprintf("%x", to))
		r.transfer(to)
	}
}

// leave begins to hand over because this leader is to be removed: its going would be noticed only when it is missed. It
// reports whether the removal is to wait, which it does not where there is nobody, or nobody took over in time.
func (o *office) leave(r *Replica, now time.Time) bool {
	if r.node.BasicStatus().LeadTransferee != raft.None {
		return true
	}
	if now.Sub(o.left) < restTimeouts*r.opts.Election {
		return false
	}
	to := r.successor(func(Progress) bool { return true })
	if to == 0 {
		return false
	}
	o.left = now
	r.logger.Info("handing leadership over before this member is removed", "to", fmt.Sprintf("%x", to))
	r.transfer(to)
	return true
}

// transfer tells raft to hand over. What a lease allowed ends before.
func (r *Replica) transfer(to uint64) {
	r.lease.end()
	r.node.TransferLeader(to)
}

// successor returns the voter that should lead next: one that is heard, wanted most, and furthest; 0 if none.
func (r *Replica) successor(good func(Progress) bool) uint64 {
	type candidate struct {
		id       uint64
		priority int
		match    uint64
	}
	var all []candidate
	for id, p := range r.Progress() {
		if !p.Learner && p.Active && !p.Fetches && good(p) {
			all = append(all, candidate{id, r.memories.priority(id), p.Match})
		}
	}
	if len(all) == 0 {
		return 0
	}
	return slices.MaxFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.match, b.match), cmp.Compare(b.id, a.id))
	}).id
}

// TransferLeader hands leadership to a voter and returns when somebody else than this member leads, or with an
// error when that did not happen in time. Only the leader can.
func (r *Replica) TransferLeader(ctx context.Context, to uint64) error {
	s := r.Status()
	if s.Leader != r.id {
		return ErrNotLeader
	}
	if !slices.Contains(r.machine.ConfState().GetVoters(), to) {
		return ErrTransferee
	}
	if to == r.id {
		return nil
	}
	r.do(func() { r.transfer(to) })
	for {
		changed := r.LeaderChanged()
		if s := r.Status(); s.Leader != r.id && s.Leader != raft.None {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ErrTimeout
		case <-r.stopped:
			return ErrStopped
		}
	}
}

// HandOver hands leadership to whoever is best for it, before this member stops. Without anybody it does nothing.
func (r *Replica) HandOver(ctx context.Context) error {
	if s := r.Status(); s.Leader != r.id {
		return nil
	}
	for range handOverTries {
		// A leader of a moment ago may not have heard everybody yet.
		fresh := make(chan struct{})
		r.do(func() { r.publishProgress(time.Now()); close(fresh) })
		select {
		case <-fresh:
		case <-r.stopped:
			return ErrStopped
		case <-ctx.Done():
			return ctx.Err()
		}
		if to := r.successor(func(Progress) bool { return true }); to != 0 {
			return r.TransferLeader(ctx, to)
		}
		if len(r.Progress()) == 0 {
			return nil
		}
		select {
		case <-time.After(r.opts.Heartbeat):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
