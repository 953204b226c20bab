package cluster

import (
	"testing"

	"github.com/keelson-db/keelson/test/harness"
)

// someCalls is how many answered calls show that a cluster works.
const someCalls = 60

// TestKills kills the leader, a follower and everybody, under load.
func TestKills(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{})
	load := c.Load(t)
	load.Await(t, someCalls)
	for range rounds(1, 10) {
		leader := c.Leader(t)
		leader.Kill9(t)
		load.Await(t, someCalls)
		c.Start(t, leader)

		follower := c.Followers(t)[0]
		follower.Kill9(t)
		load.Await(t, someCalls)
		c.Start(t, follower)
		load.Await(t, someCalls)

		for _, m := range c.Members {
			m.Kill9(t)
		}
		for _, m := range c.Members {
			c.Launch(t, m)
		}
		c.WaitHealthy(t)
		load.Await(t, someCalls)
	}
	load.Finish(t)
	c.SameData(t, c.Members...)
}
