package chores

import (
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// compacting runs a compactor in virtual time while tell lets time pass.
func compacting(t *testing.T, r Retention, tight func() bool, tell func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := NewCompactor(CompactorOptions{
			Retention: r, Store: w.machine.KV(), Proposer: w, Leadership: w, Tight: tight, Logger: slog.New(slog.DiscardHandler),
		})
		stop := running(t, c.Run)
		synctest.Wait()
		tell(w)
		stop()
		w.close()
	})
}

// pass writes puts revisions per step and lets the steps pass, and returns what was compacted.
func (w *world) pass(step time.Duration, steps, puts int) []int64 {
	w.t.Helper()
	for range steps {
		time.Sleep(step)
		synctest.Wait()
		w.puts(puts)
	}
	return w.compactions()
}

func expectCompactions(t *testing.T, when string, got []int64, want ...int64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: compacted to %v, want %v", when, got, want)
	}
}

func TestCompactionByTimeKeepsWhatIsYounger(t *testing.T) {
	// One revision each minute; the notes are taken every 3 minutes, before the put of that minute. The
	// oldest of eleven is 33 minutes old when the next is due.
	compacting(t, Retention{Mode: ByTime, Time: 30 * time.Minute}, nil, func(w *world) {
		expectCompactions(t, "the first 29 minutes", w.pass(time.Minute, 29, 1))
		expectCompactions(t, "minute 30", w.pass(time.Minute, 1, 1), 1)
		expectCompactions(t, "the next 29 minutes", w.pass(time.Minute, 29, 1))
		expectCompactions(t, "minute 60", w.pass(time.Minute, 1, 1), 27)
		expectCompactions(t, "the next hour", w.pass(time.Minute, 60, 1), 57, 87)
	})
}

func TestLongHistoryIsCompactedEveryHour(t *testing.T) {
	compacting(t, Retention{Mode: ByTime, Time: 3 * time.Hour}, nil, func(w *world) {
		expectCompactions(t, "the first 179 minutes", w.pass(time.Minute, 179, 1))
		expectCompactions(t, "after three hours", w.pass(time.Minute, 1, 1), 1)
		expectCompactions(t, "the three hours after", w.pass(time.Minute, 180, 1), 54, 114, 174)
	})
}

func TestNothingNewIsNotCompactedAgain(t *testing.T) {
	compacting(t, Retention{Mode: ByTime, Time: 10 * time.Minute}, nil, func(w *world) {
		w.puts(5)
		expectCompactions(t, "the first hour", w.pass(time.Minute, 60, 0), 1, 6)
	})
}

func TestAFailedCompactionIsTriedAgainSoon(t *testing.T) {
	compacting(t, Retention{Mode: ByTime, Time: 100 * time.Minute}, nil, func(w *world) {
		w.setRefuse(errors.New("no quorum"))
		time.Sleep(103 * time.Minute) // steps of six minutes: the try of minute 102 fails
		synctest.Wait()
		w.setRefuse(nil)
		w.puts(1)
		expectCompactions(t, "until minute 107", w.pass(time.Minute, 4, 0))
		expectCompactions(t, "minute 108", w.pass(time.Minute, 1, 0), 1)
	})
}

func TestOnlyTheLeaderCompacts(t *testing.T) {
	compacting(t, Retention{Mode: ByTime, Time: 10 * time.Minute}, nil, func(w *world) {
		w.follows.Store(true)
		expectCompactions(t, "an hour as a follower", w.pass(time.Minute, 60, 1))
		w.follows.Store(false)
		expectCompactions(t, "the first minute as a leader", w.pass(time.Minute, 1, 1), 50)
	})
}

func TestCompactionByRevisionLooksEveryFiveMinutes(t *testing.T) {
	compacting(t, Retention{Mode: ByRevision, Revisions: 100}, nil, func(w *world) {
		w.puts(99) // revision 100
		expectCompactions(t, "with 100 revisions", w.pass(time.Minute, 10, 0))
		w.puts(50)
		expectCompactions(t, "less than five minutes later", w.pass(time.Minute, 4, 0))
		expectCompactions(t, "five minutes later", w.pass(time.Minute, 1, 0), 50)
		expectCompactions(t, "an hour without writes", w.pass(time.Minute, 60, 0))
		w.puts(1)
		w.do(&pb.CompactionRequest{Revision: 140})
		expectCompactions(t, "somebody else compacted further, which is no failure", w.pass(time.Minute, 5, 0), 51)
		w.puts(100)
		expectCompactions(t, "and goes on", w.pass(time.Minute, 5, 0), 151)
	})
}

func TestWithoutARetentionNothingIsCompacted(t *testing.T) {
	for _, r := range []Retention{{}, {Mode: ByTime}, {Mode: ByRevision}} {
		compacting(t, r, func() bool { return true }, func(w *world) {
			expectCompactions(t, "a day", w.pass(time.Hour, 24, 2))
		})
	}
}

func TestShortSpaceCompactsEarlyButNeverMoreThanAllowed(t *testing.T) {
	var tight atomic.Bool
	compacting(t, Retention{Mode: ByTime, Time: 3 * time.Hour}, tight.Load, func(w *world) {
		tight.Store(true)
		expectCompactions(t, "while all is young", w.pass(time.Minute, 179, 1))
		expectCompactions(t, "at its time", w.pass(time.Minute, 1, 1), 1)
		// From now on each note that is old enough goes at once and not an hour later.
		expectCompactions(t, "the next 20 minutes", w.pass(time.Minute, 20, 1), 6, 12, 18)
		tight.Store(false)
		expectCompactions(t, "with space again", w.pass(time.Minute, 30, 1))
	})
	compacting(t, Retention{Mode: ByRevision, Revisions: 100}, tight.Load, func(w *world) {
		w.puts(149)
		expectCompactions(t, "with space", w.pass(time.Second, 10, 0))
		tight.Store(true)
		expectCompactions(t, "without space", w.pass(time.Second, 2, 0), 50)
	})
}
