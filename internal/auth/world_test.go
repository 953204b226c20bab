package auth

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/storage"
)

// world is a table on its engine, and the batch of the group that is being applied.
type world struct {
	t testing.TB
	e *storage.Engine
	b *storage.Batch
	*Table
}

func newWorld(t testing.TB) *world {
	e, err := storage.Open(storage.Options{FS: vfs.NewMem(), Dir: "state"})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, e: e, b: e.NewBatch()}
	t.Cleanup(func() {
		w.b.Close()
		_ = e.Close()
	})
	w.reopen()
	return w
}

func (w *world) publish() {
	w.t.Helper()
	if err := w.e.Commit(w.b); err != nil {
		w.t.Fatal(err)
	}
	w.b.Close()
	w.b = w.e.NewBatch()
	w.Publish()
}

// reopen reads the table from the rows; what was not published is lost.
func (w *world) reopen() {
	w.t.Helper()
	w.b.Close()
	w.b = w.e.NewBatch()
	table, err := Open(w.e)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Table = table
}

// must fails the test unless a change was accepted.
func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}
