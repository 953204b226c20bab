package expiry

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/storage"
)

func TestALeaseEndsAfterItsTimeAndSoon(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		_, stop := w.begin()
		defer stop()
		time.Sleep(3 * time.Second)
		begin := time.Now()
		for ttl := int64(1); ttl <= 40; ttl++ {
			w.grant(ttl, lease.ID(ttl))
		}
		time.Sleep(time.Minute)
		for ttl := int64(1); ttl <= 40; ttl++ {
			w.endsWithin(lease.ID(ttl), begin, time.Duration(ttl)*time.Second)
		}
	})
}

func TestTheLongestLeaseDoesNotOverflow(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		defer stop()
		w.grant(lease.MaxTTL, 1)
		time.Sleep(24 * time.Hour)
		w.renews(c, 1, lease.MaxTTL)
		if left, granted, ok := c.Remaining(1); !ok || left < lease.MaxTTL/2 || granted != lease.MaxTTL {
			t.Fatalf("remaining %d of %d, %v", left, granted, ok)
		}
		w.lives(1)
	})
}

func TestManyLeasesEndInFewCommands(t *testing.T) {
	const leases = 100_000
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		defer stop()
		w.set(5*time.Millisecond, nil)
		begin := time.Now()
		w.grant(10, shuffled(span(1, leases))...)
		if _, _, ok := c.Remaining(leases); !ok {
			t.Fatal("the clock does not know a lease just granted")
		}
		time.Sleep(10*time.Second - 1)
		if w.table.Len() != leases {
			t.Fatalf("%d leases ended early", leases-w.table.Len())
		}
		time.Sleep(time.Second)
		if n := w.table.Len(); n != 0 {
			t.Fatalf("%d leases are left a second after their time", n)
		}
		revokes, _ := w.commands()
		if len(revokes) > leases/MaxRevokeLeases+maxRevokes {
			t.Fatalf("%d commands for %d leases", len(revokes), leases)
		}
		if w.crowd > maxRevokes {
			t.Fatalf("%d commands at once", w.crowd)
		}
		for id := range lease.ID(leases) {
			w.endsWithin(id+1, begin, 10*time.Second)
		}
		if got := len(c.deadlines) + len(c.entries); got != 0 {
			t.Fatalf("%d entries are left behind", got)
		}
	})
}

func TestOneCommandDoesNotDeleteTooManyKeys(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		_, stop := w.begin()
		defer stop()
		w.grant(2, 1, 2, 3, 4)
		for id, keys := range map[lease.ID]int{1: MaxRevokeKeys - 1, 2: 2, 3: 3 * MaxRevokeKeys, 4: 1} {
			for k := range keys {
				w.table.Attach(id, fmt.Sprint(id, "/", k))
			}
		}
		keysOf := map[int64]int{1: MaxRevokeKeys - 1, 2: 2, 3: 3 * MaxRevokeKeys, 4: 1}
		time.Sleep(4 * time.Second)
		revokes, _ := w.commands()
		for _, r := range revokes {
			keys := 0
			for _, id := range r.IDs {
				keys += keysOf[id]
			}
			if keys > MaxRevokeKeys && len(r.IDs) > 1 {
				t.Errorf("a command ends leases %v and deletes %d keys", r.IDs, keys)
			}
			if !r.Expired {
				t.Error("a command does not say that time has passed")
			}
		}
		if w.table.Len() != 0 {
			t.Fatal("leases are left")
		}
	})
}

func TestAFailedRevokeIsTriedAgain(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		_, stop := w.begin()
		defer stop()
		tries := 0
		w.set(0, func(command.Op) error {
			tries++
			if tries < 5 {
				return errors.New("no")
			}
			return nil
		})
		begin := time.Now()
		w.grant(2, 1)
		time.Sleep(10 * time.Second)
		if at := w.endOf(1, begin); at < 2*time.Second || at > 4*time.Second {
			t.Fatalf("revoked after %v", at)
		}
		if tries != 5 {
			t.Fatalf("%d tries", tries)
		}
	})
}

func TestARevokeThatHangsIsGivenUpAndTriedAgain(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		defer stop()
		w.set(time.Hour, nil)
		w.grant(2, 1)
		w.grant(60, 2)
		time.Sleep(5 * time.Second)
		w.renews(c, 2, 60) // the clock does not stand still meanwhile
		w.set(0, nil)
		time.Sleep(5 * time.Second)
		if w.table.Len() != 1 {
			t.Fatal("lease 1 is left")
		}
	})
}

func TestALeaseGrantedAgainLeavesNothingOfTheOldOne(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		_, stop := w.begin()
		defer stop()
		w.grant(3, 1)
		time.Sleep(2 * time.Second)
		w.revokeByClient(1)
		begin := time.Now()
		w.grant(5, 1)
		time.Sleep(10 * time.Second)
		w.endsWithin(1, begin, 5*time.Second)
	})
}

func TestAClockThatMissedChangesEndsNothingEarly(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		defer stop()
		w.grant(5, 1, 2)
		time.Sleep(4 * time.Second)
		begin := time.Now()
		w.write(func(b *storage.Batch) {
			// Lease 1 ends and comes back under the same ID, lease 2 ends, lease 3 comes, and more happens
			// in one group than the table remembers.
			_ = w.table.Revoke(b, 1)
			_ = w.table.Revoke(b, 2)
			for range lease.MaxChanges {
				_ = w.table.Grant(b, lease.Lease{ID: 9, TTL: 5})
				_ = w.table.Revoke(b, 9)
			}
			_ = w.table.Grant(b, lease.Lease{ID: 1, TTL: 5})
			_ = w.table.Grant(b, lease.Lease{ID: 3, TTL: 7})
			for range lease.MaxChanges {
				_ = w.table.Grant(b, lease.Lease{ID: 9, TTL: 5})
				_ = w.table.Revoke(b, 9)
			}
		})
		time.Sleep(time.Second)
		if ids := c.ByExpiry(); !slices.Equal(ids, []lease.ID{1, 3}) {
			t.Fatalf("the clock knows %v", ids)
		}
		time.Sleep(10 * time.Second)
		w.endsWithin(1, begin, 5*time.Second)
		w.endsWithin(3, begin, 7*time.Second)
	})
}

func TestANewLeaderGivesLeasesTheirTimeAfresh(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		defer stop()
		w.grant(10, 1)
		time.Sleep(9 * time.Second)
		w.lead(2, false)
		if _, err := c.Renew(t.Context(), 1); !errors.Is(err, ErrNotPrimary) {
			t.Fatalf("renewing without leadership: %v", err)
		}
		if _, _, ok := c.Remaining(1); ok {
			t.Fatal("a member that does not lead tells what is left")
		}
		if ids := c.ByExpiry(); !slices.Equal(ids, []lease.ID{1}) {
			t.Fatalf("a member that does not lead lists %v", ids)
		}
		time.Sleep(time.Minute)
		w.lives(1)
		w.lead(3, true)
		begin := time.Now()
		time.Sleep(time.Minute)
		w.endsWithin(1, begin, 10*time.Second+election)
	})
}

func TestTheEndDecidedUnderAnOldReignIsCalledBack(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		defer stop()
		w.set(3*time.Second, nil)
		w.grant(2, 1)
		time.Sleep(2500 * time.Millisecond) // the revoke is on its way
		waiting := make(chan error)
		go func() {
			_, err := c.Renew(t.Context(), 1)
			waiting <- err
		}()
		synctest.Wait()
		w.lead(5, true) // lost and won again, unseen
		if ttl, err := c.Renew(t.Context(), 1); err == nil && ttl == 0 {
			t.Fatal("the new reign repeats the verdict of the old one")
		}
		if err := <-waiting; err != nil && !errors.Is(err, ErrNotPrimary) {
			t.Fatalf("the keepalive that waited: %v", err)
		}
		begin := time.Now()
		time.Sleep(time.Second)
		w.lives(1)
		w.renews(c, 1, 2)
		time.Sleep(10 * time.Second)
		if at := w.endOf(1, begin); at < 3*time.Second {
			t.Fatalf("lease 1 was revoked after %v", at)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		_, stop := w.begin()
		w.set(time.Hour, nil)
		w.grant(1, span(1, 5000)...)
		time.Sleep(3 * time.Second)
		begin := time.Now()
		stop()
		if took := time.Since(begin); took > 0 {
			t.Fatalf("it took %v", took)
		}
	})
}

func TestAClockOfNoLeaderWaitsToBeOne(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.lead(1, false)
		w.grant(5, 1)
		_, stop := w.begin()
		defer stop()
		time.Sleep(time.Minute)
		// Leading, but without a signal: the member had first to apply what there was.
		w.mu.Lock()
		w.leading = true
		w.mu.Unlock()
		begin := time.Now()
		time.Sleep(time.Minute)
		w.endsWithin(1, begin, 5*time.Second+election)
	})
}
