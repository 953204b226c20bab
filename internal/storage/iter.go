package storage

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Iter walks the keys of a span in order, over the state at its creation. It
// belongs to one goroutine, pins memory and files, and must be closed.
type Iter struct{ it *pebble.Iterator }

// Iter returns an iterator over [lower, upper). The bounds must not be
// changed while it is open.
func (e *Engine) Iter(lower, upper []byte) (*Iter, error) {
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("open iterator: %w", err)
	}
	return &Iter{it}, nil
}

// First moves to the first key and reports whether there is one.
func (i *Iter) First() bool { return i.it.First() }

// SeekGE moves to the first key at or after key.
func (i *Iter) SeekGE(key []byte) bool { return i.it.SeekGE(key) }

// Next moves to the next key.
func (i *Iter) Next() bool { return i.it.Next() }

// Valid reports whether the iterator stands on a key. When it does not,
// Error tells whether the walk ended early.
func (i *Iter) Valid() bool { return i.it.Valid() }

// Key is the key under the iterator, valid until the next move.
func (i *Iter) Key() []byte { return i.it.Key() }

// Value is the value under the iterator, valid until the next move.
func (i *Iter) Value() []byte { return i.it.Value() }

// Error is the error that ended the walk, if any.
func (i *Iter) Error() error {
	if err := i.it.Error(); err != nil {
		return fmt.Errorf("walk keys: %w", err)
	}
	return nil
}

// Close releases the iterator and returns the error that ended the walk, if
// any.
func (i *Iter) Close() error {
	if err := i.it.Close(); err != nil {
		return fmt.Errorf("walk keys: %w", err)
	}
	return nil
}
