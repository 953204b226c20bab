package transport

import (
	"time"

	"golang.org/x/net/http2"
)

// drainTime is how long a client may take to hear that it shall open no more streams.
const drainTime = 5 * time.Second

// drainPing is what the ping says by which we learn that a client has heard it.
var drainPing = [8]byte{'k', 'e', 'e', 'l', 'd', 'o', 'n', 'e'}

// drain ends the connection gently. The client is told to open no more streams; what it opened before it heard that is
// served, so the last stream is named only when it has answered a ping that was sent behind. The connection ends when
// all calls have.
func (c *conn) drain() {
	c.out.Lock()
	if !c.greeted {
		c.out.Unlock()
		c.close() // it has not even begun
		return
	}
	if !c.draining && c.out.err == nil {
		c.draining = true
		_ = c.framer.WriteGoAway(maxWindow, http2.ErrCodeNo, []byte("graceful_stop"))
		_ = c.framer.WritePing(false, drainPing)
		c.drainAgain = time.AfterFunc(drainTime, func() {
			c.out.Lock()
			c.drained()
			c.out.pushElsewhere()
		})
	}
	c.out.pushElsewhere()
}

// drained names the last stream. The lock is held.
func (c *conn) drained() {
	if !c.draining || c.lastAllowed > 0 || c.out.err != nil {
		return
	}
	c.drainAgain.Stop()
	_ = c.framer.WriteGoAway(c.lastID, http2.ErrCodeNo, []byte("graceful_stop"))
	c.lastAllowed = max(c.lastID, 1)
	c.endIfDone()
}

// endIfDone ends a connection that is drained and has no more calls. The lock is held.
func (c *conn) endIfDone() {
	if c.lastAllowed > 0 && c.open == 0 && !c.ended && c.out.err == nil {
		c.ended = true
		go c.end()
	}
}

// end closes the connection when all is written, and the client has had time to do so itself.
func (c *conn) end() {
	c.out.Lock()
	for (c.out.writing || len(c.out.pending) > 0) && c.out.err == nil {
		c.out.startWriting()
		c.out.written.Wait()
	}
	c.out.Unlock()
	time.AfterFunc(lingerTime, c.close)
}
