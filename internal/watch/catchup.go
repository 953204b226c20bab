package watch

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/keelson-db/keelson/internal/invariant"
	"github.com/keelson-db/keelson/internal/mvcc"
)

// reader is how the sender of a stream reads history.
type reader struct {
	max    int // events to ask for next
	buf    []*mvcc.Event
	groups []*group
}

// adapt chooses the size of the next read: by what the last one held per event in bytes and, summed over all
// watchers, in wanted events. It grows slowly and shrinks at once.
func (r *reader) adapt(events []*mvcc.Event, found int) {
	size := 0
	for _, e := range events {
		size += len(e.KV)
	}
	next := 2 * r.max
	if size > 0 {
		next = min(next, len(events)*readTargetBytes/size)
	}
	if found > 0 {
		next = min(next, len(events)*readTargetFound/found)
	}
	r.max = min(max(next, minReadEvents), maxReadEvents)
}

// catchUp reads one portion of history for all watchers of the stream that are behind, queues what they
// want of it, and attaches those that need nothing more that the Hub has already distributed. Only the
// sender calls it, so nobody else moves a watcher out of this state except by cancelling it.
func (s *Stream) catchUp() error {
	h := s.hub
	work, from := s.takeLate()
	if len(work) == 0 {
		return nil
	}
	// Before reading: then the header is not ahead of what follows. And what is compacted is over for whoever
	// reads back, even while it could still be had from memory.
	current, compact := h.revs()
	if from < compact {
		s.lose(work, compact)
		return nil
	}
	events, upTo, err := h.store.Since(from-1, s.reader.max, s.reader.buf[:0])
	s.reader.buf = events
	if errors.Is(err, mvcc.ErrCompacted) {
		_, compact = h.revs()
		s.lose(work, compact)
		return nil
	}
	if err != nil {
		s.returnLate(work)
		return fmt.Errorf("read history for a watcher: %w", err)
	}
	invariant.Check(upTo >= from || upTo >= current, "reading history moves a watcher forward unless there is no more")
	s.reader.adapt(events, s.sort(work, events))
	clear(events)

	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return nil
	}
	s.sent = 0
	for _, w := range work {
		if w.state == gone {
			continue
		}
		if len(w.found) > 0 {
			s.deliver(w, current, compact)
		}
		w.next = max(w.next, upTo+1)
		s.nBehind--
		h.stats.Slow--
		s.place(w)
	}
	return nil
}

// deliver queues what was found for a watcher, in as many responses as their bounds ask for.
func (s *Stream) deliver(w *watcher, current, compact mvcc.Rev) {
	var it *item
	for _, e := range w.found {
		if it == nil || it.full(e.Pos.Rev) {
			it = s.begin(w)
			it.resp.PrevAfter = compact
		}
		it.resp.Rev = max(current, e.Pos.Rev)
		s.queue.take(it, e, w.weight(e))
	}
	s.hub.stats.Pending += len(w.found)
	w.active, w.found = true, nil
}

// takeLate takes the watchers to read for, in order, and the first revision that one of them needs.
func (s *Stream) takeLate() (work []*watcher, from mvcc.Rev) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	work = slices.DeleteFunc(s.late, func(w *watcher) bool { return w.state == gone })
	s.late = nil
	for i, w := range work {
		if i == 0 || w.next < from {
			from = w.next
		}
	}
	slices.SortFunc(work, func(a, b *watcher) int { return cmp.Compare(a.id, b.id) })
	return work, from
}

// returnLate puts watchers back that could not be read for.
func (s *Stream) returnLate(work []*watcher) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.late = append(s.late, work...)
}

// sort gives every event to the watchers of work that want it and counts what it gave.
func (s *Stream) sort(work []*watcher, events []*mvcc.Event) (found int) {
	if len(events) == 0 {
		return 0
	}
	r := newRanges(rand.New(rand.NewPCG(uint64(len(work)), uint64(len(events)))))
	for _, w := range work {
		r.add(w)
	}
	for _, e := range events {
		s.reader.groups = r.match(e.Key, s.reader.groups[:0])
		for _, g := range s.reader.groups {
			for _, w := range g.members {
				if w.wants(e) {
					w.found = append(w.found, e)
					found++
				}
			}
		}
	}
	for _, w := range work {
		w.group = nil
	}
	return found
}

// lose ends the watchers of work whose next revision was compacted: each gets a last notice and keeps its
// identity until the client cancels it. The others go on.
func (s *Stream) lose(work []*watcher, compact mvcc.Rev) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return
	}
	for _, w := range work {
		switch {
		case w.state == gone:
		case w.next >= compact:
			s.late = append(s.late, w)
		default:
			w.state = lost
			s.nBehind--
			s.nLost++
			h.stats.Slow--
			it := s.queue.push(final, w)
			it.resp.ID, it.resp.Canceled, it.resp.CompactRev = w.id, true, compact
		}
	}
}
