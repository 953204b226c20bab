package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/storage"
)

// world is a store in memory that tests write to directly.
type world struct {
	engine *storage.Engine
	store  *mvcc.Store
}

// newWorld opens an empty store. It does not tie its end to the test, because a bubble of faked time has to
// close it before it ends.
func newWorld(t testing.TB, o mvcc.Options) *world {
	t.Helper()
	e, err := storage.Open(storage.Options{FS: vfs.NewMem(), Dir: "data", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := mvcc.Open(e, o)
	if err != nil {
		t.Fatal(err)
	}
	return &world{engine: e, store: s}
}

func (w *world) close(t testing.TB) {
	if err := w.engine.Close(); err != nil {
		t.Error(err)
	}
}

// write runs commands as one published group.
func (w *world) write(t testing.TB, group func(*mvcc.Writer)) {
	t.Helper()
	b := w.engine.NewBatch()
	defer b.Close()
	wr := w.store.Begin(b)
	group(wr)
	if err := wr.Finish(); err != nil {
		t.Fatal(err)
	}
	if err := w.engine.Commit(b); err != nil {
		t.Fatal(err)
	}
	wr.Publish()
}

// put writes every key in a revision of its own; a leading "-" deletes.
func (w *world) put(t testing.TB, keys ...string) {
	t.Helper()
	w.write(t, func(wr *mvcc.Writer) {
		for _, k := range keys {
			tx := wr.NewTx()
			change(t, tx, k)
			tx.End()
		}
	})
}

// txn writes all keys in one revision.
func (w *world) txn(t testing.TB, keys ...string) {
	t.Helper()
	w.write(t, func(wr *mvcc.Writer) {
		tx := wr.NewTx()
		for _, k := range keys {
			change(t, tx, k)
		}
		tx.End()
	})
}

func change(t testing.TB, tx *mvcc.Tx, k string) {
	t.Helper()
	var err error
	if key, ok := strings.CutPrefix(k, "-"); ok {
		_, err = tx.Delete([]byte(key), nil)
	} else {
		key, value, _ := strings.Cut(k, "=")
		_, err = tx.Put([]byte(key), []byte(value), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) compact(t testing.TB, rev mvcc.Rev) {
	t.Helper()
	w.write(t, func(wr *mvcc.Writer) {
		if err := wr.Compact(rev); err != nil {
			t.Fatal(err)
		}
	})
}

// pumpAll lets the hub distribute everything there is, without its goroutine.
func pumpAll(t testing.TB, h *Hub) {
	t.Helper()
	for more := true; more; {
		var err error
		if _, more, err = h.pump(nil); err != nil {
			t.Fatal(err)
		}
	}
}

// canceled is a context in which Next takes what there is and does not wait.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// drain takes up to limit responses that can be had without waiting.
func drain(t testing.TB, s *Stream, limit int, each func(*Response)) {
	t.Helper()
	for range limit {
		turn, err := s.next(canceled(), 1)
		if errors.Is(err, context.Canceled) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		each(turn[0])
	}
}

// show is a response in one line.
func show(r *Response) string {
	var b strings.Builder
	fmt.Fprintf(&b, "id=%d rev=%d", r.ID, r.Rev)
	if r.Created {
		b.WriteString(" created")
	}
	if r.Canceled {
		b.WriteString(" canceled")
	}
	if r.CompactRev != 0 {
		fmt.Fprintf(&b, " compacted=%d", r.CompactRev)
	}
	if r.Reason != "" {
		fmt.Fprintf(&b, " reason=%q", r.Reason)
	}
	for _, e := range r.Events {
		verb := "put"
		if e.Delete {
			verb = "delete"
		}
		fmt.Fprintf(&b, " %s(%s)@%d.%d", verb, e.Key, e.Pos.Rev, e.Pos.Sub)
	}
	return b.String()
}
