package rpc

import (
	"context"
	"sync"
	"time"

	"github.com/keelson-db/keelson/internal/expiry"
	"github.com/keelson-db/keelson/internal/lease"
)

// Lessor answers what only the clock of the member that leads can say about leases, for this member's clients and
// for other members. Whether somebody may ask is decided where they ask. On a member that does not lead, or cannot
// be sure that it does, it returns expiry.ErrNotPrimary.
//
// A member may believe that it leads when another one does already: it was stopped for a while, or is cut off. What
// it promised then nobody would keep. So a renewal is answered only when a quorum took this member for the leader
// after it, or less than an election timeout before: a new leader gives each lease an election timeout on top, from
// its election on, which was later than that.
type Lessor struct {
	replica  Proposer
	clock    LeaseClock
	election time.Duration

	mu   sync.Mutex
	term uint64    // in which this member was the leader
	sure time.Time // and when at the latest
}

// NewLessor builds a lessor from the replica, the clock and the election timeout; nothing else of the Deps is looked at.
func NewLessor(d Deps) *Lessor {
	return &Lessor{replica: d.Replica, clock: d.Clock, election: d.ElectionTimeout}
}

// Renew gives a lease its full time again and returns it, in seconds; 0 means that there is no such lease any more,
// and is said only when everything acknowledged is applied here: the lease may have been granted by a member that was
// faster than this one.
func (l *Lessor) Renew(ctx context.Context, id lease.ID) (ttl int64, err error) {
	if !leads(l.replica) {
		return 0, expiry.ErrNotPrimary
	}
	if ttl, err = l.clock.Renew(ctx, id); elsewhere(err) || (err == nil && ttl == 0) {
		// A member that has just come to lead can answer in a moment.
		if err := l.confirm(ctx); err != nil {
			return 0, err
		}
		ttl, err = l.clock.Renew(ctx, id)
	}
	if err != nil {
		return 0, err
	}
	return ttl, l.assure(ctx)
}

// TimeToLive returns the whole seconds that a lease has left, and how many it was granted. It is not ok for a lease
// that there is not.
func (l *Lessor) TimeToLive(ctx context.Context, id lease.ID) (left, granted int64, ok bool, err error) {
	if !leads(l.replica) {
		return 0, 0, false, expiry.ErrNotPrimary
	}
	if err := l.confirm(ctx); err != nil {
		return 0, 0, false, err
	}
	term := l.replica.Status().Term
	counts := l.clock.Leads()
	left, granted, ok = l.clock.Remaining(id)
	// A clock that does not count knows no lease. One that counted before and after did so in between, unless the
	// term is another.
	if !counts || !l.clock.Leads() || l.replica.Status().Term != term {
		return 0, 0, false, expiry.ErrNotPrimary
	}
	return left, granted, ok, nil
}

// confirm makes sure that everything acknowledged is applied here, and that this member leads since before the call.
func (l *Lessor) confirm(ctx context.Context) error {
	begun, before := time.Now(), l.replica.Status()
	if err := catchUp(ctx, l.replica); err != nil {
		return err
	}
	// A member that leads in the same term before and after has led all the time, so it was this one that the quorum
	// confirmed.
	after := l.replica.Status()
	if before.Leader != before.ID || after.Leader != after.ID || after.Term != before.Term {
		return expiry.ErrNotPrimary
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if after.Term > l.term || begun.After(l.sure) {
		l.term, l.sure = after.Term, begun
	}
	return nil
}

// assure confirms that this member leads, unless that was done lately. It comes after what rests on it, because
// between a look at the clock and what is done then a process may be stopped for any time.
func (l *Lessor) assure(ctx context.Context) error {
	s := l.replica.Status()
	l.mu.Lock()
	lately := s.Leader == s.ID && s.Term == l.term && time.Since(l.sure) < l.election/2
	l.mu.Unlock()
	if lately {
		return nil
	}
	return l.confirm(ctx)
}
