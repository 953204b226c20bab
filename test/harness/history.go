package harness

import (
	"fmt"
	"sync"
	"time"
)

// CallKind is what a call does.
type CallKind string

const (
	// Get reads one key, linearizably.
	Get CallKind = "get"
	// GetAnywhere reads one key as the asked member has it, which may be old.
	GetAnywhere CallKind = "get anywhere"
	// Put writes one key.
	Put CallKind = "put"
	// Swap writes one key if it holds an expected value, and reads it otherwise.
	Swap CallKind = "swap"
	// Delete removes one key.
	Delete CallKind = "delete"
)

// Call is what a client asked. Values that are written are never the same twice.
type Call struct {
	Kind   CallKind
	Key    string
	Value  string // what is written
	Expect string // what a swap expects; empty means that the key is not there
}

// Answer is what a client was told.
type Answer struct {
	// Unknown means that the call may or may not have been done, now or later.
	Unknown bool
	// Unsent says that it cannot have been done, because there was no connection.
	Unsent bool
	// Revision is the store's when the call was done; that of the change, if it changed something.
	Revision int64
	// Done says that a swap has written or a delete has removed something.
	Done bool
	// Found, Value, Mod and Version are the key as a get, or a swap that did not write, has read it.
	Found        bool
	Value        string
	Mod, Version int64
}

// Op is one call of one client and what came of it.
type Op struct {
	Client     int
	Call       Call
	Answer     Answer
	Begin, End time.Duration // since the history began; the end of an unknown one is for ever
}

// forEver is when a call ends whose answer was lost: it may be done at any time.
const forEver = time.Duration(1 << 62)

// changed says whether the call is known to have changed the store.
func (o Op) changed() bool {
	switch {
	case o.Answer.Unknown:
		return false
	case o.Call.Kind == Put:
		return true
	default:
		return o.Answer.Done
	}
}

// read says whether the answer shows what the key held at the revision.
func (o Op) read() bool {
	if o.Answer.Unknown {
		return false
	}
	return o.Call.Kind == Get || o.Call.Kind == GetAnywhere || o.Call.Kind == Swap && !o.Answer.Done
}

// String tells the call in one line.
func (o Op) String() string {
	return fmt.Sprintf("client %d %v–%v: %+v -> %+v", o.Client, o.Begin, o.End, o.Call, o.Answer)
}

// History is what the clients of a test have asked and heard.
type History struct {
	mu    sync.Mutex
	began time.Time
	ops   []Op
	known int           // answered calls
	more  chan struct{} // closed and replaced when there is one more
}

// NewHistory begins a history.
func NewHistory() *History { return &History{began: time.Now(), more: make(chan struct{})} }

// now is the time since the history began, on a clock that no step of the machine's time moves.
func (h *History) now() time.Duration { return time.Since(h.began) }

// add records a call. Reads without an answer and what was never sent say nothing and are left out.
func (h *History) add(op Op) {
	if op.Answer.Unsent || op.Answer.Unknown && (op.Call.Kind == Get || op.Call.Kind == GetAnywhere) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
	if !op.Answer.Unknown && op.Call.Kind != GetAnywhere {
		h.known++
		close(h.more)
		h.more = make(chan struct{})
	}
}

// Answered is the number of calls that have been answered by a majority, and what is closed when there is another.
func (h *History) Answered() (int, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known, h.more
}

// Ops is a copy of what has been recorded.
func (h *History) Ops() []Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Op(nil), h.ops...)
}
