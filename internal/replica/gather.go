package replica

import (
	"runtime"
	"time"
)

const (
	// gatherFrom is from how many commands on, in its last batch, a leader waits for more before it makes the next one.
	// Fewer clients wait for nothing.
	gatherFrom = 8
	// gatherMax bounds that wait. It also ends after half the time that the quorum took for the last batch, which is what
	// those wait on average who come while a batch is under way.
	gatherMax = 2 * time.Millisecond
)

// gather makes a busy leader's batches larger. When a quorum has a batch, its clients hear of it and many come back at
// once, just behind the next batch: so they would take turns in small groups, each paying for a sync and the messages to every
// member. A leader that waits a moment finds more of them in one batch. Run owns it.
type gather struct {
	timer    *time.Timer
	commands int           // in the last batch
	proposed time.Time     // when it was proposed; zero when the quorum has it
	round    time.Duration // how long the quorum took for the last one
	free     time.Time     // since when a batch could have been proposed; zero while there is none to make
}

func newGather() *gather {
	g := &gather{timer: time.NewTimer(gatherMax)}
	g.timer.Stop()
	return g
}

// acknowledged notes that a quorum has all that was proposed.
func (g *gather) acknowledged(now time.Time) {
	if !g.proposed.IsZero() {
		g.round, g.proposed = now.Sub(g.proposed), time.Time{}
	}
}

// waits reports whether a batch that could be proposed is to wait, and has the timer end that.
func (g *gather) waits(now time.Time) bool {
	if g.commands < gatherFrom {
		return false
	}
	limit := min(g.round/2, gatherMax)
	if g.free.IsZero() {
		g.free = now
		g.timer.Reset(limit)
	}
	return now.Sub(g.free) < limit
}

// made notes a batch of so many commands.
func (g *gather) made(commands int, now time.Time) {
	g.commands, g.proposed, g.free = commands, now, time.Time{}
}

// yield lets everybody who can go on now go first, when a command has come to a follower and it is not the only one: what
// those have to add is then forwarded in the same message. A leader waits instead.
func (r *Replica) yield() {
	if s := r.status.Load(); s.Leader != s.ID && r.proposals.pending() > 1 {
		runtime.Gosched()
	}
}
