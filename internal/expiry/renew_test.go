package expiry

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/lease"
)

func TestALeaseThatIsRenewedLives(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		defer stop()
		w.grant(3, 1)
		w.renews(c, 1, 3) // known without waiting for Run
		for range 100 {
			time.Sleep(2900 * time.Millisecond)
			w.renews(c, 1, 3)
		}
		begin := time.Now()
		time.Sleep(time.Minute)
		w.endsWithin(1, begin, 3*time.Second)
		w.renews(c, 1, 0)
		w.renews(c, 77, 0)
		if n := w.metrics.Lease.Renewed.Value(); n != 101 {
			t.Fatalf("%d renewals were counted", n)
		}
		_, records := w.commands()
		if len(records) != 0 {
			t.Fatal("a keepalive wrote to the log")
		}
	})
}

func TestRemainingCountsWholeSecondsDown(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		defer stop()
		w.grant(5, 1)
		for _, step := range []struct {
			after time.Duration
			left  int64
			ok    bool
		}{{0, 5, true}, {time.Millisecond, 4, true}, {3 * time.Second, 1, true}, {1998 * time.Millisecond, 0, true}, {time.Millisecond, 0, false}} {
			time.Sleep(step.after)
			left, granted, ok := c.Remaining(1)
			if left != step.left || ok != step.ok || ok && granted != 5 {
				t.Fatalf("after %v more: %d of %d, %v; want %+v", step.after, left, granted, ok, step)
			}
		}
	})
}

func TestAKeepaliveAfterTheDeadlineWaitsForTheRevoke(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		defer stop()
		w.set(800*time.Millisecond, nil)
		begin := time.Now()
		w.grant(2, 1)
		c.Remaining(1) // the clock counts from here
		time.Sleep(2 * time.Second)
		w.lives(1)
		w.renews(c, 1, 0)
		if took := time.Since(begin); took < 2800*time.Millisecond {
			t.Fatalf("it was answered after %v, before the lease was gone", took)
		}
		if w.table.Len() != 0 {
			t.Fatal("the lease is not gone")
		}
	})
}

func TestAKeepaliveThatWaitsEndsWithItsContext(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		defer stop()
		w.set(time.Hour, nil)
		w.grant(2, 1)
		time.Sleep(3 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Renew(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("it ended with %v", err)
		}
	})
}

// Keepalives arrive around the deadline while revokes take their time: each is answered either with the full
// time, and then the lease lives that long, or with 0, and then the lease is gone.
func TestAKeepaliveNearTheDeadlineWinsOrLosesForGood(t *testing.T) {
	const leases = 500
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		defer stop()
		w.set(7*time.Millisecond, nil)
		w.grant(2, span(1, leases)...)
		c.Remaining(1)
		var all sync.WaitGroup
		for id := range lease.ID(leases) {
			id++
			all.Go(func() {
				time.Sleep(2*time.Second + time.Duration(id-leases/2)*100*time.Microsecond)
				ttl, err := c.Renew(t.Context(), id)
				answered := time.Now()
				_, alive := w.table.Get(id)
				switch {
				case err != nil:
					t.Errorf("lease %d: %v", id, err)
				case ttl == 0 && alive:
					t.Errorf("lease %d is said to be gone and lives", id)
				case ttl != 0 && !alive:
					t.Errorf("lease %d was renewed when it was gone", id)
				case ttl != 0:
					time.Sleep(10 * time.Second)
					w.endsWithin(id, answered, 2*time.Second)
				}
			})
		}
		all.Wait()
		synctest.Wait()
		ended := w.metrics.Lease.Renewed.Value()
		if ended == 0 || ended == leases {
			t.Fatalf("%d of %d were renewed: the test did not meet the deadline", ended, leases)
		}
	})
}

func TestKeepalivesDoNotWaitForRevokes(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		defer stop()
		w.set(time.Hour, nil)
		w.grant(2, span(1, 10*MaxRevokeLeases)...)
		w.grant(100, 100_001)
		time.Sleep(4 * time.Second)
		begin := time.Now()
		w.renews(c, 100_001, 100)
		c.Remaining(5)
		if took := time.Since(begin); took > 0 {
			t.Fatalf("they waited %v", took)
		}
	})
}

func TestAClearingThatFailsFailsTheKeepalive(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.grant(60, 1)
		w.apply(&command.LeaseCheckpoint{Leases: []command.Remaining{{ID: 1, Seconds: 20}}})
		c, stop := w.begin()
		defer stop()
		broken := errors.New("broken")
		w.set(0, func(command.Op) error { return broken })
		if _, err := c.Renew(t.Context(), 1); !errors.Is(err, broken) {
			t.Fatalf("it was answered with %v", err)
		}
		w.set(0, nil)
		w.renews(c, 1, 60)
		if l, _ := w.table.Get(1); l.Remaining != 0 {
			t.Fatalf("%d seconds are still recorded", l.Remaining)
		}
	})
}
