package watch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// Hub distributes the newest events to the streams.
type Hub struct {
	store *mvcc.Store
	opts  Options

	mu      sync.Mutex
	pos     mvcc.Rev // every event up to here was distributed
	ranges  *ranges  // the attached watchers
	streams map[*Stream]struct{}
	stopped bool
	rng     *rand.Rand
	stats   Stats

	// Work lists of one turn of Run; guarded by mu as well.
	matched  []*group  // the groups that want the event in hand
	touched  []*Stream // streams to wake
	overfull []*Stream // streams to detach at the end of the revision in hand
	asking   []*Stream // streams that wait for a progress answer
}

// Stats are figures of a Hub. All but the last are of this moment.
type Stats struct {
	Streams  int
	Watchers int
	// Slow counts the watchers that read older history on their own.
	Slow int
	// Pending counts the events in the queues of all streams.
	Pending int
	// Sent counts the events handed to senders so far.
	Sent uint64
}

// New builds a Hub that begins at the store's current revision.
func New(store *mvcc.Store, o Options) *Hub {
	rng := rand.New(rand.NewPCG(o.Seed, 0x77617463))
	h := &Hub{
		store:   store,
		opts:    o.withDefaults(),
		ranges:  newRanges(rng),
		streams: make(map[*Stream]struct{}),
		rng:     rng,
	}
	h.pos, _ = h.revs()
	return h
}

// Run distributes events until the context is done or history cannot be read. Then every stream ends with
// ErrStopped.
func (h *Hub) Run(ctx context.Context) error {
	defer h.stop()
	var buf []*mvcc.Event
	for {
		changed := h.store.Changed() // taken before reading, so that nothing is missed in between
		for more := true; more; {
			var err error
			if buf, more, err = h.pump(buf); err != nil {
				return fmt.Errorf("follow history for watchers: %w", err)
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Stats returns the figures of this moment.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stats
}

// pump distributes one portion of new events and reports whether there may be more.
func (h *Hub) pump(buf []*mvcc.Event) (_ []*mvcc.Event, more bool, err error) {
	after := h.pos // only this goroutine changes it
	events, upTo, err := h.store.Since(after, pumpEvents, buf[:0])
	if errors.Is(err, mvcc.ErrCompacted) {
		h.skip()
		return events, true, nil
	}
	if err != nil || upTo == after {
		return events, false, err
	}
	h.mu.Lock()
	h.distribute(events)
	h.pos = upTo
	h.answer()
	h.wake()
	h.mu.Unlock()
	clear(events) // do not keep old events alive through the buffer
	return events, true, nil
}

// distribute appends every event to the queues of the streams that want it.
func (h *Hub) distribute(events []*mvcc.Event) {
	for i, e := range events {
		h.matched = h.ranges.match(e.Key, h.matched[:0])
		for _, g := range h.matched {
			for _, w := range g.members {
				if w.wants(e) {
					w.stream.offer(w, e)
				}
			}
		}
		if i+1 == len(events) || events[i+1].Pos.Rev != e.Pos.Rev {
			h.detachOverfull(e.Pos.Rev)
		}
	}
}

// detachOverfull leaves behind the streams whose queues went over their bound during revision rev. What is
// queued stays queued; from the next revision on they read history themselves.
func (h *Hub) detachOverfull(rev mvcc.Rev) {
	for i, s := range h.overfull {
		s.overfull = false
		s.detachAll(rev + 1)
		h.overfull[i] = nil
	}
	h.overfull = h.overfull[:0]
}

// skip gives up following a part of history that was compacted before it could be distributed: every
// watcher is left behind where it is, and finds out for itself what it still can read.
func (h *Hub) skip() {
	rev, _ := h.revs()
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		s.detachAll(h.pos + 1)
		s.touch()
	}
	h.pos = max(h.pos, rev)
	h.answer()
	h.wake()
}

// answer sends the progress answers that waited for the Hub to come this far.
func (h *Hub) answer() {
	waiting := h.asking[:0]
	for _, s := range h.asking {
		if s.closed || s.answerProgress() {
			continue
		}
		waiting = append(waiting, s)
	}
	clear(h.asking[len(waiting):])
	h.asking = waiting
}

// wake rouses the senders of the streams touched in this turn.
func (h *Hub) wake() {
	for i, s := range h.touched {
		s.touched = false
		s.rouse()
		h.touched[i] = nil
	}
	h.touched = h.touched[:0]
}

// stop ends every stream: without Run nothing would ever reach them.
func (h *Hub) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	for s := range h.streams {
		s.rouse()
		s.giveRoom()
	}
}

// revs are the store's current and compact revisions.
func (h *Hub) revs() (current, compact mvcc.Rev) {
	v := h.store.View()
	defer v.Close()
	return v.Rev(), v.CompactRev()
}
