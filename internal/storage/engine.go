package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/invariant"
)

// Engine is an open key-value engine. It is safe for concurrent use.
type Engine struct {
	db   *pebble.DB
	lock *pebble.Lock
	log  *slog.Logger
	ro   bool
	fs   vfs.FS
	dir  string
	// readers are the options for reading tables past the library's own cache.
	readers sstable.ReaderOptions
	// writers are those of the tables that a Loader makes.
	writers sstable.WriterOptions

	scratches atomic.Int64 // scratch files that were ever created
	scratched atomic.Int64 // bytes that those that are open may have

	// unflushed estimates the bytes committed since the last finished flush,
	// for Stats.
	unflushed atomic.Int64
	// dirty says that something was committed since the last call of Flush. It
	// errs on the side of flushing.
	dirty atomic.Bool
	// stale says that tables came or went since sizes was taken.
	stale atomic.Bool

	failure failure

	mu      sync.Mutex    // guards flushed, sizes and closed
	flushed chan struct{} // closed and replaced at each finished flush
	sizes   Stats         // as of the last refresh
	closed  bool
}

// Open opens or creates the engine in a directory and holds its lock until
// Close. The error wraps ErrLocked when somebody else holds the directory.
func Open(o Options) (*Engine, error) {
	invariant.Check(o.FS != nil && o.Dir != "", "an engine is opened on a file system and in a directory")
	o = o.withDefaults()
	if !o.ReadOnly {
		if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("create storage directory: %w", err)
		}
	}
	lock, err := lockDir(o.FS, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("lock storage directory %s: %w", o.Dir, err)
	}
	if !o.ReadOnly {
		if err := removeScratches(o.FS, o.Dir); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	e := &Engine{lock: lock, log: o.Logger, ro: o.ReadOnly, fs: o.FS, dir: o.Dir, flushed: make(chan struct{})}
	e.failure.ch = make(chan struct{})
	e.stale.Store(true)
	p := o.pebbleOptions(e)
	p.Lock = lock
	p.EnsureDefaults()
	e.readers, e.writers = p.MakeReaderOptions(), loaderOptions(p)
	db, err := openPebble(o.Dir, p, &e.failure)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open storage in %s: %w", o.Dir, err), lock.Close())
	}
	e.db = db
	return e, nil
}

// openPebble opens the library's database. A panic becomes an error: damaged files must end the start with
// a message, not with a stack. And where the library meets an error that it calls fatal, which parks its
// goroutine for good, the one that opens must not be parked with it.
func openPebble(dir string, p *pebble.Options, failed *failure) (*pebble.DB, error) {
	type opened struct {
		db  *pebble.DB
		err error
	}
	done := make(chan opened, 1)
	go func() {
		var o opened
		defer func() {
			if r := recover(); r != nil {
				o.err = fmt.Errorf("the files are damaged or of an unknown kind: %v", r)
			}
			done <- o
		}()
		o.db, o.err = pebble.Open(dir, p)
	}()
	select {
	case o := <-done:
		return o.db, o.err
	case <-failed.ch:
		return nil, failed.get()
	}
}

// Commit applies a batch atomically. It is not synced: it survives a crash
// only after a later flush. An error is final for the process.
func (e *Engine) Commit(b *Batch) error {
	if err := e.Err(); err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}
	e.unflushed.Add(int64(b.Len()))
	if err := e.db.Apply(b.join(), pebble.NoSync); err != nil {
		e.fail(err)
		return fmt.Errorf("commit batch: %w", err)
	}
	e.dirty.Store(true)
	return nil
}

// Get appends the value of key to dst; ok is false if there is none.
func (e *Engine) Get(key, dst []byte) (val []byte, ok bool, err error) {
	v, closer, err := e.db.Get(key)
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

// GetPadded returns the value of key behind pad bytes that the caller may
// fill, in one allocation: a framed answer is built without copying twice.
func (e *Engine) GetPadded(key []byte, pad int) (buf []byte, ok bool, err error) {
	v, closer, err := e.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read key: %w", err)
	}
	buf = make([]byte, pad+len(v))
	copy(buf[pad:], v)
	if err := closer.Close(); err != nil {
		return nil, false, fmt.Errorf("read key: %w", err)
	}
	return buf, true, nil
}

// GetDurable reads key as it would be found after a crash at this moment. It
// is how the log's owner learns how far the log may be cut.
func (e *Engine) GetDurable(key []byte) ([]byte, bool, error) {
	upper := append(append([]byte(nil), key...), 0)
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: key, UpperBound: upper, OnlyReadGuaranteedDurable: true})
	if err != nil {
		return nil, false, fmt.Errorf("read durable key: %w", err)
	}
	var val []byte
	ok := it.First()
	if ok {
		val = append(val, it.Value()...)
	}
	if err := it.Close(); err != nil {
		return nil, false, fmt.Errorf("read durable key: %w", err)
	}
	return val, ok, nil
}

// Flush makes everything committed so far durable, and returns early with the
// engine's failure if there is one.
func (e *Engine) Flush() error {
	if err := e.Err(); err != nil {
		return fmt.Errorf("flush storage: %w", err)
	}
	if !e.dirty.Swap(false) {
		return nil
	}
	err := e.unlessFailed(func() error {
		done, err := e.db.AsyncFlush()
		if err == nil {
			<-done
		}
		return err
	})
	if err != nil {
		e.dirty.Store(true)
		return fmt.Errorf("flush storage: %w", err)
	}
	return nil
}

// unlessFailed runs f and waits for it, but no longer than until the engine fails: background work that
// was parked by a fatal error may hold what f waits for, and then f never returns.
func (e *Engine) unlessFailed(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-e.Failed():
		return e.Err()
	}
}

// Flushes returns a channel that is closed at the next finished flush.
func (e *Engine) Flushes() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.flushed
}

// Close flushes what was committed, so that a clean start replays nothing,
// and releases the directory. After a failure it neither flushes nor waits
// for background work, which could block for ever; the lock is then released
// by the end of the process.
func (e *Engine) Close() error {
	e.mu.Lock()
	again := e.closed
	e.closed = true
	e.mu.Unlock()
	if again {
		return nil
	}
	if err := e.Err(); err != nil {
		return fmt.Errorf("close failed storage: %w", err)
	}
	if !e.ro {
		if err := e.Flush(); err != nil {
			return err
		}
	}
	if err := e.unlessFailed(func() error { return errors.Join(e.db.Close(), e.lock.Close()) }); err != nil {
		return fmt.Errorf("close storage: %w", err)
	}
	return nil
}
