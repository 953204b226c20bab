package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// ledger is what writers were told: key to revision.
type ledger struct {
	mu    sync.Mutex
	acked map[string]mvcc.Rev
}

func (l *ledger) note(key string, rev mvcc.Rev) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[key] = rev
}

func (l *ledger) copy() map[string]mvcc.Rev {
	l.mu.Lock()
	defer l.mu.Unlock()
	acked := make(map[string]mvcc.Rev, len(l.acked))
	for k, v := range l.acked {
		acked[k] = v
	}
	return acked
}

// write puts keys of its own until something ends it, noting what was acknowledged.
func (l *ledger) write(ctx context.Context, w *world, name string, n int) {
	for i := range n {
		key := fmt.Sprintf("%s/%d", name, i)
		rev, err := w.put(ctx, key, key)
		if err != nil {
			return
		}
		l.note(key, rev)
	}
}

// check fails unless everything acknowledged is there at its revision, and the history has every revision
// exactly once.
func check(t *testing.T, w *world, acked map[string]mvcc.Rev) {
	t.Helper()
	if err := w.replica.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	kv := w.data.machine.KV()
	view := kv.View()
	defer view.Close()
	for key, rev := range acked {
		it, ok := view.Get([]byte(key))
		if !ok || it.Mod != rev {
			first, _ := w.data.log.FirstIndex()
			last, _ := w.data.log.LastIndex()
			t.Fatalf("%s was acknowledged at revision %d and is %v now; the store is at %d, the log holds %d to %d, applied %+v",
				key, rev, it, view.Rev(), first, last, w.data.machine.Applied())
		}
		record, err := view.Record(it)
		if err != nil || !strings.Contains(string(record), key) {
			t.Fatalf("%s has record %q, err %v", key, record, err)
		}
	}
	next := mvcc.FirstRev + 1
	for next <= view.Rev() {
		events, _, err := kv.Since(next-1, 1000, nil)
		if err != nil || len(events) == 0 {
			t.Fatalf("history after %d: %d events, err %v", next-1, len(events), err)
		}
		for _, e := range events {
			if e.Pos.Rev != next {
				t.Fatalf("history goes from %d to %d", next-1, e.Pos.Rev)
			}
			next++
		}
	}
}

func TestACrashLosesNothingAcknowledged(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	fs := vfs.NewCrashableMem()
	l := &ledger{acked: make(map[string]mvcc.Rev)}
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	for round := range rounds {
		w, err := start(fs, rng.Uint64())
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		check(t, w, l.copy())
		ctx, cancel := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for c := range 4 {
			writers.Go(func() { l.write(ctx, w, fmt.Sprintf("%d.%d", round, c), 1000) })
		}
		if round%3 != 1 {
			writers.Go(func() { _ = w.data.engine.Flush() })
		}
		until := len(l.copy()) + rng.IntN(300)
		for len(l.copy()) < until {
			if err := w.replica.Barrier(ctx); err != nil {
				t.Fatal(err)
			}
		}
		// The clone is the disk after a loss of power: acknowledged before it was made means durable in it.
		acked := l.copy()
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		cancel()
		writers.Wait()
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		fs, l.acked = crashed, acked
	}
	if len(l.acked) < 10*rounds {
		t.Fatalf("only %d writes were acknowledged: the test did not test much", len(l.acked))
	}
}

// TestEveryDiskErrorOnce fails the n-th operation of the disk, for every n: what was acknowledged before is
// there once the disk is well again, and nothing is acknowledged that is not.
func TestEveryDiskErrorOnce(t *testing.T) {
	for n := 0; ; n++ {
		if !failOnce(t, n) {
			if n < 50 {
				t.Fatalf("only %d operations of the disk were failed", n)
			}
			return
		}
	}
}

// failOnce runs a member whose disk fails at its n-th operation, and reports whether there was one.
func failOnce(t *testing.T, n int) (failed bool) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	// A member that has lived a while, so that there is something to lose.
	w := mustStart(t, mem)
	l := &ledger{acked: make(map[string]mvcc.Rev)}
	l.write(t.Context(), w, "before", 20)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}

	var operations atomic.Int64
	var starting atomic.Bool
	starting.Store(true)
	disk := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if inState := strings.Contains(op.Path, "/"+stateDir); inState && (starting.Load() || op.Kind == errorfs.OpFileSync && strings.HasSuffix(op.Path, "/"+stateDir)) {
			// There the library panics, which would end the test: while it opens, and when it cannot sync
			// its directory. For what is lost that is a crash, and those have a test of their own.
			return nil
		}
		if operations.Add(1) == int64(n)+1 {
			return errorfs.ErrInjected
		}
		return nil
	}))
	w, err := start(disk, uint64(n)<<32)
	if err != nil {
		if !strings.Contains(err.Error(), errorfs.ErrInjected.Error()) {
			t.Fatalf("operation %d failed and the start says: %v", n, err)
		}
	} else {
		starting.Store(false)
		l.write(t.Context(), w, "during", 20)
		_ = w.data.engine.Flush()
		_ = w.stop() // whether the failure is met again here does not matter: the check below decides
	}
	// The process ends, and with it its locks; what it had written is there, synced or not.
	healed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(uint64(n), 2))})
	w = mustStart(t, healed)
	check(t, w, l.copy())
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	return operations.Load() > int64(n)
}
