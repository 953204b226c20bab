package snapshot

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// house is a state that is told what to do.
type house struct {
	t       testing.TB
	engine  *storage.Engine
	machine *state.Machine
	index   uint64
}

func newHouse(t testing.TB, fs vfs.FS, dir string) *house {
	t.Helper()
	h := &house{t: t, index: 1}
	h.open(fs, dir)
	return h
}

func (h *house) open(fs vfs.FS, dir string) {
	h.t.Helper()
	var err error
	if h.engine, err = storage.Open(storage.Options{FS: fs, Dir: dir}); err != nil {
		h.t.Fatal(err)
	}
	founded, err := state.Founded(h.engine)
	if err == nil && !founded {
		err = state.Found(h.engine, state.Founding{
			Origin: state.Position{Index: 1, Term: 1}, Cluster: 0xc1, Local: 0xa1,
			Members: []member.Member{{ID: 0xa1, PeerURLs: []string{"http://p"}}},
		})
	}
	if err != nil {
		h.t.Fatal(err)
	}
	if h.machine, err = state.Open(h.engine, mvcc.Options{}); err != nil {
		h.t.Fatal(err)
	}
	h.index = h.machine.Applied().Index
}

func (h *house) close() {
	h.t.Helper()
	if err := h.engine.Close(); err != nil {
		h.t.Fatal(err)
	}
}

// do carries out commands as one group.
func (h *house) do(ops ...any) {
	h.t.Helper()
	h.machine.Begin()
	for _, op := range ops {
		if r, err := h.machine.Apply(op); err != nil || r.Err != nil {
			h.t.Fatalf("%v: %v %v", op, err, r.Err)
		}
	}
	h.index++
	if err := h.machine.Commit(state.Position{Index: h.index, Term: 2}); err != nil {
		h.t.Fatal(err)
	}
}

// BenchmarkWrite writes the file of a store whose records lie on disk in another order than that of history.
func BenchmarkWrite(b *testing.B) {
	for _, c := range []struct{ keys, value int }{{300_000, 1024}, {1_500_000, 150}} {
		b.Run(fmt.Sprintf("value=%d", c.value), func(b *testing.B) { benchmarkWrite(b, c.keys, c.value) })
	}
}

func benchmarkWrite(b *testing.B, keys, size int) {
	dir := b.TempDir()
	h := newHouse(b, vfs.Default, dir)
	src := rand.NewChaCha8([32]byte{1})
	var ops []any
	for i := range keys {
		value := make([]byte, size)
		_, _ = src.Read(value)
		scattered := uint64(i+1) * 0x9e3779b97f4a7c15
		ops = append(ops, &pb.PutRequest{Key: fmt.Appendf(nil, "/registry/things/%015x", scattered>>4), Value: value})
		if len(ops) == 100 {
			h.do(ops...)
			ops = ops[:0]
		}
	}
	h.close()
	h.open(vfs.Default, dir)
	defer h.close()
	b.ReportAllocs()
	for b.Loop() {
		f, err := Open(h.machine, versions())
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(f.Size())
		if err := f.Write(b.Context(), io.Discard); err != nil {
			b.Fatal(err)
		}
		if f.Slow() != nil {
			b.Error(f.Slow())
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
