package mvcc

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/keelson-db/keelson/internal/storage"
)

// weighed is what the rows of a store weigh, looked at one by one.
func weighed(t testing.TB, e *storage.Engine) (sum int64) {
	t.Helper()
	it, err := e.Iter(storage.AppendRecordFrom(nil, ""), storage.RecordEnd())
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		shared, _, _, _ := storage.SplitRecordKey(it.Key())
		user, _ := storage.UserKey(shared, nil)
		sum += versionCost(string(user), len(it.Value()))
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return sum
}

// checkSize compares the store's size with what its rows weigh.
func (w *world) checkSize() {
	w.t.Helper()
	if got, want := w.store.Bytes(), weighed(w.t, w.engine); got != want {
		w.t.Fatalf("the store says that it keeps %d bytes and its rows weigh %d", got, want)
	}
}

func TestSpaceComesBackWithTheSweepAndNotWithTheEngine(t *testing.T) {
	d := newDesk(t, Options{})
	for i := range 100 {
		d.put("key", fmt.Sprint(i%10))
	}
	full := d.store.Bytes()
	if full != weighed(t, d.engine) || full < 100*versionBytes {
		t.Fatalf("100 versions count for %d bytes, their rows weigh %d", full, weighed(t, d.engine))
	}
	d.compact(101)
	if d.store.Bytes() != full {
		t.Fatal("a compaction alone frees nothing")
	}
	if _, _, err := d.store.Sweep(t.Context(), 1000); err != nil {
		t.Fatal(err)
	}
	if got := d.store.Bytes(); got != weighed(t, d.engine) || got > full/50 {
		t.Fatalf("one version is left and counts for %d bytes", got)
	}
}

func TestWhatAPassRemembersIsTrue(t *testing.T) {
	if _, ok := recordSizes(nil).of(Pos{7, 1}); ok {
		t.Fatal("a pass that has not begun remembers something")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	r, noted := newRecordSizes(100), map[Pos]int{}
	r.note(Pos{1, 9}, math.MaxUint32+1) // too large to be remembered, not to be noted
	remembered := 0
	for range 100_000 {
		at := Pos{Rev(1 + rng.IntN(50)), int32(rng.IntN(300))}
		switch size, ok := r.of(at); {
		case ok && noted[at] == 0:
			t.Fatalf("%v was never noted and is said to have %d bytes", at, size)
		case ok && noted[at] != size:
			t.Fatalf("%v has %d bytes and is said to have %d", at, noted[at], size)
		case ok:
			remembered++
		}
		noted[at] = 1 + rng.IntN(1000)
		r.note(at, uint64(noted[at]))
	}
	if remembered < 100 {
		t.Fatalf("only %d sizes were remembered", remembered)
	}
	// Of commands with one change each, as many as there is room for.
	for rev := range Rev(1000) {
		r.note(Pos{rev, 0}, uint64(rev))
	}
	for rev := 1000 - Rev(len(r)); rev < 1000; rev++ {
		if size, ok := r.of(Pos{rev, 0}); !ok || size != int(rev) {
			t.Fatalf("revision %d is forgotten", rev)
		}
	}
	if n := len(newRecordSizes(1 << 40)); n != maxRecordSizes {
		t.Fatalf("a long pass remembers %d sizes", n)
	}
}

// BenchmarkSweep removes versions that were superseded at random, from a store of 200,000 of them.
func BenchmarkSweep(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		w := newBench(b, 100_000)
		w.overwrite(100_000)
		w.group(func(g *Writer) { _ = g.Compact(g.Rev()) })
		b.StartTimer()
		start, removed := time.Now(), 0
		for done := false; !done; {
			n, end, err := w.store.Sweep(b.Context(), 1000)
			if err != nil {
				b.Fatal(err)
			}
			removed, done = removed+n, end
		}
		b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(removed), "ns/version")
		b.StopTimer()
		_ = w.engine.Close()
		b.StartTimer()
	}
}

// overwrite writes n keys of the store again, from one group to the next.
func (w *bench) overwrite(n int) {
	value := make([]byte, 256)
	for i := 0; i < n; {
		w.group(func(g *Writer) {
			for k := 0; k < 128 && i < n; k++ {
				tx := g.NewTx()
				_, _ = tx.Put(benchKey(nil, i*7919%n), value, 0)
				tx.End()
				i++
			}
		})
	}
}
