package replica

import (
	"testing"
	"time"
)

// TestWhoWaitsForMore plays the clock of a leader: who is to wait, and until when.
func TestWhoWaitsForMore(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		commands    int
		round, want time.Duration
	}{
		"a lone client":         {1, 10 * ms, 0},
		"few":                   {gatherFrom - 1, 10 * ms, 0},
		"many":                  {gatherFrom, 10 * ms, gatherMax},
		"many, a quick quorum":  {gatherFrom, ms, ms / 2},
		"many, a very slow one": {1000, time.Hour, gatherMax},
	} {
		g, now := newGather(), time.Unix(1_000_000, 0)
		g.made(c.commands, now)
		now = now.Add(c.round)
		g.acknowledged(now)
		g.acknowledged(now.Add(time.Hour)) // it was, already
		begin := now.Add(time.Minute)      // nothing came for long
		waited := time.Duration(0)
		for g.waits(begin.Add(waited)) {
			waited += ms / 10
		}
		if waited != c.want {
			t.Errorf("%s: waited %v, want %v", name, waited, c.want)
		}
		g.made(1, begin.Add(waited))
		if g.waits(begin.Add(waited + ms)) {
			t.Errorf("%s: waited after a small batch", name)
		}
	}
}
