package mvcc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/storage"
)

// desk is a store for tests that write single commands.
type desk struct {
	t      testing.TB
	engine *storage.Engine
	store  *Store
}

func newDesk(t testing.TB, o Options) *desk {
	t.Helper()
	e, err := storage.Open(storage.Options{FS: vfs.NewMem(), Dir: "data"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(e, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return &desk{t, e, s}
}

func (d *desk) group(f func(*Writer)) {
	d.t.Helper()
	b := d.engine.NewBatch()
	defer b.Close()
	w := d.store.Begin(b)
	f(w)
	if err := errors.Join(w.Finish(), d.engine.Commit(b)); err != nil {
		d.t.Fatal(err)
	}
	w.Publish()
}

func (d *desk) put(key, value string) {
	d.group(func(w *Writer) {
		tx := w.NewTx()
		_, _ = tx.Put([]byte(key), []byte(value), 0)
		tx.End()
	})
}

func (d *desk) compact(rev Rev) {
	d.group(func(w *Writer) {
		if err := w.Compact(rev); err != nil {
			d.t.Fatal(err)
		}
	})
}

// rows is the number of rows in the engine's tables of records and revisions.
func (d *desk) rows() (n int) {
	it, err := d.engine.Iter([]byte{'k'}, []byte{'s'})
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = it.Close() }()
	for ok := it.First(); ok; ok = it.Next() {
		if k := it.Key()[0]; k == 'k' || k == 'r' {
			n++
		}
	}
	return n
}

func TestSweepWaitsForViewsThatWereThereBefore(t *testing.T) {
	d := newDesk(t, Options{HistoryBytes: 1, HistoryEvents: 1})
	for i := range 500 {
		d.put(fmt.Sprintf("key-%03d", i%100), fmt.Sprint(i))
	}
	v := d.store.View()
	d.put("key-000", "new")
	d.compact(502)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if n, done, err := d.store.Sweep(ctx, 10); n != 0 || done || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("sweep below an open view: %d %v %v", n, done, err)
	}
	later := d.store.View() // sees the compaction, so it holds nothing back
	defer later.Close()
	for _, rev := range []Rev{0, 400} {
		res, err := v.Range(t.Context(), RangeQuery{Key: []byte("key-"), End: []byte("key."), Rev: rev})
		if err != nil || res.N != 100 {
			t.Fatalf("open view at %d: %v %v", rev, res, err)
		}
	}
	if n := d.store.OpenReads(); n != 2 {
		t.Errorf("%d views are open", n)
	}
	v.Close()
	v.Close() // a second time does nothing
	if n := d.store.OpenReads(); n != 1 {
		t.Errorf("%d views are open", n)
	}
	for {
		_, done, err := d.store.Sweep(t.Context(), 7)
		if err != nil {
			t.Fatal(err)
		}
		if done {
			break
		}
	}
	if rows := d.rows(); rows != 200 {
		t.Fatalf("%d rows are left of 100 live keys", rows)
	}
	if err := d.store.Swept(t.Context(), 502); err != nil {
		t.Fatal(err)
	}
}

func TestSweptWaitsForTheEndOfThePass(t *testing.T) {
	d := newDesk(t, Options{})
	for i := range 10 {
		d.put("key", fmt.Sprint(i))
	}
	d.compact(8)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.store.Swept(ctx, 8); !errors.Is(err, context.Canceled) {
		t.Fatalf("waiting with a cancelled context: %v", err)
	}
	done := make(chan error)
	go func() { done <- d.store.Swept(t.Context(), 8) }()
	for {
		if _, end, err := d.store.Sweep(t.Context(), 2); err != nil || end {
			break
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestReadersSeeWholeStatesWhileEverythingMoves is for the race detector: a
// writer that changes all keys in each command, compactions, sweeps, and
// readers that must never see two commands mixed.
func TestReadersSeeWholeStatesWhileEverythingMoves(t *testing.T) {
	d := newDesk(t, Options{HistoryBytes: 20 << 10})
	const keys = 50
	write := func(i int) {
		d.group(func(w *Writer) {
			tx := w.NewTx()
			if i%10 == 9 {
				_, _ = tx.Delete([]byte{0}, []byte{0})
			}
			for k := range keys {
				_, _ = tx.Put(fmt.Appendf(nil, "key-%02d", k), fmt.Append(nil, i), 0)
			}
			tx.End()
			if i%20 == 19 {
				_ = w.Compact(tx.StartRev() - 5)
			}
		})
	}
	write(0)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				readWhole(t, d.store, keys)
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, _, err := d.store.Sweep(ctx, 100); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() { follow(ctx, t, d.store) })
	for i := range 300 {
		write(i + 1)
	}
	cancel()
	wg.Wait()
}

func readWhole(t *testing.T, s *Store, keys int) {
	v := s.View()
	defer v.Close()
	for _, back := range []Rev{0, 2} {
		q := RangeQuery{Key: []byte{0}, End: []byte{0}}
		if back > 0 {
			q.Rev = v.Rev() - back
		}
		if q.Rev < max(v.CompactRev(), 2) && q.Rev != 0 {
			continue
		}
		res, err := v.Range(context.Background(), q)
		if err != nil || res.N != keys || res.Count != int64(keys) {
			t.Errorf("view of %d at %d: %+v %v", v.Rev(), q.Rev, res, err)
			return
		}
		kvs := decode(t, res).Kvs
		for _, kv := range kvs {
			if string(kv.Value) != string(kvs[0].Value) || kv.ModRevision != kvs[0].ModRevision {
				t.Errorf("view of %d at %d mixes %v and %v", v.Rev(), q.Rev, kvs[0], kv)
				return
			}
		}
		res.Release()
	}
}

// follow reads history without a gap until the context ends.
func follow(ctx context.Context, t *testing.T, s *Store) {
	at := FirstRev
	for {
		changed := s.Changed()
		events, upTo, err := s.Since(at, 10, nil)
		if errors.Is(err, ErrCompacted) {
			at = s.Stats().CompactRev
			continue
		}
		if err != nil {
			t.Error(err)
			return
		}
		for _, e := range events {
			if e.Pos.Rev != at && e.Pos.Rev != at+1 {
				t.Errorf("after %d comes %d", at, e.Pos.Rev)
			}
			at = e.Pos.Rev
			if _, err := s.Frame(e, true); err != nil {
				t.Error(err)
			}
		}
		if at = upTo; at < s.Stats().Rev {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
