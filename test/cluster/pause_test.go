package cluster

import (
	"testing"

	"github.com/keelson-db/keelson/test/harness"
)

// TestAPausedLeaderIsNoLeader stops the leader in the middle of its work, until another one leads, and lets it go on as
// if no time had passed. Clients have reads under way at it all the time; none may be answered with what is old.
func TestAPausedLeaderIsNoLeader(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: quick()})
	load := c.Load(t)
	leases := c.Leases(t, leaseTTL, 3, 2)
	load.Await(t, someCalls)
	for range rounds(3, 50) {
		leader := c.Leader(t)
		leader.Pause(t)
		c.Leader(t, leader)
		load.Await(t, someCalls)
		leader.Resume(t)
		load.Await(t, someCalls)
	}
	c.WaitHealthy(t)
	if onKeelson() {
		// A leader of a real etcd that was paused may renew a lease when another one leads already, which knows nothing of it.
		leases.Finish(t)
	}
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// TestAPausedFollowerIsMissedByNobody stops a follower, lets the others go on, and finds it up to date afterwards.
func TestAPausedFollowerIsMissedByNobody(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{})
	load := c.Load(t)
	for range rounds(1, 20) {
		leader := c.Leader(t)
		follower := c.Followers(t)[0]
		follower.Pause(t)
		load.Await(t, 2*someCalls)
		if now := c.Leader(t, follower); now != leader {
			t.Errorf("%s leads instead of %s, though only a follower was away", now.Name, leader.Name)
		}
		follower.Resume(t)
		load.Await(t, someCalls)
	}
	c.WaitHealthy(t)
	load.Finish(t)
	c.SameData(t, c.Members...)
}
