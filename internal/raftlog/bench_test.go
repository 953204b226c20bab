package raftlog

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

// BenchmarkAppend measures one append of one entry with its hard state, on a real
// disk, with and without the sync.
func BenchmarkAppend(b *testing.B) {
	for _, sync := range []bool{false, true} {
		for _, size := range []int{256, 16 << 10} {
			b.Run(fmt.Sprintf("sync=%v/bytes=%d", sync, size), func(b *testing.B) {
				benchmarkAppend(b, sync, size)
			})
		}
	}
}

func benchmarkAppend(b *testing.B, sync bool, size int) {
	l, err := Create(Options{FS: vfs.Default, Dir: b.TempDir() + "/log"}, Origin{Index: 1, Term: 1})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	data := make([]byte, size)
	hs := state(1, 1, 1)
	term, kind := uint64(1), raftpb.EntryNormal
	var total Timing
	b.SetBytes(int64(size))
	b.ReportAllocs()
	index := uint64(1)
	for b.Loop() {
		index++
		i := index
		e := &raftpb.Entry{Index: &i, Term: &term, Type: &kind, Data: data}
		*hs.Commit = index - 1
		t, err := l.Append(Batch{Entries: []*raftpb.Entry{e}, HardState: hs, Sync: sync})
		if err != nil {
			b.Fatal(err)
		}
		total.Write += t.Write
		total.Sync += t.Sync
		if index%4096 == 0 {
			if err := l.Compact(index - 1024); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(total.Write.Nanoseconds())/float64(b.N), "write-ns/op")
	b.ReportMetric(float64(total.Sync.Nanoseconds())/float64(b.N), "sync-ns/op")
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkOpen measures opening a log of some 48 MiB after a kill.
func BenchmarkOpen(b *testing.B) {
	o := Options{FS: vfs.Default, Dir: b.TempDir() + "/log"}
	l, err := Create(o, Origin{Index: 1, Term: 1})
	if err != nil {
		b.Fatal(err)
	}
	for i := uint64(2); l.Size() < 48<<20; i++ {
		if _, err := l.Append(Batch{Entries: []*raftpb.Entry{entry(i, 1, string(make([]byte, 4000)))}}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		l.die(b)
		if l, err = Open(o); err != nil {
			b.Fatal(err)
		}
		for _, s := range l.segments {
			if err := s.file.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkEntries measures reading 64 entries of 1 KiB from memory and from the file.
func BenchmarkEntries(b *testing.B) {
	for _, cache := range []int64{1, DefaultCacheBytes} {
		b.Run(fmt.Sprintf("cache=%d", cache), func(b *testing.B) {
			l, err := Create(Options{FS: vfs.Default, Dir: b.TempDir() + "/log", CacheBytes: cache}, Origin{Index: 1, Term: 1})
			if err != nil {
				b.Fatal(err)
			}
			for i := uint64(2); i < 66; i++ {
				if _, err := l.Append(Batch{Entries: []*raftpb.Entry{entry(i, 1, string(make([]byte, 1024)))}}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Entries(2, 66, 1<<20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSearch measures looking for records in the rest of a recycled segment.
func BenchmarkSearch(b *testing.B) {
	mem := vfs.NewMem()
	f, err := mem.Create("segment", category)
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.NewChaCha8([32]byte{})
	data := make([]byte, 16<<20)
	_, _ = rng.Read(data) // never fails
	if _, err := f.Write(data); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if found, err := newRecordReader(f, int64(len(data)), 1).search(headerBlock); err != nil || found.count > 0 {
			b.Fatal(found, err)
		}
	}
}
