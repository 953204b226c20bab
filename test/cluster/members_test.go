package cluster

import (
	"fmt"
	"testing"

	"github.com/keelson-db/keelson/test/harness"
)

// tableShows waits until etcdctl's table of the cluster, asked at one member, has a row without complaint for so many
// voters and learners, one of which leads.
func tableShows(t *testing.T, c *harness.Cluster, from *harness.Member, voters, learners int) {
	t.Helper()
	harness.Eventually(t, harness.SettleLimit, "endpoint status --cluster -w table", func() error {
		rows := c.Table(t, from)
		var leaders, learning int
		for _, r := range rows {
			if r.Errors != "" {
				return fmt.Errorf("the row of %s has the error %q", r.Endpoint, r.Errors)
			}
			if r.Leader {
				leaders++
			}
			if r.Learner {
				learning++
			}
		}
		if len(rows) != voters+learners || leaders != 1 || learning != learners {
			return fmt.Errorf("%d rows with %d leaders and %d learners: %+v", len(rows), leaders, learning, rows)
		}
		return nil
	})
}

// TestRollingRestart stops and starts every member in turn, the leader too, as an update does.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: quick()})
	load := c.Load(t)
	load.Await(t, someCalls)
	for range rounds(1, 10) {
		for _, m := range append(c.Followers(t), c.Leader(t)) {
			if code := m.Stop(t); code != 0 && onKeelson() {
				t.Errorf("%s ended with %d when asked to", m.Name, code)
			}
			load.Await(t, someCalls)
			c.Start(t, m)
			c.WaitHealthy(t)
			load.Await(t, someCalls)
		}
	}
	tableShows(t, c, c.Leader(t), 3, 0)
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// TestAMemberIsReplaced kills one member for good, once a follower and once the leader, and puts a new one in its place.
func TestAMemberIsReplaced(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: quick()})
	load := c.Load(t)
	load.Await(t, someCalls)
	for i := range rounds(2, 10) {
		dead := c.Followers(t)[0]
		if i%2 == 1 {
			dead = c.Leader(t)
		}
		load.Leave(dead)
		dead.Kill9(t)
		load.Await(t, someCalls)
		tableShows(t, c, c.Leader(t), 2, 0)
		c.Remove(t, dead)
		fresh := c.Add(t, false)
		c.Start(t, fresh)
		c.WaitHealthy(t)
		load.Join(t, fresh)
		load.Await(t, someCalls)
		tableShows(t, c, fresh, 3, 0)
	}
	load.Finish(t)
	c.SameData(t, c.Running()...)
}

// TestARemovedMemberStops removes a member that runs, which must end by itself and stay away when started again.
func TestARemovedMemberStops(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: quick()})
	load := c.Load(t)
	load.Await(t, someCalls)
	gone := c.Followers(t)[0]
	load.Leave(gone)
	c.Remove(t, gone)
	if _, err := gone.Proc().Wait(harness.SettleLimit); err != nil {
		t.Errorf("a removed member goes on: %v", err)
	}
	load.Await(t, someCalls)
	c.Launch(t, gone)
	code, err := gone.Proc().Wait(harness.SettleLimit)
	if err != nil {
		t.Errorf("a removed member that was started again goes on: %v", err)
	}
	if !gone.Log.Contains("the member has been permanently removed from the cluster") {
		t.Errorf("a removed member does not say why it ended with %d", code)
	}
	tableShows(t, c, c.Leader(t), 2, 0)
	load.Await(t, someCalls)
	load.Finish(t)
}

// TestFiveToThreeToFive removes the leader and a follower of five members and takes in two new ones, under load.
func TestFiveToThreeToFive(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Size: 5, Args: quick()})
	load := c.Load(t)
	load.Await(t, someCalls)
	for range rounds(1, 5) {
		for _, gone := range []*harness.Member{c.Leader(t), c.Followers(t)[0]} {
			load.Leave(gone)
			c.Remove(t, gone)
			if _, err := gone.Proc().Wait(harness.SettleLimit); err != nil {
				t.Errorf("a removed member goes on: %v", err)
			}
			load.Await(t, someCalls)
		}
		tableShows(t, c, c.Leader(t), 3, 0)
		for range 2 {
			fresh := c.Add(t, false)
			c.Start(t, fresh)
			c.WaitHealthy(t)
			load.Join(t, fresh)
			load.Await(t, someCalls)
		}
		tableShows(t, c, c.Leader(t), 5, 0)
	}
	load.Finish(t)
	c.SameData(t, c.Running()...)
}

// TestALearnerBecomesAVoter adds a learner, which counts for nothing until it is promoted: while it is away, the others
// do not miss it.
func TestALearnerBecomesAVoter(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: quick()})
	load := c.Load(t)
	load.Await(t, someCalls)
	learner := c.Add(t, true)
	c.Start(t, learner)
	tableShows(t, c, c.Leader(t), 3, 1)
	learner.Kill9(t)
	follower := c.Followers(t)[0]
	follower.Kill9(t)
	// Two of three voters are a majority; of four they were none.
	load.Await(t, someCalls)
	c.Start(t, follower)
	c.Start(t, learner)
	c.WaitApplied(t, harness.SettleLimit)
	c.Promote(t, learner)
	c.WaitHealthy(t)
	load.Join(t, learner)
	load.Await(t, someCalls)
	tableShows(t, c, learner, 4, 0)
	c.MoveLeader(t, learner)
	load.Await(t, someCalls)
	if now := c.Leader(t); now != learner {
		t.Logf("the leadership went on from the new voter to %s", now.Name)
	}
	load.Finish(t)
	c.SameData(t, c.Members...)
}
