package web

import (
	"container/list"
	"sync"
)

// waiter is a connection that has not said yet what it speaks.
type waiter struct {
	conn  sniffed
	place *list.Element // its place among the silent, nil once it was taken; guarded by waitingRoom.mu
}

// waitingRoom bounds the connections that no server owns yet. Its silent ones stand in the order they
// came, so that the one to give up is found at once. Whoever takes a waiter out owns its connection.
type waitingRoom struct {
	mu     sync.Mutex
	limit  int
	inside int       // entered and not left; those being delivered are inside and no longer silent
	silent list.List // of *waiter, oldest first
	closed bool
}

func newWaitingRoom(limit int) *waitingRoom { return &waitingRoom{limit: limit} }

// enter lets w in. When the room is full the oldest silent one is taken out for the caller to close; when
// nobody inside is silent either, w is refused.
func (r *waitingRoom) enter(w *waiter) (evicted *waiter, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, false
	}
	if r.inside >= r.limit {
		if evicted = r.oldest(); evicted == nil {
			return nil, false
		}
	}
	r.inside++
	w.place = r.silent.PushBack(w)
	return evicted, true
}

// take makes the caller the owner of w's connection; it fails when somebody else took it before.
func (r *waitingRoom) take(w *waiter) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.place == nil {
		return false
	}
	r.silent.Remove(w.place)
	w.place = nil
	return true
}

// leave gives up one place. Every waiter that entered leaves once, evicted ones too: one that was evicted
// counts until its goroutine has seen the closed connection and ended, which takes no waiting.
func (r *waitingRoom) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inside--
}

// takeOldest takes out the one that has been silent longest, or nil.
func (r *waitingRoom) takeOldest() *waiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.oldest()
}

func (r *waitingRoom) oldest() *waiter {
	front := r.silent.Front()
	if front == nil {
		return nil
	}
	w := r.silent.Remove(front).(*waiter)
	w.place = nil
	return w
}

// shut refuses further waiters and closes the silent ones.
func (r *waitingRoom) shut() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	for w := r.takeOldest(); w != nil; w = r.takeOldest() {
		w.conn.Close()
	}
}
