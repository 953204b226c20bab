package replica

import "sync"

// mailbox passes values to one goroutine and never makes the sender wait. What bounds it is its senders:
// raft has only so much under way.
type mailbox[T any] struct {
	ready chan struct{} // holds a token while something may be inside

	mu     sync.Mutex
	values []T
	spare  []T
}

func newMailbox[T any]() *mailbox[T] {
	return &mailbox[T]{ready: make(chan struct{}, 1)}
}

func (m *mailbox[T]) put(v T) {
	m.leave(v)
	m.wake()
}

// leave puts in what can wait for the next value.
func (m *mailbox[T]) leave(v T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values = append(m.values, v)
}

func (m *mailbox[T]) wake() {
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// take returns everything inside. The slice is the caller's until it takes again.
func (m *mailbox[T]) take() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	values := m.values
	clear(m.spare[:cap(m.spare)])
	m.values, m.spare = m.spare[:0], values
	return values
}
