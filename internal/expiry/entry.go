package expiry

import (
	"container/list"
	"math"
	"time"

	"github.com/keelson-db/keelson/internal/lease"
)

// instant is a time as nanoseconds since the clock was built, by the monotonic clock: setting the machine's
// time neither ends a lease nor prolongs it.
type instant int64

// never is later than every deadline.
const never = instant(math.MaxInt64)

// plus returns the instant some time later, or never where that cannot be expressed: the longest leases
// there are come close to it.
func (i instant) plus(d time.Duration) instant {
	if later := i + instant(d); later >= i {
		return later
	}
	return never
}

func (i instant) plusSeconds(s int64) instant {
	if s > int64(math.MaxInt64/time.Second) {
		return never
	}
	return i.plus(time.Duration(s) * time.Second)
}

// entry is one lease as the clock sees it. The mutex of the clock guards it.
type entry struct {
	id       lease.ID
	ttl      int64   // seconds granted
	deadline instant // never moves earlier

	due   instant // when Run looks at it; at or before deadline, or the next try of a revoke
	place int     // in the deadlines, -1 outside

	// expiring is set once the end is decided, and stays.
	expiring bool
	// gone is closed when the lease is revoked or this member leads no more; nil until somebody waits.
	gone chan struct{}

	// noted is what a restart may find recorded, in seconds; 0 only where it certainly finds nothing.
	noted    int64
	clearing *clearing     // the clearing that this entry is part of, nil for none
	longTerm *list.Element // its place among those that are checkpointed, nil for short leases
	nextLook instant       // when it is considered for a checkpoint
}

// left is the time until the deadline, 0 when it has passed.
func (e *entry) left(now instant) time.Duration {
	return time.Duration(max(e.deadline-now, 0))
}

// secondsToNote is what a checkpoint records now. It is rounded up, so that who begins with it gives the
// lease no less than it has, and it is at least 1, because 0 means the full time.
func (e *entry) secondsToNote(now instant) int64 {
	return max(1, int64((e.left(now)-1)/time.Second)+1)
}

// recorded is what a restart would give the lease, in seconds.
func (e *entry) recorded() int64 {
	if e.noted > 0 {
		return e.noted
	}
	return e.ttl
}

// wait returns the channel that tells the end of the entry.
func (e *entry) wait() <-chan struct{} {
	if e.gone == nil {
		e.gone = make(chan struct{})
	}
	return e.gone
}

// release wakes those who wait for the end of the entry.
func (e *entry) release() {
	if e.gone != nil {
		close(e.gone)
		e.gone = nil
	}
}
