package web

import (
	"context"
	"net"
	"sync"
)

// Slots bound the connections of several Splitters together, so that clients never use up the files that the
// process may open: one that storage cannot open for writing ends the server.
type Slots struct{ taken chan struct{} }

// NewSlots are so many slots.
func NewSlots(n int) *Slots { return &Slots{make(chan struct{}, n)} }

// try takes a slot if one is free.
func (s *Slots) try() (*slot, bool) {
	if s == nil {
		return nil, true
	}
	select {
	case s.taken <- struct{}{}:
		return &slot{of: s}, true
	default:
		return nil, false
	}
}

// wait takes a slot as soon as one is free, unless ctx ends before.
func (s *Slots) wait(ctx context.Context) (*slot, bool) {
	select {
	case s.taken <- struct{}{}:
		return &slot{of: s}, true
	case <-ctx.Done():
		return nil, false
	}
}

// slot is what one connection holds until it is closed; nil where nobody counts.
type slot struct {
	of   *Slots
	once sync.Once
}

// give gives the slot back, once.
func (s *slot) give() {
	if s != nil {
		s.once.Do(func() { <-s.of.taken })
	}
}

// place finds a slot for a connection that was accepted. When all are taken those who have said nothing make
// room; when there is none of these, everybody waits who comes now, until somebody else leaves.
func (s *Splitter) place(ctx context.Context, conn net.Conn) (*slot, bool) {
	for {
		if got, ok := s.slots.try(); ok {
			return got, true
		}
		silent := s.waiting.takeOldest()
		if silent == nil {
			silent = s.handshakes.takeOldest()
		}
		if silent == nil {
			break
		}
		s.evict(silent)
	}
	if missed, ok := s.fullComplaint.due(); ok {
		s.log.Warn("there are as many client connections as there may be; new ones wait until others end",
			"remote", conn.RemoteAddr().String(), "limit", cap(s.slots.taken), "not-logged-before", missed,
			"hint", "raise the limit of open files (ulimit -n) or find the client that opens so many")
	}
	return s.slots.wait(ctx)
}
