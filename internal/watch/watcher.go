package watch

import "github.com/keelson-db/keelson/internal/mvcc"

// Create asks for a new watcher, in the words of the wire.
type Create struct {
	// ID is the wished identity; zero lets the stream choose.
	ID int64
	// Key and End name the range: no End means one key, an End of "\0" everything from Key on; an empty Key
	// means the first possible one.
	Key, End []byte
	// Start is the first wanted revision; zero means what comes after this moment.
	Start mvcc.Rev
	// NoPut and NoDelete leave out one kind of event.
	NoPut, NoDelete bool
	// PrevKV asks for the replaced record with each event.
	PrevKV bool
	// ProgressNotify asks for a notice now and then while there are no events.
	ProgressNotify bool
	// Fragment allows one revision to be divided over several messages.
	Fragment bool
}

// state says who looks after a watcher's events.
type state uint8

const (
	attached state = iota // the Hub: the watcher is in the match tree
	behind                // the stream's sender reads history for it
	lost                  // nobody: its next revision was compacted; it keeps its ID until the client cancels it
	gone                  // nobody: cancelled; what is still queued for it is dropped
)

// watcher is one cursor. The Hub's mutex guards it, but for two fields that the sender uses alone while the
// watcher is behind: found, and the seat (group, slot), which the match tree uses only while it is attached.
type watcher struct {
	stream *Stream
	id     int64
	from   string
	to     upper
	point  bool
	opts   Create

	state  state
	next   mvcc.Rev // everything wanted before this revision was queued
	open   *item    // queued events that may take more, or nil
	active bool     // it had events since the last progress tick

	group *group
	slot  int
	found []*mvcc.Event
}

// newWatcher normalises the range; ok is false if it is empty.
func newWatcher(s *Stream, c Create) (w *watcher, ok bool) {
	w = &watcher{stream: s, from: string(c.Key), opts: c}
	w.opts.Key, w.opts.End = nil, nil
	if len(c.Key) == 0 {
		w.from = "\x00"
	}
	switch end := string(c.End); end {
	case "":
		w.point = true
	case "\x00":
		w.to.open = true
	default:
		w.to.key = end
		return w, w.from < end
	}
	return w, true
}

// wants reports whether the filters let the event pass and the watcher does not have it yet.
func (w *watcher) wants(e *mvcc.Event) bool {
	if e.Pos.Rev < w.next {
		return false
	}
	if e.Delete {
		return !w.opts.NoDelete
	}
	return !w.opts.NoPut
}

// weight estimates what the event costs in a queue and on the wire.
func (w *watcher) weight(e *mvcc.Event) int64 {
	n := int64(len(e.KV)) + eventOverhead
	if w.opts.PrevKV {
		n += int64(len(e.KV))
	}
	return n
}

// eventOverhead is what an event takes beside its record (bytes).
const eventOverhead = 16
