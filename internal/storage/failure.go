package storage

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// failure holds the first error that ended the engine.
type failure struct {
	mu  sync.Mutex    // guards err
	err error         // set once, before ch is closed
	ch  chan struct{} // closed when err is set
}

func (f *failure) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
		close(f.ch)
	}
}

func (f *failure) get() error {
	select {
	case <-f.ch:
	default:
		return nil // the common case takes no lock
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Failed is closed when the engine met an error after which it must not go
// on. Err tells which.
func (e *Engine) Failed() <-chan struct{} { return e.failure.ch }

// Err is the error that closed Failed, or nil.
func (e *Engine) Err() error { return e.failure.get() }

// fail records an error of background work, with a hint for the operator.
func (e *Engine) fail(err error) {
	if errors.Is(err, pebble.ErrCancelledCompaction) || errors.Is(err, pebble.ErrClosed) {
		return
	}
	var hint string
	switch {
	case pebble.IsCorruptionError(err):
		hint = "a file is damaged; keep the directory as it is and restore a backup, or start another member in its place"
	case errors.Is(err, syscall.ENOSPC):
		hint = "the disk is full; make room, then start again: acknowledged writes are in the log and nothing is lost"
	default:
		hint = "the disk refused a write or a read; check the disk, then start again: acknowledged writes are in the log and nothing is lost"
	}
	e.failure.set(fmt.Errorf("storage stopped: %w (%s)", err, hint))
}

// listener connects Pebble's events with the engine.
func (e *Engine) listener() *pebble.EventListener {
	l := &pebble.EventListener{
		BackgroundError: e.fail,
		// Without this Pebble calls a damaged block fatal and the reader would be parked for good.
		DataCorruption: func(i pebble.DataCorruptionInfo) { e.fail(i.Details) },
		FlushEnd: func(i pebble.FlushInfo) {
			e.stale.Store(true)
			if i.Err == nil {
				e.flushDone(int64(i.InputBytes))
			}
		},
		CompactionEnd: func(pebble.CompactionInfo) { e.stale.Store(true) },
		TableDeleted:  func(pebble.TableDeleteInfo) { e.stale.Store(true) },
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			e.log.Warn("storage makes writes wait", "reason", i.Reason)
		},
		WriteStallEnd: func() { e.log.Info("storage accepts writes again") },
	}
	return l
}

func (e *Engine) flushDone(bytes int64) {
	if e.unflushed.Add(-bytes) < 0 {
		e.unflushed.Store(0)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.flushed)
	e.flushed = make(chan struct{})
}

// pebbleLogger hands Pebble's own messages to the engine's logger at debug
// level: they speak of tables and levels, not of anything an operator does.
type pebbleLogger struct{ e *Engine }

// Infof logs at debug level.
func (l pebbleLogger) Infof(format string, args ...any) {
	l.e.log.Debug(fmt.Sprintf(format, args...))
}

// Errorf logs at debug level: errors that matter also arrive as failures.
func (l pebbleLogger) Errorf(format string, args ...any) {
	l.e.log.Debug(fmt.Sprintf(format, args...))
}

// Fatalf records the failure and parks the goroutine, because Pebble relies
// on it not to return. Ending the process is the server's decision: it sees
// Failed, tells the operator, and exits.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.e.fail(fmt.Errorf(format, args...))
	select {}
}
