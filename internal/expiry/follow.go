package expiry

import (
	"context"

	"github.com/keelson-db/keelson/internal/lease"
)

// follow takes in who leads and what happened to the leases. It reports whether this member leads; if not,
// there are no entries. The caller holds the mutex.
func (c *Clock) follow(now instant) bool {
	term, ok := c.leadership.Leading()
	if !ok {
		c.abdicate()
		return false
	}
	if !c.leading || c.reign.term != term {
		c.abdicate()
		if c.revoking > 0 || c.writing {
			// What the last reign decided may still happen. Its commands were called back, and who made
			// them wakes Run.
			return false
		}
		c.ascend(now, term)
		return true
	}
	changes, whole, next := c.leases.Changes(c.since)
	c.since = next
	if whole {
		c.compare(now, changes)
		return true
	}
	for _, ch := range changes {
		c.take(now, ch)
	}
	return true
}

// ascend begins a reign. Each lease is given what it has left by the record, and an election timeout for
// what the leader before may have promised until it fell.
func (c *Clock) ascend(now instant, term uint64) {
	c.leading, c.reign.term = true, term
	c.reign.Context, c.endReign = context.WithCancel(context.Background())
	changes, _, next := c.leases.Changes(0)
	c.since = next
	c.entries = make(map[lease.ID]*entry, len(changes))
	for _, ch := range changes {
		c.add(now, ch.Lease, now.plusSeconds(ch.Left()).plus(c.election))
	}
	// Those who asked first got here before Run, which does not know yet when to wake.
	c.poke()
}

// abdicate forgets everything and wakes all who wait: only the next leader can answer them.
func (c *Clock) abdicate() {
	if !c.leading {
		return
	}
	c.leading = false
	c.endReign()
	for _, e := range c.entries {
		e.place = -1
		e.release()
	}
	for _, one := range c.clearings {
		one.finish(ErrNotPrimary)
	}
	c.clearings = nil
	c.entries = make(map[lease.ID]*entry)
	c.deadlines = nil
	c.longTerm.Init()
}

// take follows one change.
func (c *Clock) take(now instant, ch lease.Change) {
	e, known := c.entries[ch.ID]
	switch ch.Kind {
	case lease.Granted:
		if known {
			c.forget(e)
		}
		c.add(now, ch.Lease, now.plusSeconds(ch.Left()))
	case lease.Revoked:
		if known {
			if e.expiring {
				c.metrics.Expired.Inc()
			}
			c.forget(e)
		}
	case lease.Checkpointed:
		// That a record is gone is believed only of one's own clearing (see settle): news of an old one
		// may come after a new record was begun.
		if known && ch.Remaining > 0 {
			e.noted = ch.Remaining
		}
	}
}

// compare puts the clock right after more happened than the table remembers. A lease that is known may have
// ended and been granted again under the same ID, and nothing tells, so it is given at least the time of a
// new one.
func (c *Clock) compare(now instant, alive []lease.Change) {
	seen := make(map[lease.ID]bool, len(alive))
	for _, ch := range alive {
		seen[ch.ID] = true
	}
	for id, e := range c.entries {
		if !seen[id] {
			if e.expiring {
				c.metrics.Expired.Inc()
			}
			c.forget(e)
		}
	}
	for _, ch := range alive {
		e, known := c.entries[ch.ID]
		if !known {
			c.add(now, ch.Lease, now.plusSeconds(ch.Left()))
			continue
		}
		if ch.Remaining > 0 {
			e.noted = ch.Remaining
		}
		if e.ttl != ch.TTL {
			c.forget(e)
			c.add(now, ch.Lease, max(e.deadline, now.plusSeconds(ch.Left())))
		} else if !e.expiring {
			e.deadline = max(e.deadline, now.plusSeconds(ch.Left()))
		}
	}
}

func (c *Clock) add(now instant, l lease.Lease, deadline instant) {
	e := &entry{id: l.ID, ttl: l.TTL, deadline: deadline, due: deadline, noted: l.Remaining}
	c.entries[l.ID] = e
	c.deadlines.push(e)
	if l.TTL > int64(CheckpointInterval.Seconds()) {
		e.nextLook = now.plus(CheckpointInterval)
		e.longTerm = c.longTerm.PushBack(e)
	}
}

func (c *Clock) forget(e *entry) {
	delete(c.entries, e.id)
	c.deadlines.remove(e)
	if e.longTerm != nil {
		c.longTerm.Remove(e.longTerm)
	}
	e.release()
}
