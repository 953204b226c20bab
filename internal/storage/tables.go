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
	// maxScanTables is how many tables a scan opens at once, in files. They are open before the first is read,
	// so that no compaction removes one that is still to come; more than that are too many for a process.
	maxScanTables = 4096
	// scanBuffers is the number of blocks that reading one table holds at a time.
	scanBuffers = 5
)

// errManyTables says that there are too many tables to open at once.
var errManyTables = errors.New("there are too many tables to be opened at once")

// ScanTables yields what stands in the engine's tables from lower to before upper, table after table. It is
// neither ordered nor a moment: what is not flushed yet is missing, and what was removed may still be there, or there
// twice. It is for whoever knows what there must be and looks up the rest; for rows that are written once and never
// changed that gives the right answer. In return it costs a fraction of an iterator's time, and it neither fills the
// block cache nor leaves garbage: every block is read into the same memory. What is yielded is not kept.
func (e *Engine) ScanTables(lower, upper []byte, yield func(key, value []byte) error) (err error) {
	files, err := e.openTables(lower, upper)
	defer func() {
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
	}()
	if err != nil {
		return err
	}
	var pool block.BufferPool
	pool.Init(scanBuffers)
	defer pool.Release()
	for len(files) > 0 {
		f := files[0]
		files = files[1:] // the reader closes it
		if err := e.scanTable(f, &pool, lower, upper, yield); err != nil {
			return err
		}
	}
	return nil
}

// ScanTables scans the engine's tables as they are now.
func (s *Snapshot) ScanTables(lower, upper []byte, yield func(key, value []byte) error) error {
	return s.e.ScanTables(lower, upper, yield)
}

// openTables opens all tables that may have something between the bounds. The files are to be closed, also after
// an error.
func (e *Engine) openTables(lower, upper []byte) (files []vfs.File, err error) {
	for range tableTries {
		levels, err := e.db.SSTables(pebble.WithKeyRangeFilter(lower, upper))
		if err != nil {
			return nil, fmt.Errorf("list tables: %w", err)
		}
		n := 0
		for _, tables := range levels {
			n += len(tables)
		}
		if n > maxScanTables {
			return nil, fmt.Errorf("open %d tables: %w", n, errManyTables)
		}
		if files, err = e.openAll(levels); !errors.Is(err, fs.ErrNotExist) {
			return files, err
		}
		for _, f := range files {
			_ = f.Close() // nothing was written
		}
	}
	return nil, fmt.Errorf("open tables: %d times one was gone", tableTries)
}

func (e *Engine) openAll(levels [][]pebble.SSTableInfo) (files []vfs.File, err error) {
	for _, tables := range levels {
		for _, t := range tables {
			f, err := e.fs.Open(e.fs.PathJoin(e.dir, fmt.Sprintf("%s.sst", t.BackingSSTNum)), vfs.SequentialReadsOption)
			if err != nil {
				return files, fmt.Errorf("open table: %w", err)
			}
			files = append(files, f)
		}
	}
	return files, nil
}

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
