package harness

import (
	"bytes"
	"sync"
)

// maxTranscript is the number of bytes kept of one process's output; older ones are dropped.
const maxTranscript = 16 << 20

// Transcript is what a process has written so far. It may be read while the process writes.
type Transcript struct {
	mu  sync.Mutex
	buf []byte
}

// Write appends output; it never fails, because a test must not stop the process it watches.
func (t *Transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - maxTranscript; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

// String returns everything kept so far.
func (t *Transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// Contains says whether the text has been written.
func (t *Transcript) Contains(text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Contains(t.buf, []byte(text))
}

// Tail returns the last n bytes, for messages.
func (t *Transcript) Tail(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf[max(0, len(t.buf)-n):])
}
