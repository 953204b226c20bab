package mvcc

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/storage"
)

// bench is a store in a directory with n keys of 32 bytes and values of 256.
type bench struct {
	b      *testing.B
	dir    string
	engine *storage.Engine
	store  *Store
}

func benchKey(dst []byte, i int) []byte {
	h := uint64(i+1) * 0x9e3779b97f4a7c15
	return fmt.Appendf(dst[:0], "/registry/things/%015x", h>>4)
}

func newBench(b *testing.B, n int) *bench {
	w := &bench{b: b, dir: b.TempDir()}
	w.open()
	b.Cleanup(func() { _ = w.engine.Close() })
	value := make([]byte, 256)
	src := rand.NewChaCha8([32]byte{})
	var key []byte
	for i := 0; i < n; {
		w.group(func(g *Writer) {
			for k := 0; k < 128 && i < n; k++ {
				tx := g.NewTx()
				_, _ = src.Read(value)
				key = benchKey(key, i)
				_, _ = tx.Put(key, value, 0)
				tx.End()
				i++
			}
		})
	}
	return w
}

func (w *bench) open() {
	e, err := storage.Open(storage.Options{FS: vfs.Default, Dir: w.dir})
	if err != nil {
		w.b.Fatal(err)
	}
	s, err := Open(e, Options{})
	if err != nil {
		w.b.Fatal(err)
	}
	w.engine, w.store = e, s
}

func (w *bench) group(f func(g *Writer)) {
	batch := w.engine.NewBatch()
	defer batch.Close()
	g := w.store.Begin(batch)
	f(g)
	_ = g.Finish()
	if err := w.engine.Commit(batch); err != nil {
		w.b.Fatal(err)
	}
	g.Publish()
}

// cold drops what memory holds of recent records.
func (w *bench) cold() {
	if err := w.engine.Close(); err != nil {
		w.b.Fatal(err)
	}
	w.open()
}

// cpu reports the processor time of the process per operation, which a busy
// machine disturbs less than the clock.
func cpu(b *testing.B) (stop func()) {
	used := func() int64 {
		var r syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
		return r.Utime.Nano() + r.Stime.Nano()
	}
	start := used()
	return func() { b.ReportMetric(float64(used()-start)/float64(b.N), "cpu-ns/op") }
}

func BenchmarkPut(b *testing.B) {
	for _, keys := range []int{100_000, 1_000_000} {
		for _, size := range []int{1, 50} {
			b.Run(fmt.Sprintf("keys=%d/group=%d", keys, size), func(b *testing.B) {
				w := newBench(b, keys)
				value := make([]byte, 256)
				src := rand.NewChaCha8([32]byte{1})
				rng := rand.New(src)
				var key []byte
				b.ReportAllocs()
				b.ResetTimer()
				defer cpu(b)()
				for i := 0; i < b.N; {
					w.group(func(g *Writer) {
						for k := 0; k < size && i < b.N; k++ {
							tx := g.NewTx()
							_, _ = src.Read(value)
							key = benchKey(key, rng.IntN(keys))
							_, _ = tx.Put(key, value, 0)
							tx.End()
							i++
						}
					})
				}
			})
		}
	}
}

func BenchmarkGet(b *testing.B) {
	for _, c := range []struct {
		name string
		keys int
		cold bool
	}{{"recent", 20_000, false}, {"stored", 20_000, true}, {"stored", 100_000, true}, {"stored", 1_000_000, true}} {
		b.Run(fmt.Sprintf("%s/keys=%d", c.name, c.keys), func(b *testing.B) {
			w := newBench(b, c.keys)
			if c.cold {
				w.cold()
			}
			rng := rand.New(rand.NewPCG(1, 2))
			var key []byte
			b.ReportAllocs()
			stop := cpu(b)
			for b.Loop() {
				v := w.store.View()
				key = benchKey(key, rng.IntN(c.keys))
				res, err := v.Range(context.Background(), RangeQuery{Key: key})
				if err != nil || res.N != 1 {
					b.Fatal(err, res)
				}
				res.Release()
				v.Close()
			}
			stop()
		})
	}
}

func BenchmarkRange(b *testing.B) {
	for _, c := range []struct {
		name  string
		keys  int
		limit int64
		back  Rev
		cold  bool
		only  bool
	}{
		{"list of 10000", 10_000, 0, 0, true, false},
		{"list of 10000 recent", 10_000, 0, 0, false, false},
		{"list of 10000 at older revision", 10_000, 0, 5, true, false},
		{"page of 500 in 100000", 100_000, 500, 0, true, false},
		{"page of 500 in 100000 at older revision", 100_000, 500, 5, true, false},
		{"keys of 10000", 10_000, 0, 0, true, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newBench(b, c.keys)
			if c.cold {
				w.cold()
			}
			q := RangeQuery{Key: []byte{0}, End: []byte{0}, Limit: c.limit, KeysOnly: c.only}
			if c.back > 0 {
				q.Rev = w.store.Stats().Rev - c.back
			}
			b.ReportAllocs()
			stop := cpu(b)
			for b.Loop() {
				v := w.store.View()
				res, err := v.Range(context.Background(), q)
				if err != nil || res.N < 500 {
					b.Fatal(err, res)
				}
				b.SetBytes(res.Bytes)
				res.Release()
				v.Close()
			}
			stop()
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	w := newBench(b, 1_000_000)
	w.cold() // the load's flushes and compactions are not part of it
	w.cold()
	stop := cpu(b)
	for b.Loop() {
		w.cold()
	}
	stop()
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/1e6, "heap-MB")
	b.ReportMetric(float64(w.store.Stats().IndexBytes)/1e6, "index-MB")
	st := w.engine.Stats()
	b.ReportMetric(float64(st.DiskBytes)/1e6, "disk-MB")
	b.ReportMetric(float64(st.CacheBytes)/1e6, "cache-MB")
}

func BenchmarkTree(b *testing.B) {
	const n = 1_000_000
	var t tree
	var key [8]byte
	items := make([]string, n)
	for i := range items {
		binary.BigEndian.PutUint64(key[:], uint64(i+1)*0x9e3779b97f4a7c15)
		items[i] = fmt.Sprintf("/registry/things/%x", key)
		t.put(items[i], func(*Item) *Item { return &Item{Key: items[i]} })
	}
	b.Run("get", func(b *testing.B) {
		i := 0
		stop := cpu(b)
		for b.Loop() {
			i = (i + 7919) % n
			if t.root.get(items[i]) == nil {
				b.Fatal("missing")
			}
		}
		stop()
	})
	b.Run("count", func(b *testing.B) {
		i := 0
		stop := cpu(b)
		for b.Loop() {
			i = (i + 7919) % n
			t.root.count(span{lo: items[i], kind: spanFrom})
		}
		stop()
	})
	b.Run("put in groups of 50", func(b *testing.B) {
		i := 0
		b.ReportAllocs()
		stop := cpu(b)
		for b.Loop() {
			if i++; i%50 == 0 {
				t.group++
			}
			k := items[(i*7919)%n]
			t.put(k, func(old *Item) *Item { return old })
		}
		stop()
	})
}
