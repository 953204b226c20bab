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
	changes  []*changed        // of the membership, before the messages
	messages []*raftpb.Message // for raft
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
	defer r.gather.timer.Stop()
	for {
		if err := r.advance(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := r.tick(time.Now()); err != nil {
				return err
			}
		case <-r.answers.ready:
			if err := r.deliver(); err != nil {
				return err
			}
		case <-r.received.ready:
			if err := r.receive(); err != nil {
				return err
			}
		case <-r.proposals.ready:
			r.yield()
		case <-r.gather.timer.C:
		case <-r.changes.ready:
		case <-r.barriers.ready:
			r.askQuorum()
		case <-r.tasks.ready:
			for _, task := range r.tasks.take() {
				task()
			}
		case <-r.failover.campaign:
			r.failover.due(r)
		}
	}
}

// tick is what happens once a heartbeat.
func (r *Replica) tick(now time.Time) error {
	r.ticks++
	r.node.Tick()
	r.expire(now)
	r.publishProgress(now)
	r.lag.look(r)
	r.lag.retrySilent(r, now)
	r.office.watch(r, now)
	r.renewLease()
	applied := r.machine.Applied()
	if err := r.log.SetSnapshot(applied.Index, applied.Term, r.machine.ConfState()); err != nil {
		return fmt.Errorf("note what can be copied: %w", err)
	}
	if !r.leaving.IsZero() && now.After(r.leaving) {
		return ErrRemoved
	}
	return nil
}

// onlyVoter reports whether this member alone decides.
func (r *Replica) onlyVoter() bool {
	voters := r.machine.ConfState().GetVoters()
	return len(voters) == 1 && voters[0] == r.id
}

// advance proposes what has gathered and hands on everything that raft has ready.
func (r *Replica) advance() error {
	if err := r.proposeChange(); err != nil {
		return err
	}
	if err := r.propose(); err != nil {
		return err
	}
	for r.node.HasReady() {
		rd := r.node.Ready()
		r.note(rd)
		for i, m := range rd.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				r.handAppend(m)
			case raft.LocalApplyThread:
				r.applies.put(m)
			default:
				if !outdone(m, rd.Messages[i+1:]) {
					r.deliverOutside(m)
				}
			}
		}
	}
	r.releaseRounds()
	if s := r.status.Load(); (s.Leader == s.ID && r.machine.Applied().Term == s.Term) != r.inCharge {
		r.inCharge, r.charged = !r.inCharge, r.machine.Applied().Index
		r.publishProgress(time.Now())
		r.leader.fire()
	}
	return nil
}

// outdone reports whether an append that tells no more than a commit index is followed by another one to the same member,
// which tells it too.
func outdone(m *raftpb.Message, later []*raftpb.Message) bool {
	if m.GetType() != raftpb.MsgApp || len(m.GetEntries()) > 0 {
		return false
	}
	for _, other := range later {
		if other.GetType() == raftpb.MsgApp && other.GetTo() == m.GetTo() {
			return true
		}
	}
	return false
}

// handAppend hands entries to RunAppend, and looks what a leader has put among them.
func (r *Replica) handAppend(m *raftpb.Message) {
	entries := m.GetEntries()
	if n := len(entries); n > 0 {
		r.appending++
		r.proposed = entries[n-1].GetIndex()
		for _, e := range entries {
			if e.GetType() == raftpb.EntryConfChange {
				r.changing = e.GetIndex()
			}
		}
	}
	if r.acked.news(m) {
		r.appends.put(m)
	} else {
		r.appends.leave(m)
	}
}

// pipelineParts says for what part of a heartbeat a leader waits for the quorum before it proposes more. Where a quorum
// answers within that, as on one network, one batch is under way at a time: it is as large as can be, costs one sync and one
// message each way, and the next one carries the news that it is committed.
const pipelineParts = 10

// propose turns what has gathered into entries, unless a batch is under way: what arrives meanwhile becomes the next
// one. A leader waits for the quorum, or, where that takes long, for its own disk; whichever is first, so that a leader
// whose own disk is the slowest does not make the others wait for it. A follower waits for its disk.
func (r *Replica) propose() error {
	// What raft knows now, not what it had to tell last: a proposal is remembered with the term it was made in.
	s := r.node.BasicStatus()
	term, leads, acknowledged := s.HardState.GetTerm(), s.Lead == r.id, r.proposed <= s.HardState.GetCommit()
	if acknowledged {
		r.gather.acknowledged(time.Now())
	}
	if !r.proposals.any() {
		return nil
	}
	switch {
	case s.Lead == raft.None, !leads && r.appending > 0:
		return nil
	case leads && !acknowledged && (r.appending > 0 || time.Since(r.proposedAt) < r.opts.Heartbeat/pipelineParts):
		return nil
	case leads && acknowledged && !r.alone && r.gather.waits(time.Now()):
		return nil
	case !leads && !r.Outbox(s.Lead, Bulk).stands():
		return nil // it would be lost; Connected comes when there is a way again
	}
	r.proposedAt = time.Now()
	if leads && !r.alone {
		r.gather.timer.Reset(r.opts.Heartbeat / pipelineParts) // then the next batch need not wait for the quorum
	}
	commands := 0
	defer func() { r.gather.made(commands, r.proposedAt) }()
	for {
		b := r.proposals.next(term, leads)
		commands += b.commands
		if len(b.own) == 0 && b.forwarded == 0 {
			if b.entry == nil {
				return nil
			}
			continue // everybody in it had gone
		}
		err := r.node.Propose(b.entry)
		if errors.Is(err, raft.ErrProposalDropped) {
			// No leader, or too much waits for the quorum: they keep their place until it has passed.
			r.proposals.putBack(b)
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
		for _, c := range a.changes {
			r.takeChange(c)
		}
		for _, m := range a.messages {
			if err := r.stepOwn(m); err != nil {
				return err
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
		r.lease.end()
		r.changing = 0
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
		Role: b.RaftState.String(), Alone: r.alone,
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
	r.changes.close()
	r.stopBarriers()
}
