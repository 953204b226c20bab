package expiry

import (
	"context"
	"fmt"
	"time"

	"github.com/keelson-db/keelson/internal/command"
)

const (
	// MaxRevokeLeases bounds the leases that one command ends, in leases.
	MaxRevokeLeases = 1000
	// MaxRevokeKeys bounds the keys that one command deletes, in keys, so that nobody's request waits long
	// behind it. A single lease with more keys still ends at once.
	MaxRevokeKeys = 10_000
	// maxRevokes bounds the revokes under way, in commands: one is applied while the next is written.
	maxRevokes = 2
	// maxSteps bounds the entries looked at in one hold of the mutex, in entries.
	maxSteps = 10_000

	// proposalTimeout is how long a command may take before it counts as failed.
	proposalTimeout = 7 * time.Second
	// firstRetry is the pause after a failed revoke; it doubles with each further one.
	firstRetry = 100 * time.Millisecond
	// lastRetry is the longest such pause.
	lastRetry = 5 * time.Second
)

// expired decides the end of leases whose time has passed, as many as one batch takes, and reports whether
// there was more to look at. The caller holds the mutex.
func (c *Clock) expired(now instant) (batch []*entry, more bool) {
	for steps := 0; ; steps++ {
		e := c.deadlines.first()
		if e == nil || e.due > now {
			return batch, false
		}
		if steps == maxSteps || len(batch) == MaxRevokeLeases {
			return batch, true
		}
		if !e.expiring && e.deadline > now {
			e.due = e.deadline
			c.deadlines.later(e)
			continue
		}
		e.expiring = true
		c.deadlines.remove(e)
		batch = append(batch, e)
	}
}

// revoke ends the leases of a batch and returns when each is gone or waits for another try.
func (c *Clock) revoke(ctx context.Context, by reign, batch []*entry) {
	ctx, cancel := during(ctx, by)
	defer cancel()
	for rest := batch; len(rest) > 0; {
		n := c.fitting(rest)
		err := c.proposeRevoke(ctx, by.term, rest[:n])
		if err != nil {
			n = len(rest) // what failed now would fail again
		}
		c.settleRevoke(ctx, rest[:n], err)
		rest = rest[n:]
	}
	c.mu.Lock()
	c.revoking--
	c.mu.Unlock()
	c.poke()
}

// fitting returns how many leases, from the front, one command may end by the number of their keys.
func (c *Clock) fitting(batch []*entry) int {
	keys := 0
	for n, e := range batch {
		keys += c.leases.KeyCount(e.id)
		if keys > MaxRevokeKeys && n > 0 {
			return n
		}
	}
	return len(batch)
}

func (c *Clock) proposeRevoke(ctx context.Context, term uint64, batch []*entry) error {
	ids := c.current(batch)
	if len(ids) == 0 {
		return nil
	}
	return c.propose(ctx, term, &command.LeaseRevoke{IDs: ids, Expired: true})
}

// current returns the leases of a batch that are still to be ended: all may have gone with the leadership,
// and some by a client's revoke.
func (c *Clock) current(batch []*entry) (ids []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.follow(c.now())
	for _, e := range batch {
		if c.entries[e.id] == e {
			ids = append(ids, int64(e.id))
		}
	}
	return ids
}

// during returns a context that ends with a reign, too.
func during(ctx context.Context, by reign) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(by, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

func (c *Clock) propose(ctx context.Context, term uint64, op command.Op) error {
	ctx, cancel := context.WithTimeout(ctx, proposalTimeout)
	defer cancel()
	result, err := c.proposer.ProposeIn(ctx, term, op)
	if err == nil {
		err = result.Err
	}
	if err != nil {
		return fmt.Errorf("propose %T: %w", op, err)
	}
	return nil
}

func (c *Clock) settleRevoke(ctx context.Context, batch []*entry, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.follow(now)
	if err == nil {
		c.failures = 0
		for _, e := range batch {
			if c.entries[e.id] == e {
				// The lease is gone and one of the same ID was granted, unseen among too many changes.
				c.forget(e)
				if l, ok := c.leases.Get(e.id); ok {
					c.add(now, l, now.plusSeconds(l.Left()))
				}
			}
		}
		return
	}
	pause := min(firstRetry<<min(c.failures, 10), lastRetry)
	c.failures++
	for _, e := range batch {
		if c.entries[e.id] == e {
			e.due = now.plus(pause)
			c.deadlines.push(e)
		}
	}
	if c.leading && ctx.Err() == nil {
		c.logger.Warn("could not revoke expired leases, will try again",
			"leases", len(batch), "pause", pause, "error", err)
	}
}
