package mvcc

import (
	"github.com/keelson-db/keelson/internal/invariant"
	"github.com/keelson-db/keelson/internal/storage"
)

// Writer is one apply group: commands whose changes go into one batch and
// become visible together. One goroutine uses it, one group at a time.
type Writer struct {
	s       *Store
	b       *storage.Batch
	base    *published // what readers see meanwhile
	tree    tree
	rev     Rev
	compact Rev
	written int64        // bytes of all versions ever written
	due     []compaction // as in published
	pending []*Event     // changes of this group, in order
	tx      Tx
	open    bool
	sealed  bool // Finish was called
}

// Begin starts a group whose changes go into b. Nothing is visible before
// Publish. The previous group must have been published.
func (s *Store) Begin(b *storage.Batch) *Writer {
	w := &s.writer
	invariant.Check(!w.open, "a group is published before the next one begins")
	w.s, w.b, w.base = s, b, s.pub.Load()
	w.rev, w.compact, w.written, w.due = w.base.rev, w.base.compact, w.base.written, w.base.due
	w.tree.root, w.tree.keyBytes = w.base.root, w.base.keyBytes
	w.tree.warm = &s.warm
	w.tree.group++
	clear(w.pending)
	w.pending = w.pending[:0]
	w.open, w.sealed = true, false
	return w
}

// Rev is the revision with the changes of this group.
func (w *Writer) Rev() Rev { return w.rev }

// CompactRev is the compact revision with the changes of this group.
func (w *Writer) CompactRev() Rev { return w.compact }

// Compact makes revisions below rev unreadable. Their removal is Sweep's.
func (w *Writer) Compact(rev Rev) error {
	invariant.Check(w.open && !w.sealed && !w.tx.open, "a compaction is a command of an open group")
	if rev <= w.compact {
		return ErrCompacted
	}
	if rev > w.rev {
		return ErrFutureRev
	}
	w.due = w.s.sweep.stillDue(w.due, compaction{prev: w.compact, rev: rev})
	w.compact = rev
	return nil
}

// Finish puts the group's metadata into the batch. It is called once, before
// the batch is committed.
func (w *Writer) Finish() error {
	invariant.Check(w.open && !w.sealed && !w.tx.open, "a group is finished once, when its commands have ended")
	w.sealed = true
	if w.rev != w.base.rev {
		w.b.SetMetaInt(storage.MetaRevision, int64(w.rev))
		w.b.SetMetaInt(storage.MetaWritten, w.written)
	}
	if w.compact != w.base.compact {
		w.b.SetMetaInt(storage.MetaCompact, int64(w.compact))
	}
	return nil
}

// Publish makes the group visible to readers, all at once. It is called after
// the batch was committed, because from here on the ring may drop what only
// it held.
func (w *Writer) Publish() {
	invariant.Check(w.open && w.sealed, "a group is published after it was finished")
	w.open = false
	if w.rev == w.base.rev && w.compact == w.base.compact {
		return
	}
	s := w.s
	next := &published{
		root: w.tree.root, keyBytes: w.tree.keyBytes, rev: w.rev, compact: w.compact, written: w.written,
		hist: w.base.hist, changes: w.base.changes + int64(len(w.pending)), changed: make(chan struct{}),
		due: w.due,
	}
	for _, e := range w.pending {
		next.hist.add(e, s.opts.HistoryBytes)
	}
	freed := next.hist.trim(s.opts, s.prevBytes.Load(), s.evict)
	s.prevBytes.Add(-freed)
	s.pub.Store(next)
	s.pasts.trim(next)
	close(w.base.changed)
	w.base, w.b = nil, nil
	clear(w.pending)
	w.pending = w.pending[:0]
}

// evict cuts an event off the index and returns what it held beyond its size.
func (s *Store) evict(e *Event) (held int64) {
	if e.item != nil {
		e.item.event.CompareAndSwap(e, nil)
		e.item = nil
	}
	if f := e.withPrev.Swap(s.gone); f != nil {
		held = int64(len(*f))
	}
	return held
}
