package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/mvcc"
)

func TestWhatWasAcknowledgedIsThereAfterAStopWithoutWritingOut(t *testing.T) {
	fs, ctx := vfs.NewMem(), t.Context()
	for round := range 4 {
		w := mustStart(t, fs, "d")
		if err := w.Barrier(ctx); err != nil {
			t.Fatal(err)
		}
		view := w.Machine().KV().View()
		if got := view.Keys(); got != int64(10*round) {
			t.Fatalf("round %d found %d keys, want %d", round, got, 10*round)
		}
		view.Close()
		for i := range 10 {
			rev, err := w.put(ctx, fmt.Sprintf("%d/%d", round, i), "v")
			if err != nil {
				t.Fatal(err)
			}
			if want := 2 + 10*round + i; int(rev) != want {
				t.Fatalf("revision %d, want %d", rev, want)
			}
		}
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// The commit index is not written by itself, so after a restart raft knows an older one than was acknowledged:
// a barrier must not believe it.
func TestABarrierAfterARestartWaitsForWhatWasAcknowledged(t *testing.T) {
	fs, ctx := vfs.NewMem(), t.Context()
	var last mvcc.Rev
	for range 50 {
		w := mustStart(t, fs, "d")
		if err := w.Barrier(ctx); err != nil {
			t.Fatal(err)
		}
		view := w.Machine().KV().View()
		if view.Rev() < last {
			t.Fatalf("the barrier showed revision %d, and %d was acknowledged", view.Rev(), last)
		}
		view.Close()
		for range 3 {
			var err error
			if last, err = w.put(ctx, "k", "v"); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestManyClientsShareEntries(t *testing.T) {
	w := mustStart(t, vfs.NewMem(), "d")
	ctx := t.Context()
	if err := w.Barrier(ctx); err != nil {
		t.Fatal(err)
	}
	before := w.Machine().Applied().Index
	const clients, each = 64, 50
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				if _, err := w.put(ctx, fmt.Sprintf("%d/%d", c, i), "v"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := w.Machine().Applied().Index - before; n >= clients*each {
		t.Errorf("%d puts took %d entries: nothing was batched", clients*each, n)
	}
	if st := w.Status(); st.Pending != 0 || st.Leader != 3 || st.Role != "StateLeader" {
		t.Errorf("status %+v", st)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
}

func TestACommandsOwnErrorIsItsResult(t *testing.T) {
	w := mustStart(t, vfs.NewMem(), "d")
	result, err := w.Propose(t.Context(), &pb.PutRequest{Key: []byte("k"), Lease: 9})
	if err != nil || !errors.Is(result.Err, lease.ErrNotFound) {
		t.Errorf("result %+v, err %v", result, err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
}

func TestRequestsThatCannotBeTakenSayWhy(t *testing.T) {
	w := mustStart(t, vfs.NewMem(), "d")
	ctx := t.Context()
	if _, err := w.put(ctx, "k", string(make([]byte, 1<<20))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a put over the limit: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := w.put(gone, "k", "v"); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("a put of a client that has gone: %v", err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.put(ctx, "k", "v"); !errors.Is(err, ErrStopped) {
		t.Errorf("a put after the stop: %v", err)
	}
	if err := w.Barrier(ctx); err != nil && !errors.Is(err, ErrStopped) {
		t.Errorf("a barrier after the stop: %v", err)
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	p := newProposals(1)
	add := func(size int) error {
		return p.add(&proposal{id: p.newID(), encoded: make([]byte, size), done: make(chan outcome, 1)})
	}
	var err error
	for n := 0; err == nil; n++ {
		if n > MaxPendingProposals {
			t.Fatalf("%d proposals wait", n)
		}
		err = add(1)
	}
	if !errors.Is(err, ErrTooManyRequests) {
		t.Fatal(err)
	}
	p = newProposals(1)
	for err = nil; err == nil; err = add(1 << 20) {
		if p.bytes > MaxPendingBytes {
			t.Fatalf("%d bytes wait", p.bytes)
		}
	}
	// What was given up makes room and never reaches an entry.
	for id := range p.waiting {
		p.forget(id)
	}
	if err := add(5); err != nil {
		t.Fatal(err)
	}
	for {
		b := p.next(1, true)
		if b.entry == nil {
			t.Fatal("the new proposal is lost")
		}
		if len(b.own) > 0 {
			if len(b.own) != 1 || len(b.entry) != 6 {
				t.Fatalf("%d proposals in %d bytes", len(b.own), len(b.entry))
			}
			break
		}
	}
}

func BenchmarkPropose(b *testing.B) {
	for _, clients := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			w := mustStart(b, vfs.Default, b.TempDir())
			ctx := b.Context()
			if err := w.Barrier(ctx); err != nil {
				b.Fatal(err)
			}
			value := make([]byte, 256)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for c := range clients {
				wg.Go(func() {
					for i := c; i < b.N; i += clients {
						op := &pb.PutRequest{Key: fmt.Appendf(nil, "%032d", i), Value: value}
						if r, err := w.Propose(ctx, op); err != nil || r.Err != nil {
							b.Error(err, r.Err)
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			if err := w.stop(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
