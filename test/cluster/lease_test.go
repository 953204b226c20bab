package cluster

import (
	"testing"
	"time"

	"github.com/keelson-db/keelson/test/harness"
)

// TestLeasesOutliveLeaders changes the leader in every way while leases are renewed and others run out: none ends before
// its time, all end when nobody renews them. A step of the machine's clock is not among the ways, because it would
// step for everybody else on the machine too, and a static binary cannot be given a clock of its own; members count lease
// time by the monotonic clock, which no step moves.
func TestLeasesOutliveLeaders(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: quick()})
	load := c.Load(t)
	load.Await(t, someCalls)
	for range rounds(1, 20) {
		leases := c.Leases(t, leaseTTL, 4, 4)
		var leader *harness.Member
		c.MoveLeader(t, c.Followers(t)[0])
		load.Await(t, someCalls)

		leader = c.Leader(t)
		leader.Kill9(t)
		load.Await(t, someCalls)
		c.Start(t, leader)

		leader = c.Leader(t)
		leader.Pause(t)
		c.Leader(t, leader)
		load.Await(t, someCalls)
		leader.Resume(t)

		leader = c.Leader(t)
		leader.Stop(t)
		load.Await(t, someCalls)
		c.Start(t, leader)
		leases.AwaitEnd(t)
		if onKeelson() {
			leases.Finish(t) // see TestAPausedLeaderIsNoLeader
		}
	}
	c.WaitHealthy(t)
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// TestALeaderOfThePastRenewsNothing stops the leader, waits for the next one, and has leases renewed through the one that is
// stopped. When it goes on it may still believe that it leads: what it answers then, the next one must keep too.
func TestALeaderOfThePastRenewsNothing(t *testing.T) {
	t.Parallel()
	if !onKeelson() {
		t.Skip("a leader of a real etcd that was paused may renew leases that the next one then ends early")
	}
	c := harness.Found(t, harness.Founding{Args: quick()})
	for range rounds(2, 30) {
		leader := c.Leader(t)
		client := c.Client(t, leader)
		leases := c.Leases(t, 2*leaseTTL, 0, 8)
		if n := leases.RenewOnce(client)(); n != 8 {
			t.Errorf("%d of 8 leases were renewed by a sound leader", n)
		}
		leader.Pause(t)
		next := c.Leader(t, leader)
		// The next leader has given all leases their time by now; a renewal that begins later promises more.
		<-time.After(leaseTTL * time.Second / 2)
		renewed := leases.RenewOnce(client)
		<-time.After(leaseTTL * time.Second / 4)
		leader.Resume(t)
		t.Logf("%s renewed %d leases when %s led", leader.Name, renewed(), next.Name)
		leases.Finish(t)
	}
}

// TestManyLeasesEndAfterAFailover lets many leases end while the leader changes; the next one ends them all, and
// serves meanwhile.
func TestManyLeasesEndAfterAFailover(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: quick()})
	load := c.Load(t)
	leases := c.Leases(t, 2*leaseTTL, 0, rounds(500, 5000))
	for range 2 {
		c.Leader(t).Kill9(t)
		for _, m := range c.Members {
			if m.Proc().Exited() {
				c.Start(t, m)
			}
		}
		load.Await(t, someCalls)
	}
	leases.Finish(t)
	load.Finish(t)
	c.SameData(t, c.Members...)
}
