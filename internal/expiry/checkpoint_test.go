package expiry

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/lease"
)

func TestAPlannedRestartGivesBackWhatWasLeft(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		w.grant(60, 1)
		w.grant(600, 2)
		w.grant(5, 3)
		w.grant(60, 4)
		c.Remaining(1)
		begin := time.Now()
		time.Sleep(4500 * time.Millisecond)
		w.renews(c, 4, 60)
		renewed := time.Now()
		if err := c.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop()
		for id, want := range map[lease.ID]int64{1: 56, 2: 596, 3: 1, 4: 0} {
			if l, _ := w.table.Get(id); l.Remaining != want {
				t.Errorf("of lease %d %d seconds are recorded, want %d", id, l.Remaining, want)
			}
		}
		w.restart()
		_, stop = w.begin()
		defer stop()
		time.Sleep(20 * time.Minute)
		for id, ttl := range map[lease.ID]time.Duration{1: 60, 2: 600, 3: 5} {
			if at := w.endOf(id, begin); at < ttl*time.Second || at > ttl*time.Second+election+2*time.Second {
				t.Errorf("lease %d ended after %v", id, at)
			}
		}
		w.endsWithin(4, renewed, 60*time.Second+election)
	})
}

func TestLongLeasesAreRecordedNowAndThen(t *testing.T) {
	const leases = 2500
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		w.grant(3600, span(1, leases)...)
		w.grant(int64(CheckpointInterval/time.Second), leases+1)
		w.grant(540, leases+2) // has less than the interval left when it is looked at
		c.Remaining(1)
		time.Sleep(CheckpointInterval + time.Second)
		_, records := w.commands()
		if len(records) != 3 {
			t.Fatalf("%d commands for %d leases", len(records), leases)
		}
		for _, r := range records {
			for _, l := range r.Leases {
				if l.Seconds != 3300 || l.ID > leases {
					t.Fatalf("recorded: %+v", l)
				}
			}
		}
		// A crash: what the clock knew is gone.
		time.Sleep(20 * time.Minute)
		stop()
		crash := time.Now()
		w.restart()
		_, stop = w.begin()
		defer stop()
		time.Sleep(2 * time.Hour)
		w.endsWithin(7, crash, 2100*time.Second+election)
	})
}

func TestALeaseThatIsRenewedOftenIsNotRecorded(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		defer stop()
		w.grant(600, 1)
		for range 100 {
			time.Sleep(200 * time.Second)
			w.renews(c, 1, 600)
		}
		if _, records := w.commands(); len(records) != 0 {
			t.Fatalf("%d commands", len(records))
		}
	})
}

// A crash may come at any moment after a keepalive was answered; from then on the lease must have its full
// time even though less was recorded before.
func TestAKeepaliveIsNotAnsweredBeforeItsRecordIsCleared(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.grant(60, 1)
		w.apply(&command.LeaseCheckpoint{Leases: []command.Remaining{{ID: 1, Seconds: 20}}})
		c, stop := w.begin()
		w.set(50*time.Millisecond, nil)
		begin := time.Now()
		w.renews(c, 1, 60)
		if time.Since(begin) < 50*time.Millisecond {
			t.Fatal("it was answered before the log had it")
		}
		answered := time.Now()
		stop()
		w.restart()
		c, stop = w.begin()
		defer stop()
		w.renews(c, 77, 0)
		time.Sleep(2 * time.Minute)
		w.endsWithin(1, answered, 60*time.Second+election)
	})
}

func TestManyKeepalivesShareOneClearing(t *testing.T) {
	const leases = 2500
	story(t, func(t *testing.T, w *world) {
		var recorded []command.Remaining
		for _, id := range span(1, leases) {
			w.grant(60, id)
			recorded = append(recorded, command.Remaining{ID: int64(id), Seconds: 20})
		}
		w.apply(&command.LeaseCheckpoint{Leases: recorded})
		c, stop := w.begin()
		defer stop()
		w.set(50*time.Millisecond, nil)
		var all sync.WaitGroup
		for _, id := range span(1, leases) {
			for range 2 {
				all.Go(func() { w.renews(c, id, 60) })
			}
		}
		all.Wait()
		_, records := w.commands()
		if n := len(records) - 1; n > 5 {
			t.Fatalf("%d commands for %d leases", n, leases)
		}
		for _, l := range w.table.List() {
			if l.Remaining != 0 {
				t.Fatalf("lease %d still has %d seconds recorded", l.ID, l.Remaining)
			}
		}
	})
}

func TestAKeepaliveDuringARecordIsNotBrokenByIt(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		w.grant(60, 1)
		c.Remaining(1)
		time.Sleep(30 * time.Second)
		w.set(time.Second, nil)
		written := make(chan error)
		go func() { written <- c.Checkpoint(t.Context()) }()
		synctest.Wait() // the record of 30 seconds is on its way
		time.Sleep(500 * time.Millisecond)
		w.renews(c, 1, 60)
		answered := time.Now()
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		stop()
		w.restart()
		_, stop = w.begin()
		defer stop()
		time.Sleep(2 * time.Minute)
		if at := w.endOf(1, answered); at < 60*time.Second {
			t.Fatalf("the lease was promised a minute and lived %v", at)
		}
	})
}

func TestARecordOfAnOldReignIsOverBeforeTheNewOneAnswers(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		c, stop := w.begin()
		w.grant(60, 1)
		c.Remaining(1)
		time.Sleep(30 * time.Second)
		w.set(time.Second, nil)
		written := make(chan error)
		go func() { written <- c.Checkpoint(t.Context()) }()
		synctest.Wait()
		w.lead(9, true)
		if _, err := c.Renew(t.Context(), 1); err == nil {
			t.Fatal("it was answered while a record was under way")
		}
		if err := <-written; err == nil {
			t.Fatal("the record of an old reign was written")
		}
		synctest.Wait()
		w.renews(c, 1, 60)
		answered := time.Now()
		stop()
		w.restart()
		_, stop = w.begin()
		defer stop()
		time.Sleep(2 * time.Minute)
		if at := w.endOf(1, answered); at < 60*time.Second {
			t.Fatalf("the lease was promised a minute and lived %v", at)
		}
	})
}
