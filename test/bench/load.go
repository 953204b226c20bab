package main

import (
	"fmt"
	"sync"
	"time"
)

// drainLimit bounds the wait for the last replies after a load has ended.
const drainLimit = 60 * time.Second

// load describes what one connection does: keep inFlight calls of one method under way, starting the next
// when one ends. That is a closed loop: latencies are those at the server's own full speed, and rows with
// different throughput are not comparable in their tails.
type load struct {
	path     string
	inFlight int
	// next appends the next request to dst and reports false when there is none left.
	next func(dst []byte) ([]byte, bool)
	// minReply is the least size in bytes of a right reply. A smaller one fails the load, so that a server
	// cannot be fast by answering nothing.
	minReply int
	until    time.Time // zero: until next reports false
}

// tally is what a load did.
type tally struct {
	calls   int
	refused int // of them; only a pace that bears refusals has any
	bytes   int
	latency histogram
}

func (t *tally) merge(other *tally) {
	t.calls += other.calls
	t.refused += other.refused
	t.bytes += other.bytes
	t.latency.merge(&other.latency)
}

// underWay is a call that waits for its reply.
type underWay struct {
	sent     time.Time
	received int
}

// run drives the load to its end and waits for every reply. The first failed call ends it with an error.
func (c *connection) run(l load) (*tally, error) {
	if uint32(l.inFlight) > c.maxStreams {
		return nil, fmt.Errorf("run load: %d calls in flight exceed the server's %d streams", l.inFlight, c.maxStreams)
	}
	if l.until.IsZero() {
		c.setDeadline(time.Time{})
	} else {
		c.setDeadline(l.until.Add(drainLimit))
	}
	done := &tally{}
	calls := make(map[uint32]underWay, l.inFlight)
	var buf []byte
	start := func(now time.Time) error {
		if !l.until.IsZero() && now.After(l.until) {
			return nil
		}
		body, ok := l.next(buf[:0])
		if !ok {
			return nil
		}
		buf = body
		id, err := c.open(l.path, body, true)
		calls[id] = underWay{sent: now}
		return err
	}
	for range l.inFlight {
		if err := start(time.Now()); err != nil {
			return nil, err
		}
	}
	for len(calls) > 0 {
		e, err := c.next()
		if err != nil {
			return nil, fmt.Errorf("run load: %w", err)
		}
		u, ours := calls[e.stream]
		if !ours {
			continue // a reset that follows the end of its stream
		}
		u.received += len(e.data)
		if !e.ended {
			calls[e.stream] = u
			continue
		}
		delete(calls, e.stream)
		now := time.Now()
		if err := done.finish(u, now, e.err, l.minReply); err != nil {
			return nil, fmt.Errorf("run load: %s: %w", l.path, err)
		}
		if err := start(now); err != nil {
			return nil, err
		}
	}
	return done, nil
}

func (t *tally) finish(u underWay, now time.Time, callErr error, minReply int) error {
	if callErr != nil {
		return callErr
	}
	if u.received < grpcPrefix+minReply {
		return fmt.Errorf("a reply of %d bytes is too short to be right", u.received)
	}
	t.calls++
	t.bytes += u.received
	t.latency.record(now.Sub(u.sent))
	return nil
}

// runAll runs one load per connection at the same time and merges what they did.
func runAll(conns []*connection, loadOf func() load) (*tally, error) {
	type result struct {
		tally *tally
		err   error
	}
	results := make([]result, len(conns))
	var group sync.WaitGroup
	for i, c := range conns {
		group.Go(func() { results[i].tally, results[i].err = c.run(loadOf()) })
	}
	group.Wait()
	total := &tally{}
	for _, r := range results {
		if r.err != nil {
			return nil, r.err
		}
		total.merge(r.tally)
	}
	return total, nil
}
