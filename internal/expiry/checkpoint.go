package expiry

import (
	"context"
	"fmt"
	"time"

	"github.com/keelson-db/keelson/internal/command"
)

const (
	// CheckpointInterval is how often the time left of a long lease is recorded, and the time that it must
	// have left for that.
	CheckpointInterval = 5 * time.Minute
	// checkpointGain is the time that a record must save after a restart to be worth its writing: a lease
	// that is renewed often is not recorded only to be cleared by its next keepalive.
	checkpointGain = 4 * time.Minute
	// MaxCheckpointLeases bounds the records in one command, in leases.
	MaxCheckpointLeases = 1000
)

// clearing is one command that clears the records of leases whose keepalives wait for it.
type clearing struct {
	entries []*entry
	done    chan struct{}
	err     error // set before done is closed
}

func (c *clearing) finish(err error) {
	c.err = err
	for _, e := range c.entries {
		e.clearing = nil
	}
	close(c.done)
}

// clear returns the clearing that an entry's keepalive has to wait for, be it under way or yet to come. The
// caller holds the mutex.
func (c *Clock) clear(e *entry) *clearing {
	if e.clearing != nil {
		return e.clearing
	}
	n := len(c.clearings)
	if n == 0 || len(c.clearings[n-1].entries) == MaxCheckpointLeases {
		c.clearings = append(c.clearings, &clearing{done: make(chan struct{})})
		n++
	}
	one := c.clearings[n-1]
	one.entries = append(one.entries, e)
	e.clearing = one
	c.poke()
	return one
}

// record is one command of the writer: it clears records or makes them.
type record struct {
	leases   []command.Remaining
	clearing *clearing // nil when records are made
}

// nextRecord returns what is to be written now, nil for nothing, and reports whether there may be more to
// look at. Clearings come first, because somebody waits. The caller holds the mutex and the pen.
func (c *Clock) nextRecord(now instant) (r *record, more bool) {
	if len(c.clearings) > 0 {
		one := c.clearings[0]
		c.clearings = c.clearings[1:]
		r = &record{clearing: one}
		for _, e := range one.entries {
			r.leases = append(r.leases, command.Remaining{ID: int64(e.id)})
		}
		return r, false
	}
	r = &record{}
	for steps := 0; steps < maxSteps && len(r.leases) < MaxCheckpointLeases; steps++ {
		front := c.longTerm.Front()
		if front == nil || front.Value.(*entry).nextLook > now {
			break
		}
		e := front.Value.(*entry)
		e.nextLook = now.plus(CheckpointInterval)
		c.longTerm.MoveToBack(front)
		if e.left(now) > CheckpointInterval {
			r.note(e, now, int64(checkpointGain/time.Second))
		}
	}
	if len(r.leases) == 0 {
		front := c.longTerm.Front()
		return nil, front != nil && front.Value.(*entry).nextLook <= now
	}
	return r, false
}

// note adds the seconds that an entry has left, if a restart would otherwise give it more by gain seconds.
// From here on a restart may find them.
func (r *record) note(e *entry, now instant, gain int64) {
	seconds := e.secondsToNote(now)
	if e.recorded()-seconds < gain {
		return
	}
	e.noted = seconds
	r.leases = append(r.leases, command.Remaining{ID: int64(e.id), Seconds: seconds})
}

// write carries out one record and gives the pen back.
func (c *Clock) write(ctx context.Context, by reign, r *record) {
	ctx, cancel := during(ctx, by)
	defer cancel()
	err := c.propose(ctx, by.term, &command.LeaseCheckpoint{Leases: r.leases})
	if err != nil && ctx.Err() == nil {
		c.logger.Warn("could not write down how long leases have left", "leases", len(r.leases), "error", err)
	}
	c.mu.Lock()
	c.writing = false
	if r.clearing != nil {
		c.settle(by, r.clearing, err)
	}
	c.mu.Unlock()
	<-c.pen
	c.poke()
}

// settle ends a clearing. Only here an entry comes to have no record: whoever holds the pen knows that no
// other one is under way. The caller holds the mutex.
func (c *Clock) settle(by reign, one *clearing, err error) {
	c.follow(c.now())
	switch {
	case by.Err() != nil:
		err = ErrNotPrimary
	case err == nil:
		for _, e := range one.entries {
			e.noted = 0
		}
	}
	one.finish(err)
}

// Checkpoint records what every lease has left, so that a planned restart gives none of them more than an
// election timeout. A server calls it when no more requests come and the replica still runs. On a member
// that does not lead it does nothing.
func (c *Clock) Checkpoint(ctx context.Context) error {
	select {
	case c.pen <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("write down how long leases have left: %w", ctx.Err())
	}
	defer func() {
		<-c.pen
		c.poke()
	}()
	all, by := c.recordAll()
	if len(all) == 0 {
		return nil
	}
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.writing = false
	}()
	ctx, cancel := during(ctx, by)
	defer cancel()
	for len(all) > 0 {
		n := min(len(all), MaxCheckpointLeases)
		if err := c.propose(ctx, by.term, &command.LeaseCheckpoint{Leases: all[:n]}); err != nil {
			return fmt.Errorf("write down how long leases have left: %w", err)
		}
		all = all[n:]
	}
	return nil
}

// recordAll collects what all leases have left, for whoever holds the pen.
func (c *Clock) recordAll() ([]command.Remaining, reign) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if !c.follow(now) {
		return nil, reign{}
	}
	var r record
	for _, e := range c.entries {
		r.note(e, now, 1)
	}
	c.writing = len(r.leases) > 0
	return r.leases, c.reign
}
