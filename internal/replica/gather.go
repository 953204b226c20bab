package replica

import "time"

const (
	// gatherFrom is from how many parts on, in its last batch, a leader waits for more before it makes the next one. Parts
	// are the commands of its own clients and what followers have forwarded at one time. Fewer clients wait for nothing.
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
	parts    int           // of the last batch
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
	if g.parts < gatherFrom {
		return false
	}
	limit := min(g.round/2, gatherMax)
	if g.free.IsZero() {
		g.free = now
		g.timer.Reset(limit)
	}
	return now.Sub(g.free) < limit
}

// made notes a batch of so many parts.
func (g *gather) made(parts int, now time.Time) {
	g.parts, g.proposed, g.free = parts, now, time.Time{}
}
