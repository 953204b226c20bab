package mvcc

import (
	"slices"
	"sort"
)

const (
	// DefaultHistoryBytes bounds the ring of recent events, in bytes, with the
	// fixed cost of each event. A previous record that an event brought along
	// is not counted; together they at most double it.
	DefaultHistoryBytes = 32 << 20
	// DefaultHistoryEvents bounds the ring in events.
	DefaultHistoryEvents = 1 << 18
	// segmentEvents is the number of events in one piece of the ring; pieces
	// are what is evicted.
	segmentEvents = 128
	// segmentShare is the part of the ring's bytes that closes a piece early,
	// so that eviction stays fine-grained with large values.
	segmentShare = 32
)

// segment is a piece of the ring. It is append-only: readers see as many of
// the last segment's events as the state that they hold says.
type segment struct {
	events [segmentEvents]*Event
	n      int   // filled; settled once the segment is no longer the last one
	bytes  int64 // sum of the events' sizes
}

// history is a readable state of the ring: all events after floor.
type history struct {
	segments []*segment
	lastLen  int // events of the last segment that belong to this state
	floor    Rev
	events   int
	bytes    int64
}

// length is the number of visible events of segment i.
func (h *history) length(i int) int {
	if i == len(h.segments)-1 {
		return h.lastLen
	}
	return h.segments[i].n
}

// after yields the events with a revision above rev, in order. The caller has
// checked that rev is not below the floor.
func (h *history) after(rev Rev, yield func(*Event) bool) {
	first := sort.Search(len(h.segments), func(i int) bool {
		return h.segments[i].events[h.length(i)-1].Pos.Rev > rev
	})
	for i := first; i < len(h.segments); i++ {
		events := h.segments[i].events[:h.length(i)]
		from := 0
		if i == first {
			from = sort.Search(len(events), func(k int) bool { return events[k].Pos.Rev > rev })
		}
		for _, e := range events[from:] {
			if !yield(e) {
				return
			}
		}
	}
}

// add appends an event; the writer alone calls it, on its own copy of the
// state, and publishes the copy afterwards.
func (h *history) add(e *Event, maxBytes int64) {
	var last *segment
	if n := len(h.segments); n > 0 {
		last = h.segments[n-1]
	}
	if last == nil || h.lastLen == segmentEvents || last.bytes > maxBytes/segmentShare {
		last = &segment{}
		h.segments = append(slices.Clone(h.segments), last)
		h.lastLen = 0
	}
	last.events[h.lastLen] = e
	last.bytes += e.size()
	h.lastLen++
	last.n = h.lastLen
	h.events++
	h.bytes += e.size()
}

// trim evicts the oldest segments while the ring is over its bounds. extra is
// what the events hold beyond their own size. It returns what the evicted
// events held of that.
func (h *history) trim(o Options, extra int64, evict func(*Event) int64) (freed int64) {
	for len(h.segments) > 1 && (h.bytes+extra-freed > o.HistoryBytes || h.events > o.HistoryEvents) {
		old := h.segments[0]
		for _, e := range old.events[:old.n] {
			freed += evict(e)
		}
		h.floor = old.events[old.n-1].Pos.Rev
		h.events -= old.n
		h.bytes -= old.bytes
		h.segments = slices.Clone(h.segments[1:])
	}
	return freed
}
