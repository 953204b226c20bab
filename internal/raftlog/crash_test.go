package raftlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// segmentSizes lets a workload of some hundred small batches cross many segments,
// with files that are written in advance whole and in steps.
var segmentSizes = []int64{MinSegmentSize, 4 * minStep, 12 * minStep}

// TestACrashAtAnyOperationKeepsWhatWasAcknowledged runs workloads and, before every
// operation on the file system, takes the disk as a crash might leave it: what was
// synced, and an arbitrary part of the blocks and names that were not.
func TestACrashAtAnyOperationKeepsWhatWasAcknowledged(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	crashes := 0
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			crashes += crashEverywhere(t, seed)
		})
	}
	t.Logf("survived %d crashes", crashes)
	if crashes < 100*int(seeds) {
		t.Fatalf("only %d crashes: the workload does not reach the disk", crashes)
	}
}

func crashEverywhere(t *testing.T, seed uint64) (crashes int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	mem := vfs.NewCrashableMem()
	w := &workload{rng: rand.New(rand.NewPCG(seed, 2)), m: newModel()}
	o := Options{Dir: "log", SegmentSize: segmentSizes[seed%uint64(len(segmentSizes))], CacheBytes: 4096}
	created := false
	o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		crashes++
		after := o
		after.FS = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 20, 50, 80, 100}[rng.IntN(5)], RNG: rng})
		if !created {
			checkUnborn(t, after)
			return nil
		}
		w.m.mustReopen(t, after)
		return nil
	}))
	l, err := Create(o, Origin{ID: 9, Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	created = true
	for i := range 120 {
		switch draw := w.rng.IntN(24); {
		case draw <= 3:
			err = l.upkeep(context.Background(), 0)
		case draw <= 7:
			err = w.compact(l)
		case draw == 8:
			l = restart(t, l, w, o)
		default:
			err = w.append(l)
		}
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	return crashes
}

// checkUnborn demands that a crash during Create leaves no log or a complete one.
func checkUnborn(t *testing.T, o Options) {
	t.Helper()
	exists, err := Exists(o.FS, o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if exists {
		newModel().mustReopen(t, o)
		return
	}
	if _, err := Create(o, Origin{ID: 9, Index: 1, Term: 1}); err != nil {
		t.Fatalf("create after a crash in create: %v", err)
	}
}

// restart ends the process in an orderly way or not, without the machine crashing.
func restart(t *testing.T, l *Log, w *workload, o Options) *Log {
	t.Helper()
	if w.rng.IntN(2) == 0 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l.die(t)
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.m.now().same(l, w.m.compacted); err != nil {
		t.Fatalf("restart without a crash: %v", err)
	}
	w.m.acknowledge()
	return l
}

// TestAFailureOfAnyOperationIsFinal lets the n-th operation fail, for every n. The
// log must say so, take nothing more, and a later start must find what was
// acknowledged, whether the machine crashed too or not.
func TestAFailureOfAnyOperationIsFinal(t *testing.T) {
	failures, step := 0, int32(1)
	if testing.Short() {
		step = 3
	}
	for n := int32(0); ; n += step {
		mem := vfs.NewCrashableMem()
		fault := &errorfs.Counter{Injector: errorfs.OnIndex(n)}
		toggle := &errorfs.Toggle{Injector: fault}
		o := Options{FS: errorfs.Wrap(mem, toggle), Dir: "log", SegmentSize: MinSegmentSize, CacheBytes: 2048}
		l, err := Create(o, Origin{ID: 9, Index: 1, Term: 1})
		if err != nil {
			t.Fatal(err)
		}
		w := &workload{rng: rand.New(rand.NewPCG(3, 3)), m: newModel()}
		toggle.On()
		err = failingWorkload(l, w)
		toggle.Off()
		if fault.Load() == 0 {
			break // n is behind the last operation
		}
		failures++
		if err == nil {
			// Only a spare that could not be written may be shrugged off.
			l.die(t)
			w.m.mustReopen(t, Options{FS: mem, Dir: o.Dir, SegmentSize: o.SegmentSize})
			continue
		}
		if _, again := l.Append(Batch{Sync: true}); again == nil {
			t.Fatalf("operation %d: the log goes on after %v", n, err)
		}
		rng := rand.New(rand.NewPCG(uint64(n), 4))
		for _, keep := range []int{0, 50, 100} {
			after := o
			after.FS = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rng})
			w.m.mustReopen(t, after)
		}
		o.FS = mem
		l.die(t)
		w.m.mustReopen(t, o)
	}
	t.Logf("survived %d failures", failures)
	if failures < 200/int(step) {
		t.Fatalf("only %d failures: the workload does not reach the disk", failures)
	}
}

func failingWorkload(l *Log, w *workload) error {
	for i := range 60 {
		if err := w.append(l); err != nil {
			return err
		}
		if i%7 == 0 {
			if err := w.compact(l); err != nil {
				return err
			}
		}
		if i%5 == 0 {
			if err := l.upkeep(context.Background(), 0); err != nil && !errors.Is(err, errNoSpare) {
				return l.fail(err) // as Run does
			}
		}
	}
	return nil
}

// TestOpenFailsWithTheDiskAndCanBeTriedAgain lets the n-th operation of an Open fail
// on a log with an unfinished batch at its end.
func TestOpenFailsWithTheDiskAndCanBeTriedAgain(t *testing.T) {
	for n := int32(0); ; n++ {
		mem := vfs.NewCrashableMem()
		o := Options{FS: mem, Dir: "log", SegmentSize: MinSegmentSize}
		w := &workload{rng: rand.New(rand.NewPCG(5, 5)), m: newModel()}
		l, err := Create(o, Origin{ID: 9, Index: 1, Term: 1})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if err := w.append(l); err != nil {
				t.Fatal(err)
			}
		}
		mem = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(6, 6))})
		o.FS = errorfs.Wrap(mem, errorfs.OnIndex(n))
		l, err = Open(o)
		o.FS = mem
		if err == nil {
			l.die(t)
		}
		w.m.mustReopen(t, o)
		if err == nil {
			if n < 10 {
				t.Fatalf("an open of only %d operations", n)
			}
			return
		}
	}
}
