package state

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// randomLog is a world's log of so many random commands, none of them applied.
func randomLog(t testing.TB, seed uint64, commands int) [][]byte {
	d := &dice{rng: rand.New(rand.NewPCG(seed, 5)), m: newModel()}
	w := &world{t: t}
	for range commands {
		op := d.op()
		_, _ = d.m.apply(op) // so that the next ones hit something
		w.append(op)
	}
	return w.log
}

// sweepAll removes all that was compacted.
func (w *world) sweepAll() {
	w.t.Helper()
	for done := false; !done; {
		var err error
		_, done, err = w.m.KV().Sweep(w.t.Context(), 1000)
		w.must(err)
	}
}

// TestTheSizeOfGroupsDoesNotShow feeds one log to machines in different groups, with flushes, sweeps,
// restarts and crashes at different times, and finds all of them with the same rows and tables.
func TestTheSizeOfGroupsDoesNotShow(t *testing.T) {
	for seed := range uint64(4) {
		log := randomLog(t, seed, 600)
		want := ""
		for name, play := range map[string]func(w *world, rng *rand.Rand){
			"one by one": func(w *world, _ *rand.Rand) { w.must(w.replay(func() int { return 1 })) },
			"all at once": func(w *world, _ *rand.Rand) {
				w.must(w.replay(func() int { return len(log) }))
			},
			"small groups and sweeps": func(w *world, rng *rand.Rand) {
				w.must(w.replay(func() int {
					_, _, err := w.m.KV().Sweep(w.t.Context(), 1+rng.IntN(30))
					w.must(err)
					return 1 + rng.IntN(10)
				}))
			},
			"restarts": func(w *world, rng *rand.Rand) { w.interrupted(rng, func() { w.restart(w.fs) }) },
			"crashes": func(w *world, rng *rand.Rand) {
				w.interrupted(rng, func() {
					w.restart(w.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}))
				})
			},
		} {
			t.Run(fmt.Sprint(seed, " ", name), func(t *testing.T) {
				w := newWorld(t, vfs.NewCrashableMem(), mvcc.Options{HistoryEvents: 200})
				w.log = log
				play(w, rand.New(rand.NewPCG(seed, 6)))
				w.sweepAll()
				got := w.whole()
				if want == "" {
					want = got
				}
				if got != want {
					t.Fatalf("members differ: %s", firstDifference(got, want))
				}
			})
		}
	}
}

// interrupted replays the log a part at a time and interrupts it between.
func (w *world) interrupted(rng *rand.Rand, stop func()) {
	whole := w.log
	for part := 50; ; part += 50 {
		w.log = whole[:min(part, len(whole))]
		w.must(w.replay(func() int { return 1 + rng.IntN(20) }))
		if part >= len(whole) {
			return
		}
		if rng.IntN(3) == 0 {
			w.must(w.engine.Flush())
		}
		stop()
	}
}

// TestACrashLeavesThePrefixOfTheLog compares what a crash leaves with a machine that was fed that part of
// the log and nothing else.
func TestACrashLeavesThePrefixOfTheLog(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 8))
		w := newWorld(t, vfs.NewCrashableMem(), mvcc.Options{})
		whole := randomLog(t, seed, 400)
		w.log = whole[:300]
		w.must(w.replay(func() int {
			if rng.IntN(40) == 0 {
				w.must(w.engine.Flush())
			}
			return 1 + rng.IntN(6)
		}))
		durable, err := w.m.DurableApplied()
		w.must(err)
		w.restart(w.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}))
		if w.m.Applied().Index < durable.Index {
			t.Fatalf("seed %d: %+v was durable and %+v survived", seed, durable, w.m.Applied())
		}
		n := len(w.log) - w.missing()
		if w.m.Applied() != at(n) {
			t.Fatalf("seed %d: applied is %+v, which no group left", seed, w.m.Applied())
		}
		other := newWorld(t, vfs.NewMem(), mvcc.Options{})
		other.log = whole[:n]
		other.must(other.replay(func() int { return 7 }))
		if got, want := w.whole(), other.whole(); got != want {
			t.Fatalf("seed %d: after the crash the first %d commands differ: %s", seed, n, firstDifference(got, want))
		}
		// And both go on alike.
		w.log, other.log = whole, whole
		w.must(w.replay(func() int { return 1 + rng.IntN(6) }))
		other.must(other.replay(func() int { return 1 }))
		if got, want := w.whole(), other.whole(); got != want {
			t.Fatalf("seed %d: behind the crash: %s", seed, firstDifference(got, want))
		}
	}
}
