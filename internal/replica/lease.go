package replica

import (
	"sync/atomic"
	"time"
)

// driftParts is what part of an election timeout a leader's lease falls short of it. Followers count their timeout
// in ticks of their own clock, the last of which may be nearly over when they hear the leader; so with ten ticks an
// election two of these parts are for the clocks: they may differ by a tenth in speed.
const driftParts = 5

// readLease lets a leader answer barriers without asking the quorum, where that is asked for with LeaseReads.
//
// A round of questions that began at some time and was confirmed proves that at that time a quorum took this member
// for the leader. Followers that have heard from a leader vote for nobody else for an election timeout, and LeaseReads
// keeps them to it: no campaign on evidence (failover.go), no vote in the first election timeout after a start. So
// until that time plus an election timeout, less what clocks may differ by, nobody else leads, and whatever was
// acknowledged this leader knows to be committed. It ends at once when this leader hands over.
//
// What it rests on is that the clocks of members run at about the same speed, nine tenths to ten ninths; steps of
// the wall clock do not matter. Without LeaseReads nothing rests on clocks.
type readLease struct{ until atomic.Int64 }

// extend is told that a round that began at a time was confirmed.
func (l *readLease) extend(r *Replica, began time.Time) {
	if !r.opts.LeaseReads || r.node.BasicStatus().LeadTransferee != 0 {
		return
	}
	for _, id := range r.machine.ConfState().GetVoters() {
		if id != r.id && !r.memories.leaseReads(id) {
			return // that one may vote early
		}
	}
	until := began.Add(r.opts.Election - r.opts.Election/driftParts).Sub(r.begun).Nanoseconds()
	if until > l.until.Load() {
		l.until.Store(until)
	}
}

func (l *readLease) end() { l.until.Store(0) }

// holds reports whether nobody else can lead now. It reads a clock that no step moves.
func (l *readLease) holds(r *Replica) bool {
	until := l.until.Load()
	return until != 0 && time.Since(r.begun).Nanoseconds() < until
}

// knowsByLease reports whether this leader's state holds everything acknowledged, by its lease. A write is
// acknowledged, by whichever member, after this leader has published that it is committed.
func (r *Replica) knowsByLease() bool {
	if !r.opts.LeaseReads || !r.lease.holds(r) {
		return false
	}
	s := r.status.Load()
	applied := r.machine.Applied()
	return s.Leader == s.ID && applied.Term == s.Term && applied.Index >= s.Commit
}

// bound reports whether this member may not vote yet, because before its start it may have told a leader
// that it will not.
func (r *Replica) bound(now time.Time) bool {
	return r.opts.LeaseReads && now.Sub(r.begun) < r.opts.Election
}
