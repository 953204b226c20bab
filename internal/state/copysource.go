package state

import (
	"errors"
	"fmt"

	"github.com/keelson-db/keelson/internal/storage"
)

// Original is the state at one moment, to make copies of. Nobody has to stop for it, and while it is open it costs the
// disk space of what was removed or replaced since. It may be used from any goroutine and must be closed.
type Original struct {
	engine *storage.Snapshot

	Applied   Position
	Level     uint32 // feature level of the cluster
	Bytes     int64  // about what its rows take; never much less
	DiskBytes int64  // about what a copy takes on the disk; rather more than less
}

// Original takes the state at this moment. A group of commands is one batch of the engine, and so is a step of a
// sweep, so the moment lies between two of them: a copy goes on with a sweep that is half done, as a restart does.
func (m *Machine) Original() (*Original, error) {
	bytes, sizes := m.kv.Bytes(), m.engine.Stats()
	e, err := m.engine.Snapshot()
	if err != nil {
		return nil, err
	}
	o := &Original{engine: e, Bytes: bytes, DiskBytes: min(bytes, sizes.LiveBytes+sizes.MemTableBytes)}
	var ok bool
	if o.Applied, ok, err = readApplied(e.Get); err == nil && !ok {
		err = errors.New("there must be an applied position")
	}
	if err == nil {
		o.Level, err = readLevel(e)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take an original of the state: %w", err), e.Close())
	}
	return o, nil
}

// Close lets go of the moment. No Rows of it may be in use any more.
func (o *Original) Close() error { return o.engine.Close() }

// Rows walks the rows of an original in the order of their keys. It belongs to one goroutine, holds memory and files, and
// must be closed.
type Rows struct {
	it      *storage.Iter
	after   []byte
	started bool
}

// Rows returns the rows with keys above after, all of them if that is empty, but for those that belong to one
// member alone.
func (o *Original) Rows(after []byte) (*Rows, error) {
	it, err := o.engine.Iter(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("read rows of the state: %w", err)
	}
	return &Rows{it: it, after: append(append([]byte(nil), after...), 0)}, nil
}

// Next moves to the next row and reports whether there is one. If there is none, Close tells whether the walk has ended
// early.
func (r *Rows) Next() bool {
	ok := false
	switch {
	case r.started:
		ok = r.it.Next()
	case len(r.after) == 1:
		ok = r.it.First()
	default:
		// The smallest key above a key is that key and a zero.
		ok = r.it.SeekGE(r.after)
	}
	r.started = true
	for ok && own(r.it.Key()) {
		ok = r.it.Next()
	}
	return ok
}

// Key is the key of the row, valid until the next move.
func (r *Rows) Key() []byte { return r.it.Key() }

// Value is the value of the row, valid until the next move.
func (r *Rows) Value() []byte { return r.it.Value() }

// Close ends the walk, and returns the error that has ended it before, if any.
func (r *Rows) Close() error {
	if err := r.it.Close(); err != nil {
		return fmt.Errorf("read rows of the state: %w", err)
	}
	return nil
}
