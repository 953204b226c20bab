package watch

import "github.com/keelson-db/keelson/internal/mvcc"

// Response is the next thing to send on a stream. It is valid until the next call of Next.
type Response struct {
	// ID is the watcher, or NoID.
	ID int64
	// Rev is the revision for the header; zero for a watcher whose history was compacted.
	Rev mvcc.Rev
	// Created and Canceled mark answers to requests and the end of a watcher.
	Created, Canceled bool
	// CompactRev is set when the watcher ended because of a compaction.
	CompactRev mvcc.Rev
	// Reason says why a watcher was refused.
	Reason string
	// Fragment allows the response to be divided.
	Fragment bool
	// Events are whole revisions in order; none in answers and progress notices.
	Events []*mvcc.Event
	// PrevKV asks for the events' replaced records.
	PrevKV bool
	// PrevAfter limits that to events after this revision: what older ones replaced counts as compacted, even
	// if it can still be had.
	PrevAfter mvcc.Rev
}

// NoID stands for no watcher in a response: for a refused one, or for all of the stream.
const NoID = -1

// kind tells what an item is, for accounts and for cancelling.
type kind uint8

const (
	control kind = iota // an answer to a request; always sent
	final               // the notice that a watcher's history was compacted; always sent
	notice              // progress of one watcher; dropped when that is cancelled
	data                // events of one watcher; dropped when that is cancelled
)

// item is one response that waits.
type item struct {
	kind  kind
	w     *watcher // nil for answers
	resp  Response
	bytes int64
	epoch uint64 // the stream's epoch at creation; a later epoch seals the item
}

// full reports whether an event of revision rev must begin a new item.
func (it *item) full(rev mvcc.Rev) bool {
	if len(it.resp.Events) < maxResponseEvents && it.bytes < maxResponseBytes {
		return false
	}
	return it.resp.Events[len(it.resp.Events)-1].Pos.Rev != rev
}

// queue is what waits to be sent on one stream, first in first out.
type queue struct {
	items    []*item
	head     int
	spare    []*item
	controls int   // answers in the queue
	notices  int   // progress notices in the queue
	events   int   // events in the queue
	bytes    int64 // their estimated size
}

func (q *queue) len() int { return len(q.items) - q.head }

// push appends an empty item of a kind.
func (q *queue) push(k kind, w *watcher) *item {
	var it *item
	if n := len(q.spare); n > 0 {
		it, q.spare = q.spare[n-1], q.spare[:n-1]
	} else {
		it = new(item)
	}
	it.kind, it.w = k, w
	switch k {
	case control:
		q.controls++
	case notice:
		q.notices++
	}
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 { // moving pays only when it makes much room
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, it)
	return it
}

// take adds an event to an item of this queue.
func (q *queue) take(it *item, e *mvcc.Event, weight int64) {
	it.resp.Events = append(it.resp.Events, e)
	it.bytes += weight
	q.events++
	q.bytes += weight
}

// pop removes the oldest item, which the caller gives back with recycle.
func (q *queue) pop() *item {
	it := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	switch it.kind {
	case control:
		q.controls--
	case notice:
		q.notices--
	}
	q.events -= len(it.resp.Events)
	q.bytes -= it.bytes
	return it
}

// recycle keeps an item for reuse, without what it referred to.
func (q *queue) recycle(it *item) {
	if len(q.spare) >= keptItems {
		return
	}
	events := it.resp.Events
	if cap(events) > keptEvents {
		events = nil
	}
	clear(events)
	*it = item{resp: Response{Events: events[:0]}}
	q.spare = append(q.spare, it)
}
