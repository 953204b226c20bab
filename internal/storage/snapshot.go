package storage

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Reader is what tables are read from: the engine itself, or one moment of it.
type Reader interface {
	// Get appends the value of key to dst; ok is false if there is none.
	Get(key, dst []byte) (val []byte, ok bool, err error)
	// Iter returns an iterator over [lower, upper).
	Iter(lower, upper []byte) (*Iter, error)
	// ScanTables yields what happens to lie in the tables; see Engine.ScanTables.
	ScanTables(lower, upper []byte, yield func(key, value []byte) error) error
}

// Snapshot is the engine at one moment, which lies between two batches. It
// may be used from any goroutine and must be closed: until then the bytes of
// what was deleted or replaced since stay on disk.
type Snapshot struct {
	e *Engine
	s *pebble.Snapshot
}

// Snapshot pins the present moment. It costs next to nothing.
func (e *Engine) Snapshot() (*Snapshot, error) {
	if err := e.Err(); err != nil {
		return nil, fmt.Errorf("take a snapshot of the storage: %w", err)
	}
	return &Snapshot{e, e.db.NewSnapshot()}, nil
}

// Get appends the value of key to dst; ok is false if there was none.
func (s *Snapshot) Get(key, dst []byte) (val []byte, ok bool, err error) {
	v, closer, err := s.s.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return dst, false, nil
	}
	if err != nil {
		return dst, false, fmt.Errorf("read key: %w", err)
	}
	dst = append(dst, v...)
	if err := closer.Close(); err != nil {
		return dst, false, fmt.Errorf("read key: %w", err)
	}
	return dst, true, nil
}

// Iter returns an iterator over [lower, upper). The bounds must not be
// changed while it is open.
func (s *Snapshot) Iter(lower, upper []byte) (*Iter, error) {
	it, err := s.s.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("open iterator: %w", err)
	}
	return &Iter{it}, nil
}

// Close lets go of the moment.
func (s *Snapshot) Close() error {
	if err := s.s.Close(); err != nil {
		return fmt.Errorf("close snapshot: %w", err)
	}
	return nil
}

// MetaInt reads a number of the meta table from r; ok is false if there is
// none.
func MetaInt(r Reader, name string) (v int64, ok bool, err error) {
	val, ok, err := r.Get(MetaKey(nil, name), nil)
	if err != nil || !ok {
		return 0, false, err
	}
	if len(val) != 8 {
		return 0, false, &DamagedError{Table: "meta", Key: []byte(name), Why: "a number is eight bytes long"}
	}
	return int64(binary.BigEndian.Uint64(val)), true, nil
}
