package raftlog

import (
	"context"
	"errors"
	"fmt"
	"time"
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
	// needs it waits for the directory in takeNext.
	next, err := d.prepare(number)
	if err != nil {
		return fmt.Errorf("prepare segment %d: %w", number, err)
	}
	l.mu.Lock()
	l.next = next
	l.mu.Unlock()
	return nil
}

// takeNext returns the segment with this number, prepared by Run or made now.
func (l *Log) takeNext(number uint64) (*segment, error) {
	if s := l.claimNext(); s != nil {
		return s, nil
	}
	d := <-l.files
	defer func() { l.files <- d }()
	if s := l.claimNext(); s != nil {
		return s, nil
	}
	if err := d.recycle(l.takeRetired()); err != nil {
		return nil, err
	}
	return d.prepare(number)
}

func (l *Log) claimNext() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.next
	l.next = nil
	return s
}
