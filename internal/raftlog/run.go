package raftlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-db/keelson/internal/invariant"
)

const (
	// prepareShare is the part of a segment, one in this many, that is filled when
	// the next one is prepared. A log that stays small never takes a second file.
	prepareShare = 4
	// fillRetry is waited after a spare could not be written, most likely because the
	// disk is full. The log itself goes on in its present segment meanwhile.
	fillRetry = 10 * time.Second
)

// errNoSpare marks failures that do not touch the log itself.
var errNoSpare = errors.New("no spare segment")

// Run prepares the next segment before it is needed and recycles segments that are
// forgotten, until ctx is done. It is for one goroutine. It returns an error when the
// disk failed in a way that makes the log fail too.
func (l *Log) Run(ctx context.Context) error {
	for {
		wake, retry := l.wake, (<-chan time.Time)(nil)
		err := l.upkeep(ctx, fillPause)
		switch {
		case err != nil && !errors.Is(err, errNoSpare):
			return l.fail(err)
		case ctx.Err() != nil:
			return nil
		case err != nil:
			l.opts.Logger.Warn("could not prepare a raft log segment; the log goes on in the present one and tries again", "err", err)
			wake, retry = nil, time.After(fillRetry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-retry:
		}
	}
}

// poke tells Run that there is work. One token is enough: Run looks at everything.
func (l *Log) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// wantsNext says whether it is time to prepare a segment. The active one must hold a
// durable batch: recovery relies on there never being two empty segments in a row.
// Log.mu is held.
func (l *Log) wantsNext() bool {
	return l.next == nil && l.failed == nil && !l.closed &&
		l.durable > headerBlock && l.durable >= l.opts.SegmentSize/prepareShare
}

// upkeep does one round of Run's work.
func (l *Log) upkeep(ctx context.Context, pause time.Duration) error {
	wants, spares, name, err := l.recycle()
	if err != nil || !wants {
		return err
	}
	if spares == 0 {
		// This takes long, so the directory is not held: an append that needs a segment
		// meanwhile makes its own.
		s, err := fill(ctx, l.opts, name, l.opts.SegmentSize, pause)
		if err != nil {
			return fmt.Errorf("%w: %w", errNoSpare, err)
		}
		if err := l.keepSpare(s, name); err != nil {
			return err
		}
	}
	return l.prepareNext()
}

// recycle gives the forgotten segments to the pool and says what is there now. The
// name is for a spare that the caller may fill.
func (l *Log) recycle() (wants bool, spares int, name string, err error) {
	d := <-l.files
	defer func() { l.files <- d }()
	if err := d.recycle(l.takeRetired()); err != nil {
		return false, 0, "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wantsNext(), len(d.spares), d.newSpareName(), nil
}

func (l *Log) takeRetired() []*segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	retired := l.retired
	l.retired = nil
	return retired
}

// keepSpare puts a filled file into the pool.
func (l *Log) keepSpare(s *segment, name string) error {
	d := <-l.files
	defer func() { l.files <- d }()
	if err := s.file.Close(); err != nil {
		return fmt.Errorf("close spare segment: %w", err)
	}
	return d.adopt(s.name, name, s.size)
}

// prepareNext makes the segment that follows the active one, if there is none.
func (l *Log) prepareNext() error {
	d := <-l.files
	defer func() { l.files <- d }()
	l.mu.Lock()
	wants, number := l.wantsNext(), l.segments[len(l.segments)-1].number+1
	l.mu.Unlock()
	if !wants {
		return nil
	}
	// While the directory is held nobody else can start this number: an append that
	// needs it waits for the directory in startNext.
	next, err := d.prepare(number)
	if err != nil {
		return fmt.Errorf("prepare segment %d: %w", number, err)
	}
	l.mu.Lock()
	l.next = next
	l.mu.Unlock()
	return nil
}

// startNext makes the segment behind the active one the active one: the one that Run
// prepared, or one that is made now. used is where the present one ends.
func (l *Log) startNext(used int64) (*segment, error) {
	if s := l.startPrepared(used); s != nil {
		return s, nil
	}
	d := <-l.files
	defer func() { l.files <- d }()
	if s := l.startPrepared(used); s != nil {
		return s, nil
	}
	if err := d.recycle(l.takeRetired()); err != nil {
		return nil, err
	}
	s, err := d.prepare(l.tail.seg.number + 1)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start(s, used)
	return s, nil
}

func (l *Log) startPrepared(used int64) *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.next
	if s != nil {
		l.start(s, used)
	}
	return s
}

// start puts a segment at the end of the log. Taking it from next and this are one
// step under Log.mu: between them Run would prepare the same number again.
func (l *Log) start(s *segment, used int64) {
	active := l.segments[len(l.segments)-1]
	invariant.Check(s.number == active.number+1, "segment numbers follow each other")
	active.used = used
	l.next = nil
	l.segments = append(l.segments, s)
	l.durable = headerBlock
}
