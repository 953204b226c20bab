package mvcc

import (
	"context"
	"sync"
	"sync/atomic"
)

// generation counts the readers that may look at what the next sweep would
// remove. The count starts at one, which belongs to being the current
// generation, so it cannot reach zero before a newer one took over.
type generation struct {
	readers atomic.Int64
	once    sync.Once
	drained chan struct{}              // closed when the count reached zero
	older   atomic.Pointer[generation] // nil once those have no readers
}

func newGeneration(older *generation) *generation {
	g := &generation{drained: make(chan struct{})}
	g.older.Store(older)
	g.readers.Store(1)
	return g
}

// leave takes one from the count. A reader that came too late, saw that the
// generation was no longer current and left may bring the count to zero a
// second time.
func (g *generation) leave() {
	if g.readers.Add(-1) == 0 {
		g.once.Do(func() { close(g.drained) })
	}
}

// wait waits until the generation has no readers. Who finds none is not held
// up by a context that has ended.
func (g *generation) wait(ctx context.Context) error {
	select {
	case <-g.drained:
		return nil
	default:
	}
	select {
	case <-g.drained:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// enter registers a reader in the current generation.
func (s *Store) enter() *generation {
	for {
		g := s.gen.Load()
		g.readers.Add(1)
		if s.gen.Load() == g {
			return g
		}
		g.leave()
	}
}

// OpenReads is the number of views that are open now and of walks through history under way.
func (s *Store) OpenReads() (n int64) {
	g := s.gen.Load()
	n = g.readers.Load() - 1
	for g = g.older.Load(); g != nil; g = g.older.Load() {
		n += g.readers.Load()
	}
	return max(n, 0)
}

// View is one published state, pinned until Close: nothing that it can read
// is removed meanwhile. It may be used from several goroutines.
type View struct {
	s      *Store
	p      *published
	gen    *generation
	closed atomic.Bool
}

// View pins the newest published state. It must be closed: an open view holds
// back physical compaction.
func (s *Store) View() *View {
	g := s.enter()
	return &View{s: s, p: s.pub.Load(), gen: g}
}

// Close ends the view. A second call does nothing.
func (v *View) Close() {
	if !v.closed.Swap(true) {
		v.gen.leave()
	}
}

// Rev is the view's revision.
func (v *View) Rev() Rev { return v.p.rev }

// CompactRev is the oldest readable revision, or NeverCompacted.
func (v *View) CompactRev() Rev { return v.p.compact }

// Keys is the number of live keys.
func (v *View) Keys() int64 { return int64(v.p.root.size()) }

// Get returns a live key's metadata.
func (v *View) Get(key []byte) (*Item, bool) {
	it := v.p.root.get(borrow(key))
	return it, it != nil
}

// Record returns the encoded KeyValue of an item of this view. It must not be
// changed.
func (v *View) Record(it *Item) ([]byte, error) { return v.s.bytes(it) }

// Items yields the live keys of a range, given in wire form, in key order.
func (v *View) Items(key, end []byte, yield func(*Item) bool) {
	eachItem(v.p.root, spanOf(key, end), yield)
}

// Range answers a query over the view.
func (v *View) Range(ctx context.Context, q RangeQuery) (*RangeResult, error) {
	r := reader{s: v.s, root: v.p.root, hist: &v.p.hist, base: v.p.rev, start: v.p.rev, seen: v.p.rev, compact: v.p.compact,
		changes: v.p.changes, frozen: true}
	return r.query(ctx, q)
}

// eachItem yields the items of a span in key order.
func eachItem(root *node, sp span, yield func(*Item) bool) {
	if sp.kind == spanOne {
		if it := root.get(sp.lo); it != nil {
			yield(it)
		}
		return
	}
	if sp.kind == spanEmpty {
		return
	}
	var c cursor
	for c.seek(root, sp.lo); ; c.next() {
		it := c.item()
		if it == nil || sp.past(it.Key) || !yield(it) {
			return
		}
	}
}
