package chores

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// onDisk is a state in a real directory.
type onDisk struct {
	b       *testing.B
	engine  *storage.Engine
	machine *state.Machine
	rng     *rand.ChaCha8
}

func newOnDisk(b *testing.B) *onDisk {
	e, err := storage.Open(storage.Options{FS: vfs.Default, Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Close() })
	f := state.Founding{Origin: state.Position{Index: 1, Term: 1}, Cluster: 1, Local: 1, Members: []member.Member{{ID: 1}}}
	if err := state.Found(e, f); err != nil {
		b.Fatal(err)
	}
	m, err := state.Open(e, mvcc.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return &onDisk{b: b, engine: e, machine: m, rng: rand.NewChaCha8([32]byte{})}
}

// group applies commands as one entry.
func (d *onDisk) group(ops ...any) {
	d.machine.Begin()
	for _, op := range ops {
		if r, err := d.machine.Apply(op); err != nil || r.Err != nil {
			d.b.Fatal(err, r.Err)
		}
	}
	if err := d.machine.Commit(state.Position{Index: d.machine.Applied().Index + 1, Term: 1}); err != nil {
		d.b.Fatal(err)
	}
}

// puts are n puts of a key among keys.
func (d *onDisk) puts(n, keys, size int) (ops []any) {
	for range n {
		value := make([]byte, size)
		_, _ = d.rng.Read(value[:size/2]) // half of it compresses
		ops = append(ops, &pb.PutRequest{Key: fmt.Appendf(nil, "/registry/things/%010d", d.rng.Uint64()%uint64(keys)), Value: value})
	}
	return ops
}

func (d *onDisk) compact() {
	d.group(&pb.CompactionRequest{Revision: int64(d.machine.KV().Stats().Rev)})
}

func (d *onDisk) sweep(ctx context.Context) time.Duration {
	start := time.Now()
	s := NewSweeper(d.machine.KV(), metrics.New().MVCC, slog.New(slog.DiscardHandler))
	if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
		d.b.Error(err)
	}
	return time.Since(start)
}

// latency puts at a steady pace until done is closed, and returns the times that it took in order.
func (d *onDisk) latency(done <-chan struct{}) (took []time.Duration) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			slices.Sort(took)
			return took
		case <-tick.C:
		}
		ops := d.puts(5, 100_000, 256)
		start := time.Now()
		d.group(ops...)
		took = append(took, time.Since(start))
	}
}

func report(b *testing.B, what string, took []time.Duration) {
	for name, q := range map[string]float64{"p50": .5, "p99": .99, "max": 1} {
		b.ReportMetric(float64(took[int(q*float64(len(took)-1))].Microseconds()), what+"-"+name+"-us")
	}
}

// BenchmarkPutsDuringASweep applies 5,000 puts a second, first with nothing beside and then while 500,000
// versions are swept.
func BenchmarkPutsDuringASweep(b *testing.B) {
	const versions = 500_000
	for b.Loop() {
		d := newOnDisk(b)
		for range versions / 100 {
			d.group(d.puts(100, 100_000, 256)...)
		}
		alone := make(chan struct{})
		time.AfterFunc(5*time.Second, func() { close(alone) })
		report(b, "alone", d.latency(alone))
		d.compact()
		swept := make(chan struct{})
		var took time.Duration
		go func() { took = d.sweep(b.Context()); close(swept) }()
		report(b, "sweep", d.latency(swept))
		b.ReportMetric(float64(took.Milliseconds()), "sweep-ms")
	}
}

// BenchmarkDiskUnderChurn overwrites 50,000 keys of 1 KB twenty times over, compacts often, and compares what
// the engine has on disk with what is kept.
func BenchmarkDiskUnderChurn(b *testing.B) {
	const keys, size = 50_000, 1024
	for b.Loop() {
		d := newOnDisk(b)
		var worst float64
		for i := range 20 * keys / 100 {
			d.group(d.puts(100, keys, size)...)
			if i%250 == 249 {
				d.compact()
				d.sweep(b.Context())
				st := d.engine.Stats()
				ratio := float64(st.DiskBytes) / float64(d.machine.KV().Bytes())
				if i > 2000 {
					worst = max(worst, ratio)
				}
			}
		}
		st := d.engine.Stats()
		mb := func(n int64) float64 { return float64(n) / (1 << 20) }
		b.ReportMetric(mb(d.machine.KV().Bytes()), "kept-MB")
		b.ReportMetric(mb(st.DiskBytes), "disk-MB")
		b.ReportMetric(mb(st.LiveBytes), "tables-MB")
		b.ReportMetric(worst, "worst-disk/kept")
		// Everything is deleted: what does the engine keep, and for how long?
		d.group(&pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		d.compact()
		d.sweep(b.Context())
		if err := d.engine.Flush(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(mb(d.machine.KV().Bytes()), "emptied-kept-MB")
		b.ReportMetric(mb(d.engine.Stats().DiskBytes), "emptied-disk-MB")
		end := time.Now().Add(10 * time.Second)
		for time.Now().Before(end) && d.engine.Stats().DiskBytes > 32<<20 {
			<-time.After(50 * time.Millisecond)
		}
		b.ReportMetric(mb(d.engine.Stats().DiskBytes), "later-disk-MB")
	}
}
