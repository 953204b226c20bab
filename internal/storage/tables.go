package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// tableTries is how often the list of tables is taken anew because a compaction removed one of them meanwhile.
	tableTries = 10
	// scanBuffers is the number of blocks that reading one table holds at a time.
	scanBuffers = 5
)

// ScanTables yields what stands in the engine's tables from lower to before upper, table after table. It is
// neither ordered nor a moment: what is not flushed yet is missing, and what was removed may still be there, or there
// twice. It is for whoever knows what there must be and looks up the rest; for rows that are written once and never
// changed that gives the right answer. In return it costs a fraction of an iterator's time, and it neither fills the
// block cache nor leaves garbage: every block is read into the same memory. What is yielded is not kept.
func (e *Engine) ScanTables(lower, upper []byte, yield func(key, value []byte) error) error {
	var pool block.BufferPool
	pool.Init(scanBuffers)
	defer pool.Release()
	scanned := map[string]bool{}
	for range tableTries {
		gone, err := e.scanNew(scanned, &pool, lower, upper, yield)
		if err != nil || !gone {
			return err
		}
	}
	return fmt.Errorf("scan tables: %d times one was gone", tableTries)
}

// scanNew scans the tables that there are and that were not scanned before, one open at a time: files are scarce, and
// an engine that finds none ends the server. gone says that a compaction took one away, so that what it held is
// in another one by now.
func (e *Engine) scanNew(scanned map[string]bool, pool *block.BufferPool, lower, upper []byte, yield func(key, value []byte) error) (gone bool, err error) {
	levels, err := e.db.SSTables(pebble.WithKeyRangeFilter(lower, upper))
	if err != nil {
		return false, fmt.Errorf("list tables: %w", err)
	}
	for _, tables := range levels {
		for _, t := range tables {
			name := fmt.Sprintf("%s.sst", t.BackingSSTNum)
			if scanned[name] {
				continue
			}
			f, err := e.fs.Open(e.fs.PathJoin(e.dir, name), vfs.SequentialReadsOption)
			if errors.Is(err, fs.ErrNotExist) {
				return true, nil
			}
			if err != nil {
				return false, fmt.Errorf("open table: %w", err)
			}
			if err := e.scanTable(f, pool, lower, upper, yield); err != nil {
				return false, err
			}
			scanned[name] = true
		}
	}
	return false, nil
}

// ScanTables scans the engine's tables as they are now.
func (s *Snapshot) ScanTables(lower, upper []byte, yield func(key, value []byte) error) error {
	return s.e.ScanTables(lower, upper, yield)
}

// scanTable scans one table and closes its file.
func (e *Engine) scanTable(f vfs.File, pool *block.BufferPool, lower, upper []byte, yield func(key, value []byte) error) (err error) {
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(fmt.Errorf("open table: %w", err), f.Close())
	}
	r, err := sstable.NewReader(context.Background(), readable, e.readers)
	if err != nil {
		return errors.Join(fmt.Errorf("open table: %w", err), readable.Close())
	}
	defer func() {
		if cerr := r.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("close table: %w", cerr)
		}
	}()
	it, err := r.NewPointIter(context.Background(), sstable.IterOptions{
		Lower: lower, Upper: upper,
		FilterBlockSizeLimit: sstable.NeverUseFilterBlock,
		Env:                  sstable.ReadEnv{Block: block.ReadEnv{BufferPool: pool}},
		ReaderProvider:       sstable.MakeTrivialReaderProvider(r),
	})
	if err != nil {
		return fmt.Errorf("scan table: %w", err)
	}
	defer func() {
		if cerr := it.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("scan table: %w", cerr)
		}
	}()
	for kv := it.SeekGE(lower, 0); kv != nil; kv = it.Next() {
		if k := kv.Kind(); k != pebble.InternalKeyKindSet && k != pebble.InternalKeyKindSetWithDelete {
			continue
		}
		value, _, err := kv.Value(nil)
		if err != nil {
			return fmt.Errorf("scan table: %w", err)
		}
		if err := yield(kv.K.UserKey, value); err != nil {
			return err
		}
	}
	return nil
}
