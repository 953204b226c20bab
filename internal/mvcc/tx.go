package mvcc

import (
	"context"

	"github.com/keelson-db/keelson/internal/invariant"
	"github.com/keelson-db/keelson/internal/storage"
)

// Tx is one command of a group. All its changes share the next revision.
type Tx struct {
	w    *Writer
	sub  int32 // changes so far
	open bool
}

// NewTx starts one command. The previous one must have ended.
func (w *Writer) NewTx() *Tx {
	invariant.Check(w.open && !w.sealed, "a command belongs to an open group")
	invariant.Check(!w.tx.open, "a command ends before the next one begins")
	w.tx = Tx{w: w, open: true}
	return &w.tx
}

// StartRev is the revision before the command.
func (t *Tx) StartRev() Rev { return t.w.rev }

// Changed reports whether the command wrote.
func (t *Tx) Changed() bool { return t.sub > 0 }

// End closes the command and returns the revision for its header: a new one
// if it wrote, else the one it found.
func (t *Tx) End() Rev {
	invariant.Check(t.open, "a command ends once")
	t.open = false
	if t.sub > 0 {
		t.w.rev++
	}
	return t.w.rev
}

// Abort closes a command that wrote nothing.
func (t *Tx) Abort() {
	invariant.Check(t.open && t.sub == 0, "only a command that wrote nothing can be aborted")
	t.open = false
}

// Get returns a key's metadata as the command sees it.
func (t *Tx) Get(key []byte) (*Item, bool) {
	it := t.w.tree.root.get(borrow(key))
	return it, it != nil
}

// Record returns the encoded KeyValue of an item. It must not be changed.
func (t *Tx) Record(it *Item) ([]byte, error) { return t.w.s.bytes(it) }

// Items yields the live keys of a range, given in wire form, in key order.
// The command must not write meanwhile.
func (t *Tx) Items(key, end []byte, yield func(*Item) bool) {
	eachItem(t.w.tree.root, spanOf(key, end), yield)
}

// next takes the position of the command's next change.
func (t *Tx) next() Pos {
	invariant.Check(t.open, "only an open command writes")
	invariant.Check(t.sub < 1<<31-1, "a command makes fewer than 2^31 changes")
	at := Pos{t.w.rev + 1, t.sub}
	t.sub++
	return at
}

// Put writes a key and returns the item that it replaced, or nil. It copies
// what it is given.
func (t *Tx) Put(key, value []byte, lease int64) (prev *Item, err error) {
	w, at := t.w, t.next()
	w.tree.put(borrow(key), func(old *Item) *Item {
		it := &Item{Create: at.Rev, Mod: at.Rev, Sub: at.Sub, Version: 1, Lease: lease}
		var was Pos
		if old != nil {
			it.Key, it.Create, it.Version = old.Key, old.Create, old.Version+1
			was = old.Pos()
		} else {
			it.Key = string(key)
		}
		e := newPut(it, value, was)
		e.item = it
		it.event.Store(e)
		w.record(e, old)
		prev = old
		return it
	})
	return prev, nil
}

// Delete removes the keys of a range, given in wire form, in key order, and
// returns their items.
func (t *Tx) Delete(key, end []byte) (deleted []*Item, err error) {
	t.Items(key, end, func(it *Item) bool {
		deleted = append(deleted, it)
		return true
	})
	for _, it := range deleted {
		at := t.next()
		t.w.tree.remove(it.Key)
		t.w.record(newDelete(it.Key, at, it.Pos()), it)
	}
	return deleted, nil
}

// record notes a change in the batch and among the group's events.
func (w *Writer) record(e *Event, old *Item) {
	e.ringed = true
	if old != nil {
		if was := old.event.Load(); was != nil {
			e.prevKV = was.KV
			if was.Pos.Rev == e.Pos.Rev {
				e.prevKV = was.prevKV // the record before this revision
			}
		}
	}
	var rec []byte
	if !e.Delete {
		rec = e.KV
	}
	w.b.SetRecord(e.Key, int64(e.Pos.Rev), e.Pos.Sub, rec)
	w.b.SetRevision(int64(e.Pos.Rev), e.Pos.Sub, storage.Revision{
		Delete: e.Delete, PrevRev: int64(e.Prev.Rev), PrevSub: e.Prev.Sub, Value: e.sum(), User: e.Key,
	})
	w.written += versionCost(e.Key, len(rec))
	w.pending = append(w.pending, e)
}

// Range answers a query as the command sees the store. Without a revision it
// sees the command's own changes; with one, the command's are above it.
func (t *Tx) Range(q RangeQuery) (*RangeResult, error) {
	w := t.w
	seen := w.rev
	if t.sub > 0 {
		seen++
	}
	r := reader{
		s: w.s, root: w.tree.root, hist: &w.base.hist, base: w.base.rev, pending: w.pending,
		start: w.rev, seen: seen, compact: w.compact,
	}
	return r.query(context.Background(), q)
}
