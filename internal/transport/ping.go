package transport

import (
	"time"

	"golang.org/x/net/http2"
)

const (
	// maxPingStrikes is how many pings too many a client may send.
	maxPingStrikes = 2
	// idlePingTime is the least time between two pings of a client that has no call under way.
	idlePingTime = 2 * time.Hour
)

// pingJudge counts a client's pings. The connection's lock guards it.
type pingJudge struct {
	last    time.Time
	strikes int
}

// onPing answers a ping, and ends the connection of a client that pings too often: it costs us and proves nothing. A
// ping after we have sent something is fine, because many clients measure so how much they may send.
func (c *conn) onPing(f *http2.PingFrame) error {
	if f.IsAck() {
		if f.Data == drainPing {
			c.drained()
		}
		return nil
	}
	_ = c.framer.WritePing(true, f.Data)
	c.out.answer()
	now := time.Now()
	last := c.pings.last
	c.pings.last = now
	if c.sent {
		c.sent, c.pings.strikes = false, 0
		return nil
	}
	least := c.server.o.Enforcement.MinTime
	if len(c.calls) == 0 && !c.server.o.Enforcement.PermitWithoutStream {
		least = idlePingTime
	}
	if now.Sub(last) < least {
		c.pings.strikes++
	}
	if c.pings.strikes > maxPingStrikes {
		return connError{http2.ErrCodeEnhanceYourCalm, "too_many_pings"}
	}
	return nil
}

// startKeepalive begins to watch whether the client is there. The lock is held.
func (c *conn) startKeepalive() {
	c.keepalive = time.AfterFunc(c.server.o.Keepalive.Time, c.checkAlive)
}

// checkAlive pings a client that was silent for long, and closes the connection of one that does not answer.
func (c *conn) checkAlive() {
	o := c.server.o.Keepalive
	heard := time.Unix(0, c.readAt.Load())
	silent := time.Since(heard)
	c.out.Lock()
	switch {
	case c.keepalive == nil || c.out.err != nil:
	case silent < o.Time:
		c.pinged = time.Time{}
		c.keepalive.Reset(o.Time - silent)
	case c.pinged.IsZero() || heard.After(c.pinged):
		c.pinged = time.Now()
		_ = c.framer.WritePing(false, [8]byte{})
		c.keepalive.Reset(min(o.Time, o.Timeout))
	case time.Since(c.pinged) < o.Timeout:
		c.keepalive.Reset(o.Timeout - time.Since(c.pinged))
	default:
		c.out.Unlock()
		c.close()
		return
	}
	c.out.pushElsewhere()
}

// stopTimers ends what waits for a time. The lock is held.
func (c *conn) stopTimers() {
	for _, t := range []*time.Timer{c.keepalive, c.drainAgain} {
		if t != nil {
			t.Stop()
		}
	}
	c.keepalive = nil
}
