package mvcc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/keelson-db/keelson/internal/storage"
)

// sweeper is the state of physical compaction. All but the signal belongs to
// the one goroutine that sweeps.
type sweeper struct {
	active  bool
	target  Rev           // compact revision of this pass
	next    Pos           // first row not yet looked at
	waiting []*generation // older generations that may still have readers
	due     compaction    // the one that this pass carries out; zero if it is not known
	tail    *hasher       // of its part of history
	sizes   recordSizes   // of versions that this pass has met
	gone    []Pos         // removed by the present step; kept for its memory

	swept   atomic.Int64 // finished compact revision
	removed atomic.Int64 // bytes of all versions that were ever removed

	mu   sync.Mutex    // guards done
	done chan struct{} // closed and replaced when a pass has finished
}

func (w *sweeper) init(swept Rev, removed int64) {
	w.swept.Store(int64(swept))
	w.removed.Store(removed)
	w.done = make(chan struct{})
}

// SweepPending reports whether Sweep has work.
func (s *Store) SweepPending() bool {
	return s.pub.Load().compact > Rev(s.sweep.swept.Load())
}

// Sweep removes one bounded part, maxKeys changes of history, of what the
// newest compaction made unreachable. Removed tells how many versions went,
// done that nothing is left. It first waits until no view can see what goes;
// until then, and only then, ctx ends it early. One goroutine at a time calls
// it. An interrupted pass is taken up where it was, also by another process.
func (s *Store) Sweep(ctx context.Context, maxKeys int) (removed int, done bool, err error) {
	w := &s.sweep
	if !w.active {
		if !s.SweepPending() {
			return 0, true, nil
		}
		s.beginPass()
	}
	for ; len(w.waiting) > 0; w.waiting = w.waiting[1:] {
		if err := w.waiting[0].wait(ctx); err != nil {
			return 0, false, err
		}
	}
	s.gen.Load().older.Store(nil)
	b := s.engine.NewBatch()
	defer b.Close()
	removed, bytes, end, err := s.sweepRows(b, maxKeys)
	if err != nil {
		return 0, false, fmt.Errorf("sweep history: %w", err)
	}
	upTo := w.target
	if !end {
		upTo = max(w.next.Rev-1, Rev(w.swept.Load()))
	}
	b.SetMetaInt(storage.MetaCompacted, int64(upTo))
	b.SetMetaInt(storage.MetaRemoved, w.removed.Load()+bytes)
	if err := s.engine.Commit(b); err != nil {
		return 0, false, fmt.Errorf("sweep history: %w", err)
	}
	w.removed.Add(bytes)
	if end {
		if err := s.endPass(); err != nil {
			return 0, false, fmt.Errorf("hash what a compaction kept: %w", err)
		}
	}
	return removed, end && !s.SweepPending(), nil
}

// beginPass fixes the compaction to carry out. The new generation begins
// after that compaction was published, so who enters it sees nothing that
// this pass removes.
func (s *Store) beginPass() {
	w := &s.sweep
	w.active = true
	p := s.pub.Load()
	w.target, w.due, w.tail = p.compact, compaction{}, nil
	// Compactions that were asked for one after the other are carried out one
	// after the other, because each has a hash of its own.
	for _, c := range p.due {
		if c.rev > Rev(w.swept.Load()) {
			w.target, w.due, w.tail = c.rev, c, s.newHasher()
			break
		}
	}
	// The finished revision is looked at again: a tombstone right at it was
	// still readable then.
	w.next = Pos{Rev: max(Rev(w.swept.Load()), 0)}
	w.sizes = newRecordSizes(w.target - w.next.Rev)
	old := s.gen.Load()
	s.gen.Store(newGeneration(old)) // nobody else begins one
	old.leave()
	w.waiting = append(w.waiting, old)
}

func (s *Store) endPass() (err error) {
	w := &s.sweep
	if w.tail != nil {
		err = s.sweptHash(w.due, w.tail.sum)
	}
	w.active, w.sizes = false, nil
	w.swept.Store(int64(w.target))
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.done)
	w.done = make(chan struct{})
	return err
}

// stillDue returns the compactions that are not carried out, with another one
// behind them. Of very many the oldest are left out, which costs their hashes.
func (w *sweeper) stillDue(due []compaction, c compaction) []compaction {
	due = slices.DeleteFunc(slices.Clone(due), func(c compaction) bool { return c.rev <= Rev(w.swept.Load()) })
	return append(due[max(0, len(due)-keptHashes+1):], c)
}

// errStepFull ends a walk over more rows than one step looks at.
var errStepFull = errors.New("the step has looked at its share of rows")

// sweepRows collects the removals of the next rows. Each change up to the
// target removes the version that it replaced, and a tombstone below the
// target removes itself. Nothing at the target goes, so that history from
// there on is complete. Doing it twice does no harm: what is gone is not counted again.
func (s *Store) sweepRows(b *storage.Batch, maxKeys int) (removed int, bytes int64, end bool, err error) {
	w := &s.sweep
	w.gone = w.gone[:0]
	seen := 0
	err = eachRowFrom(s.engine, w.next, w.target, func(row Row) error {
		at, user := row.Pos, borrow(row.Key)
		if seen == maxKeys {
			w.next = at
			return errStepFull
		}
		seen++
		if w.tail != nil && at.Rev > w.due.prev {
			w.tail.add(row)
		}
		if !row.Delete {
			w.sizes.note(at, row.Value.Len)
		}
		if prev := row.Prev; prev.Rev > 0 && prev.Rev < w.target {
			cost, kept, err := s.weigh(user, prev)
			if err != nil {
				return err
			}
			if kept {
				b.DeleteRecord(user, int64(prev.Rev), prev.Sub)
				w.gone = append(w.gone, prev)
				bytes += cost
			}
		}
		if row.Delete && at.Rev < w.target {
			b.DeleteRecord(user, int64(at.Rev), at.Sub)
			w.gone = append(w.gone, at)
			bytes += versionCost(user, 0)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStepFull) {
		return 0, 0, false, err
	}
	// The rows of the index go one after the other, in order, because the
	// engine finds the place of a key fast that lies beside the one before it.
	slices.SortFunc(w.gone, Pos.compare)
	for _, at := range w.gone {
		b.DeleteRevision(int64(at.Rev), at.Sub)
	}
	return len(w.gone), bytes, err == nil, nil
}

// Swept waits until physical compaction has reached rev.
func (s *Store) Swept(ctx context.Context, rev Rev) error {
	w := &s.sweep
	for {
		w.mu.Lock()
		done := w.done
		w.mu.Unlock()
		if Rev(w.swept.Load()) >= rev {
			return nil
		}
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
