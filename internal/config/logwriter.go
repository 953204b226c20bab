package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// LogQueueBytes bounds the lines in bytes that wait for one log output.
	// What comes beyond is dropped and counted.
	LogQueueBytes = 4 << 20
	// logFlushBound is how long Run and Close wait for an output at the end.
	logFlushBound = 2 * time.Second
)

// ErrLogStuck tells that an output did not take the last lines in time.
var ErrLogStuck = errors.New("the log output does not accept lines: the last ones are lost")

// LogWriter carries log lines to the outputs. Each output has its own queue,
// so that a blocked pipe does not keep lines from a file.
//
// A failed write is counted and its lines are lost: there is nowhere left to
// complain, and the server must go on.
type LogWriter struct {
	outlets []*outlet
	format  string
	encode  encoder
}

func (w *LogWriter) encodesJSON() bool { return w.format != formatConsole }

// outlet is one output and the lines that wait for it.
type outlet struct {
	name string
	file io.WriteCloser
	wake chan struct{}

	// turn holds one token while somebody writes to file, which may take for
	// ever. Only the goroutines of Run and Close take it, never the caller of
	// the logger. It is a channel because a test's fake clock sees through
	// channels and not through mutexes.
	turn chan struct{}

	// mu guards the fields below. It is held for copies only, except before
	// Run, when the caller writes under it.
	mu      sync.Mutex
	pending []byte // whole lines
	spare   []byte // the buffer that is not pending, or nil while being written
	queued  bool   // Run has begun: callers do not write any more
	closed  bool   // nobody will write any more
	dropped uint64 // lines that found the queue full
	told    uint64 // dropped lines that the output has been told of
	failed  uint64 // writes that failed
}

func newOutlet(name string, file io.WriteCloser) *outlet {
	return &outlet{name: name, file: file, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
}

// Dropped is the number of lines lost because an output was too slow.
func (w *LogWriter) Dropped() uint64 {
	var n uint64
	for _, o := range w.outlets {
		o.mu.Lock()
		n += o.dropped
		o.mu.Unlock()
	}
	return n
}

// Failed is the number of writes that an output refused.
func (w *LogWriter) Failed() uint64 {
	var n uint64
	for _, o := range w.outlets {
		o.mu.Lock()
		n += o.failed
		o.mu.Unlock()
	}
	return n
}

// write hands one line to every output.
func (w *LogWriter) write(line []byte) {
	for _, o := range w.outlets {
		o.add(line)
	}
}

func (o *outlet) add(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		o.dropped++
	case !o.queued:
		if _, err := o.file.Write(line); err != nil {
			o.failed++
		}
	case len(o.pending)+len(line) > LogQueueBytes:
		o.dropped++
	default:
		o.pending = append(o.pending, line...)
		select {
		case o.wake <- struct{}{}:
		default: // The drain has been woken already.
		}
	}
}

// Run drains the queues until the context is done and then once more. It
// returns even when an output is blocked: the goroutine inside that write stays
// behind, because nothing can end it before the output moves or the process ends.
func (w *LogWriter) Run(ctx context.Context) error {
	done := make(chan struct{}, len(w.outlets))
	for _, o := range w.outlets {
		o.mu.Lock()
		o.queued = true
		o.mu.Unlock()
		go func() {
			o.drain(ctx, w.encode)
			done <- struct{}{}
		}()
	}
	<-ctx.Done()
	waitAll(done, len(w.outlets))
	return nil
}

// waitAll waits for n signals within logFlushBound and reports whether all came.
func waitAll(done <-chan struct{}, n int) bool {
	timer := time.NewTimer(logFlushBound)
	defer timer.Stop()
	for range n {
		select {
		case <-done:
		case <-timer.C:
			return false
		}
	}
	return true
}

func (o *outlet) drain(ctx context.Context, encode encoder) {
	for {
		select {
		case <-o.wake:
			o.flush(encode)
		case <-ctx.Done():
			o.flush(encode)
			return
		}
	}
}

// flush writes all pending lines at once, and after a drop says how many are missing.
func (o *outlet) flush(encode encoder) {
	o.turn <- struct{}{}
	defer func() { <-o.turn }()
	o.mu.Lock()
	lines, lost := o.pending, o.dropped-o.told
	o.pending, o.spare = o.spare[:0], nil
	o.told = o.dropped
	o.mu.Unlock()
	if lost > 0 && encode != nil {
		lines = appendLossLine(lines, encode, lost)
	}
	failed := false
	if len(lines) > 0 {
		_, err := o.file.Write(lines)
		failed = err != nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if failed {
		o.failed++
	}
	o.spare = lines[:0]
}

func appendLossLine(lines []byte, encode encoder, lost uint64) []byte {
	r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were dropped because the log output was too slow", 0)
	r.AddAttrs(slog.Uint64("dropped", lost))
	return encode(lines, r, "", "", nil)
}

// Close writes what is queued and closes the outputs. An output that does not
// take its lines within two seconds is left open and reported.
func (w *LogWriter) Close() error {
	done := make(chan struct{}, len(w.outlets))
	errs := make([]error, len(w.outlets))
	for i, o := range w.outlets {
		go func() {
			errs[i] = o.close(w.encode)
			done <- struct{}{}
		}()
	}
	if !waitAll(done, len(w.outlets)) {
		// The results of the outputs that did finish are not read: their
		// neighbours may still be writing to the slice.
		return fmt.Errorf("close log: %w", ErrLogStuck)
	}
	return errors.Join(errs...)
}

func (o *outlet) close(encode encoder) error {
	o.flush(encode)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	o.closed = true
	if err := o.file.Close(); err != nil {
		return fmt.Errorf("close log output %s: %w", o.name, err)
	}
	return nil
}
