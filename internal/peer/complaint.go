package peer

import (
	"sync"
	"time"
)

// sameComplaint is the least time between two log lines of the same trouble.
const sameComplaint = time.Minute

// complaint keeps trouble that goes on from filling the log.
type complaint struct {
	mu     sync.Mutex
	said   string
	at     time.Time
	missed int // times it was not said since the last line
}

// due says whether to tell of some trouble now, and how many times any was not told of since the last line.
func (c *complaint) due(trouble string) (missed int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if trouble == c.said && time.Since(c.at) < sameComplaint {
		c.missed++
		return 0, false
	}
	missed = c.missed
	c.said, c.at, c.missed = trouble, time.Now(), 0
	return missed, true
}
