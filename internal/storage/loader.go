package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/invariant"
)

const (
	// loaderTableBytes is the size at which a loader begins the next table, in bytes: what the engine itself makes
	// of its lowest level, some files for a gigabyte and not thousands.
	loaderTableBytes = 64 << 20
	// loaderSync is how much of a table is written before the disk is asked to take it, in bytes, for the reason of
	// scratchSync.
	loaderSync = 1 << 20
)

// ErrNotAscending is returned (wrapped) for a key that does not follow the one before it.
var ErrNotAscending = errors.New("keys must ascend")

// Loader fills an engine that is empty with rows in the order of their keys. It writes finished tables past the
// memtables and hands them to the engine all at once, so that a crash leaves an empty engine or a full one, and
// nothing is written twice. It belongs to one goroutine and must be ended with Finish or Abort; an error is final.
type Loader struct {
	engine     *Engine
	tableBytes uint64
	table      *sstable.Writer // nil between two tables
	paths      []string
	last       []byte
	rows       uint64
	bytes      uint64
}

// NewLoader returns a loader of an engine that holds nothing.
func (e *Engine) NewLoader() (*Loader, error) {
	if err := e.Err(); err != nil {
		return nil, fmt.Errorf("load storage: %w", err)
	}
	it, err := e.Iter(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("load storage: %w", err)
	}
	used := it.First()
	if err := it.Close(); err != nil {
		return nil, fmt.Errorf("load storage: %w", err)
	}
	invariant.Check(!used, "only an engine that is empty is loaded")
	return &Loader{engine: e, tableBytes: loaderTableBytes}, nil
}

// Add puts the next row. The error wraps ErrNotAscending if that cannot follow the one before; keys and values are
// not kept.
func (l *Loader) Add(key, value []byte) error {
	if len(key) == 0 || l.rows > 0 && bytes.Compare(key, l.last) <= 0 {
		return fmt.Errorf("load storage: key %x behind %x: %w", key, l.last, ErrNotAscending)
	}
	if l.table != nil && l.table.Raw().EstimatedSize() >= l.tableBytes {
		if err := l.endTable(); err != nil {
			return err
		}
	}
	if l.table == nil {
		if err := l.beginTable(); err != nil {
			return err
		}
	}
	if err := l.table.Set(key, value); err != nil {
		return fmt.Errorf("load storage: write table: %w", err)
	}
	l.last = append(l.last[:0], key...)
	l.rows++
	l.bytes += uint64(len(key) + len(value))
	return nil
}

// Rows is the number of rows that were added.
func (l *Loader) Rows() uint64 { return l.rows }

// Bytes is the size of their keys and values.
func (l *Loader) Bytes() uint64 { return l.bytes }

func (l *Loader) beginTable() error {
	e := l.engine
	// The next start removes what a crash leaves of these.
	path := e.fs.PathJoin(e.dir, fmt.Sprintf("%stable-%d", scratchPrefix, e.scratches.Add(1)))
	f, err := e.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("load storage: create table: %w", err)
	}
	l.paths = append(l.paths, path)
	f = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: loaderSync})
	l.table = sstable.NewWriter(objstorageprovider.NewFileWritable(f), e.writers)
	return nil
}

// endTable makes the present table durable.
func (l *Loader) endTable() error {
	w := l.table
	l.table = nil
	if err := w.Close(); err != nil {
		return fmt.Errorf("load storage: finish table: %w", err)
	}
	return nil
}

// Finish hands the rows to the engine, where they are durable and visible when it returns.
func (l *Loader) Finish() error {
	if l.table != nil {
		if err := l.endTable(); err != nil {
			return err
		}
	}
	if len(l.paths) == 0 {
		return nil
	}
	e := l.engine
	err := e.unlessFailed(func() error { return e.db.Ingest(context.Background(), l.paths) })
	if err != nil {
		return fmt.Errorf("load storage: take in %d tables: %w", len(l.paths), err)
	}
	l.paths = nil
	e.stale.Store(true)
	return nil
}

// Abort removes what was written. Behind Finish it does nothing.
func (l *Loader) Abort() error {
	var err error
	if l.table != nil {
		err = l.endTable()
	}
	for _, path := range l.paths {
		err = errors.Join(err, l.engine.fs.Remove(path))
	}
	l.paths = nil
	if err != nil {
		return fmt.Errorf("give up loading storage: %w", err)
	}
	return nil
}

// loaderOptions are those of the lowest level, where all of an empty engine's tables go.
func loaderOptions(p *pebble.Options) sstable.WriterOptions {
	return p.MakeWriterOptions(len(p.Levels)-1, formatVersion.MaxTableFormat())
}
