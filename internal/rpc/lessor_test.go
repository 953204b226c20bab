package rpc

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-db/keelson/internal/expiry"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/replica"
)

// stand is a replica in a cluster whose state nobody asks for.
type stand struct {
	loneReplica
	status   replica.Status
	barriers int
	barrier  func() error // nil passes
}

func (s *stand) Status() replica.Status { return s.status }

func (s *stand) Barrier(context.Context) error {
	s.barriers++
	if s.barrier == nil {
		return nil
	}
	return s.barrier()
}

// handClock is a clock with one lease, of a minute.
type handClock struct {
	leads  bool
	gone   bool
	begins bool // to count, just after it was asked
}

func (c *handClock) Renew(_ context.Context, id lease.ID) (int64, error) {
	_, granted, _ := c.Remaining(id)
	if !c.leads {
		return 0, expiry.ErrNotPrimary
	}
	return granted, nil
}

func (c *handClock) Remaining(lease.ID) (left, granted int64, ok bool) {
	if !c.leads || c.gone {
		c.leads = c.leads || c.begins
		return 0, 0, false
	}
	return 41, 60, true
}

func (c *handClock) Leads() bool          { return c.leads }
func (c *handClock) ByExpiry() []lease.ID { return nil }

// lessorWorld is a lessor of a member that leads in term 3.
func lessorWorld() (*Lessor, *stand, *handClock) {
	s, c := &stand{status: replica.Status{ID: 1, Leader: 1, Term: 3}}, &handClock{leads: true}
	return &Lessor{replica: s, clock: c, election: time.Second}, s, c
}

func TestARenewalIsAnsweredByWhoSurelyLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s, _ := lessorWorld()
		renew := func(want int64, wantErr error, barriers int) {
			t.Helper()
			before := s.barriers
			if ttl, err := l.Renew(t.Context(), 7); ttl != want || !errors.Is(err, wantErr) || s.barriers-before != barriers {
				t.Errorf("%d, %v, asked the quorum %d times; want %d, %v and %d times", ttl, err, s.barriers-before, want, wantErr, barriers)
			}
		}
		renew(60, nil, 1)
		renew(60, nil, 0)
		time.Sleep(499 * time.Millisecond)
		renew(60, nil, 0)
		time.Sleep(time.Millisecond)
		renew(60, nil, 1)

		// A process that was stopped wakes up and believes that it leads, until it asks.
		time.Sleep(time.Hour)
		s.barrier = func() error { s.status.Leader = 2; return nil }
		renew(60, expiry.ErrNotPrimary, 1)
		renew(0, expiry.ErrNotPrimary, 0)

		// It was elected again while it waited: what it answered before counts no longer.
		s.status.Leader = 1
		s.barrier = func() error { s.status.Term++; return nil }
		renew(60, expiry.ErrNotPrimary, 1)
		s.barrier = nil
		renew(60, nil, 1)
		s.status.Term++
		renew(60, nil, 1)
	})
}

func TestALeaseIsGoneOnlyWhenEverythingIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s, c := lessorWorld()
		c.gone = true
		s.barrier = func() error { c.gone = false; return nil } // its grant is applied only now
		if ttl, err := l.Renew(t.Context(), 7); ttl != 60 || err != nil {
			t.Errorf("renewed: %d, %v", ttl, err)
		}
		c.gone = true
		if left, granted, ok, err := l.TimeToLive(t.Context(), 7); left != 41 || granted != 60 || !ok || err != nil {
			t.Errorf("time to live: %d of %d, %v, %v", left, granted, ok, err)
		}
		c.gone, s.barrier = true, nil
		if ttl, err := l.Renew(t.Context(), 7); ttl != 0 || err != nil {
			t.Errorf("a lease that is gone was renewed: %d, %v", ttl, err)
		}
		if _, _, ok, err := l.TimeToLive(t.Context(), 7); ok || err != nil {
			t.Errorf("a lease that is gone has time: %v, %v", ok, err)
		}
		// A clock that counts no longer, or not yet, knows no leases; that does not mean that there are none.
		c.leads = false
		if _, _, _, err := l.TimeToLive(t.Context(), 7); !errors.Is(err, expiry.ErrNotPrimary) {
			t.Errorf("a clock that does not count says %v", err)
		}
		if _, err := l.Renew(t.Context(), 7); !errors.Is(err, expiry.ErrNotPrimary) {
			t.Errorf("a clock that does not count says %v", err)
		}
		c.begins = true
		if _, _, _, err := l.TimeToLive(t.Context(), 7); !errors.Is(err, expiry.ErrNotPrimary) {
			t.Errorf("a clock that did not count when it was asked says %v", err)
		}
	})
}

func TestALeaderThatFallsBehindSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := &stuckReplica{loneReplica: &loneReplica{}}
		stuck.leader.Store(houseMember)
		if err := catchUp(t.Context(), stuck); !errors.Is(err, errApplyWait) {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), applyWait/2)
		defer cancel()
		if err := catchUp(ctx, stuck); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a client that waits no longer: %v", err)
		}
	})
}
