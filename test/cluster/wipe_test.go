package cluster

import (
	"testing"

	"github.com/keelson-db/keelson/test/harness"
)

// TestAWipedMemberIsRefused takes all data from a member and starts it as it was started first. It must not take part
// again as if nothing had happened: it has forgotten what it promised and voted. The others lose nothing.
func TestAWipedMemberIsRefused(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: quick()})
	load := c.Load(t)
	load.Await(t, someCalls)
	wiped := c.Followers(t)[0]
	load.Leave(wiped)
	wiped.Kill9(t)
	wiped.Wipe(t)
	c.Launch(t, wiped)
	code, err := wiped.Proc().Wait(harness.SettleLimit)
	if err != nil || code == 0 {
		t.Errorf("a wiped member went on: exit code %d, %v", code, err)
	}
	if !wiped.Log.Contains("has already been bootstrapped") {
		t.Errorf("a wiped member does not say why it cannot start:\n%s", wiped.Log.Tail(1000))
	}
	load.Await(t, someCalls)
	// What an operator does then.
	c.Remove(t, wiped)
	fresh := c.Add(t, false)
	c.Start(t, fresh)
	c.WaitHealthy(t)
	load.Join(t, fresh)
	load.Await(t, someCalls)
	load.Finish(t)
	c.SameData(t, c.Running()...)
}

// TestAWipedMemberComesBack takes all data from members again and again, the leader and followers, and lets each come
// back by itself: nothing that was acknowledged is lost, and no member votes with a false memory. A real etcd has no such
// thing: with --initial-cluster-state existing it ends in "tocommit out of range" or worse.
func TestAWipedMemberComesBack(t *testing.T) {
	t.Parallel()
	if !onKeelson() {
		t.Skip("only Keelson lets a member come back by itself")
	}
	c := harness.Found(t, harness.Founding{Args: append(quick(), "--auto-rejoin")})
	load := c.Load(t)
	load.Await(t, someCalls)
	for i := range rounds(2, 100) {
		wiped := c.Leader(t)
		if i%2 == 1 {
			wiped = c.Followers(t)[i/2%2]
		}
		wiped.Kill9(t)
		wiped.Wipe(t)
		c.Start(t, wiped)
		c.WaitHealthy(t)
		load.Await(t, someCalls)
		tableShows(t, c, c.Leader(t), 3, 0)
	}
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// TestAnOldCopyOfAMemberIsRefused puts a copy of a member's directory that is older than what the member has
// acknowledged since in its place. Its log has forgotten entries that made a majority, so it must not vote with it.
func TestAnOldCopyOfAMemberIsRefused(t *testing.T) {
	t.Parallel()
	if !onKeelson() {
		t.Skip("a real etcd cannot tell an old copy from its member")
	}
	c := harness.Found(t, harness.Founding{Args: quick()})
	load := c.Load(t)
	load.Await(t, someCalls)
	old := c.Followers(t)[0]
	load.Leave(old)
	old.Kill9(t)
	backup := old.SaveDir(t)
	c.Start(t, old)
	c.WaitHealthy(t)
	load.Await(t, 3*someCalls)
	c.WaitApplied(t, harness.SettleLimit)
	old.Kill9(t)
	old.Wipe(t)
	old.RestoreDir(t, backup)
	c.Launch(t, old)
	// Whatever the member does, the others decide: with only one of them there is no majority that may be believed.
	load.Await(t, someCalls)
	leader := c.Leader(t, old)
	other := c.Members[3-old.Place-leader.Place]
	other.Kill9(t)
	harness.Eventually(t, harness.SettleLimit, "no leader may count the old copy's vote", func() error { return seesNone(t, leader) })
	c.Start(t, other)
	load.Await(t, someCalls)
	load.Finish(t)
}
