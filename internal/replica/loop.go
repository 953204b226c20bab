package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// answer is what RunAppend and RunApply have to tell Run when one message is done.
type answer struct {
	messages []*raftpb.Message // to be delivered, most of them to raft itself
	appended bool              // an append of entries ended
}

// Run steps raft until the context ends: the one place where order is decided.
func (r *Replica) Run(ctx context.Context) error {
	defer r.stop()
	if r.onlyVoter() {
		// Nobody else can lead: do not wait for an election timeout.
		if err := r.node.Campaign(); err != nil {
			return fmt.Errorf("campaign: %w", err)
		}
	}
	ticker := time.NewTicker(r.opts.Heartbeat)
	defer ticker.Stop()
	for {
		if err := r.advance(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			r.node.Tick()
			r.expire(time.Now())
		case <-r.answers.ready:
			if err := r.deliver(); err != nil {
				return err
			}
		case <-r.proposals.ready:
		case <-r.barriers.ready:
			r.askQuorum()
		}
	}
}

// onlyVoter reports whether this member alone decides.
func (r *Replica) onlyVoter() bool {
	voters := r.machine.ConfState().GetVoters()
	return len(voters) == 1 && voters[0] == r.id
}

// advance proposes what has gathered and hands on everything that raft has ready.
func (r *Replica) advance() error {
	if err := r.propose(); err != nil {
		return err
	}
	for r.node.HasReady() {
		rd := r.node.Ready()
		r.note(rd)
		for _, m := range rd.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				if len(m.GetEntries()) > 0 {
					r.appending++
				}
				r.appends.put(m)
			case raft.LocalApplyThread:
				r.applies.put(m)
			default:
				return fmt.Errorf("send %s to member %x: this release runs one member and knows no others", m.GetType(), m.GetTo())
			}
		}
	}
	r.releaseRounds()
	if s := r.status.Load(); (s.Leader == s.ID && r.machine.Applied().Term == s.Term) != r.inCharge {
		r.inCharge = !r.inCharge
		r.leader.fire()
	}
	return nil
}

// propose turns what has gathered into entries, unless an append is under way: what arrives meanwhile
// becomes the next batch.
func (r *Replica) propose() error {
	if r.appending > 0 || r.status.Load().Leader == raft.None {
		return nil
	}
	for {
		entry, taken := r.proposals.nextEntry()
		if len(taken) == 0 {
			if entry == nil {
				return nil
			}
			continue // everybody in it had gone
		}
		err := r.node.Propose(entry)
		if errors.Is(err, raft.ErrProposalDropped) {
			// No leader, or too much waits for the quorum: they keep their place until it has passed.
			r.proposals.putBack(taken)
			return nil
		}
		if err != nil {
			return fmt.Errorf("propose: %w", err)
		}
	}
}

// deliver hands the answers of the other goroutines to raft.
func (r *Replica) deliver() error {
	for _, a := range r.answers.take() {
		if a.appended {
			r.appending--
		}
		for _, m := range a.messages {
			if m.GetTo() != r.id {
				return fmt.Errorf("send %s to member %x: this release runs one member and knows no others", m.GetType(), m.GetTo())
			}
			if err := r.node.Step(m); err != nil {
				return fmt.Errorf("step raft: %w", err)
			}
		}
	}
	return nil
}

// note takes over what raft reports beside its messages.
func (r *Replica) note(rd raft.Ready) {
	for _, rs := range rd.ReadStates {
		r.confirmed(rs.RequestCtx, rs.Index)
	}
	if rd.SoftState == nil && raft.IsEmptyHardState(rd.HardState) {
		return
	}
	before := r.status.Load().Leader
	r.publishStatus()
	if after := r.status.Load().Leader; after != before {
		if after != raft.None {
			r.leaderSince = time.Now()
			r.opts.Metrics.Server.LeaderChanges.Inc()
		}
		r.logger.Info("raft leader changed", "leader", fmt.Sprintf("%x", after), "before", fmt.Sprintf("%x", before), "term", r.status.Load().Term)
		r.leader.fire()
		r.retryRounds(time.Now(), true)
	}
}

// publishStatus makes raft's present view of things readable for everybody.
func (r *Replica) publishStatus() {
	b := r.node.BasicStatus()
	r.status.Store(&Status{
		ID: r.id, Leader: b.Lead, Term: b.HardState.GetTerm(), Commit: b.HardState.GetCommit(),
		Role: b.RaftState.String(), Voters: len(r.machine.ConfState().GetVoters()),
	})
}

// timeout is how long a request waits.
func (r *Replica) timeout() time.Duration { return RequestTimeout + 2*r.opts.Election }

// expire ends the waits that took too long.
func (r *Replica) expire(now time.Time) {
	for _, one := range r.proposals.expire(now.Add(-r.timeout())) {
		r.opts.Metrics.Server.ProposalsFailed.Inc()
		err := ErrTimeout
		if lost := r.leaderSince.Add(-2 * r.opts.Election); one.since.After(lost) && one.since.Before(r.leaderSince) {
			err = ErrTimeoutLeaderFail
		}
		one.done <- outcome{err: err}
	}
	r.retryRounds(now, false)
}

// stop ends all waits and tells the other two goroutines to end. What they have not begun is left to the
// next start.
func (r *Replica) stop() {
	close(r.stopped)
	r.appends.wake()
	r.applies.wake()
	for _, one := range r.proposals.close() {
		one.done <- outcome{err: ErrStopped}
	}
	r.stopBarriers()
}
