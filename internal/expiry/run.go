package expiry

import (
	"context"
	"sync"
	"time"
)

const (
	// pace is the shortest time between two looks at a table that changes all the time. A deadline is
	// noticed that much later at most.
	pace = 100 * time.Millisecond
	// idleLook is how often a member that does not lead looks whether it does: nothing tells when it has
	// applied enough to be sure.
	idleLook = 500 * time.Millisecond
)

// Run ends leases and records what they have left until the context is done. It waits for the commands
// that it has under way, which end with the context too.
func (c *Clock) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed, leader := c.leases.Changed(), c.leadership.LeaderChanged()
		pause := c.look(ctx, &work)
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			// A lease that is new or gone moves no deadline closer than its own, so there is time to let
			// others come too.
			timer.Reset(min(pause, pace))
			select {
			case <-ctx.Done():
				return nil
			case <-leader:
			case <-c.wake:
			case <-timer.C:
			}
		case <-leader:
		case <-c.wake:
		case <-timer.C:
		}
	}
}

// look starts what is due and returns the time until the next look.
func (c *Clock) look(ctx context.Context, work *sync.WaitGroup) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if !c.follow(now) {
		return idleLook
	}
	next := never
	for c.revoking < maxRevokes {
		batch, more := c.expired(now)
		if len(batch) > 0 {
			c.revoking++
			by := c.reign
			work.Go(func() { c.revoke(ctx, by, batch) })
			continue
		}
		if more {
			next = now
		} else if e := c.deadlines.first(); e != nil {
			next = e.due
		}
		break
	}
	return time.Duration(min(next, c.lookAtRecords(ctx, work, now)) - now)
}

// lookAtRecords starts the writer of records if there is something to write and nobody writes, and returns
// when there will be. A writer that ends wakes Run.
func (c *Clock) lookAtRecords(ctx context.Context, work *sync.WaitGroup, now instant) instant {
	select {
	case c.pen <- struct{}{}:
	default:
		return never
	}
	r, more := c.nextRecord(now)
	if r != nil {
		c.writing = true
		by := c.reign
		work.Go(func() { c.write(ctx, by, r) })
		return never
	}
	<-c.pen
	if more {
		return now
	}
	if front := c.longTerm.Front(); front != nil {
		return front.Value.(*entry).nextLook
	}
	return never
}
