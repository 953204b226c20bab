package peer

import (
	"sync"

	"github.com/keelson-db/keelson/internal/frames"
)

// maxQueueBytes bounds the frames that wait for one lane beside raft's messages, in bytes.
const maxQueueBytes = 8 << 20

// queue holds frames that are ready to go out on a lane. It is closed while the lane does not stand.
type queue struct {
	ready chan struct{} // holds a token while something may be inside

	mu     sync.Mutex
	opened bool
	buf    []byte
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

func (q *queue) open() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.opened = true
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.opened, q.buf = false, q.buf[:0]
}

// put adds a frame. It returns false when the lane does not stand or too much waits.
func (q *queue) put(k frames.Kind, body []byte) bool {
	q.mu.Lock()
	if !q.opened || len(q.buf)+frames.HeadBytes+len(body) > maxQueueBytes {
		q.mu.Unlock()
		return false
	}
	q.buf = frames.Append(q.buf, k, body...)
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
	return true
}

// take returns what is inside and keeps the given buffer for what comes next.
func (q *queue) take(buf []byte) []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	inside := q.buf
	q.buf = buf[:0]
	return inside
}
