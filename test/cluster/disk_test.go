package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/keelson-db/keelson/test/harness"
)

// slowSync is how long each sync of a slow disk takes, longer than an election timeout.
const slowSync = 1200 * time.Millisecond

// disks founds a cluster whose members have a disk each.
func disks(t *testing.T, args ...string) (*harness.Cluster, []*harness.Disk) {
	t.Helper()
	all := make([]*harness.Disk, 3)
	for i := range all {
		all[i] = harness.NewDisk(t)
	}
	return harness.Found(t, harness.Founding{Args: args, Member: func(place int, opt *harness.Options) {
		opt.Dir = all[place].Path("member")
	}}), all
}

// TestASlowDiskOfAFollower slows one follower's syncs: the others do not wait for it and nobody calls an election.
func TestASlowDiskOfAFollower(t *testing.T) {
	t.Parallel()
	c, all := disks(t)
	load := c.Load(t)
	load.Await(t, someCalls)
	leader, slow := c.Leader(t), c.Followers(t)[0]
	before, err := leader.Status(t)
	if err != nil {
		t.Fatal(err)
	}
	all[slow.Place].DelaySync(slowSync)
	hurt := all[slow.Place].Syncs()
	harness.Eventually(t, harness.SettleLimit, "a few slow syncs", func() error {
		load.Await(t, someCalls)
		if n := all[slow.Place].Syncs() - hurt; n < 4 {
			return fmt.Errorf("%d so far", n)
		}
		return nil
	})
	after, err := leader.Status(t)
	if err != nil {
		t.Fatal(err)
	}
	if before.RaftTerm != after.RaftTerm {
		t.Errorf("a follower's slow disk moved the term from %d to %d", before.RaftTerm, after.RaftTerm)
	}
	all[slow.Place].DelaySync(0)
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// TestASlowDiskOfTheLeader slows the leader's syncs. Its heartbeats do not wait for them, so it stays or hands over, but
// nothing is lost, and the cluster serves.
func TestASlowDiskOfTheLeader(t *testing.T) {
	t.Parallel()
	c, all := disks(t, quick()...)
	load := c.Load(t)
	load.Await(t, someCalls)
	slow := c.Leader(t)
	all[slow.Place].DelaySync(slowSync / 2)
	load.Await(t, 2*someCalls)
	all[slow.Place].DelaySync(0)
	c.WaitHealthy(t)
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// TestAStuckDiskOfTheLeader lets no sync of the leader return: another one must lead then.
func TestAStuckDiskOfTheLeader(t *testing.T) {
	t.Parallel()
	if !onKeelson() {
		t.Skip("a real etcd whose leader cannot write stays leader for as long as its heartbeats go out")
	}
	c, all := disks(t, quick()...)
	load := c.Load(t)
	load.Await(t, someCalls)
	stuck := c.Leader(t)
	all[stuck.Place].Hang()
	c.Leader(t, stuck)
	load.Await(t, 2*someCalls)
	all[stuck.Place].Resume()
	load.Await(t, someCalls)
	harness.Eventually(t, harness.SettleLimit, "the member with the stuck disk serves again", func() error {
		if stuck.Proc().Exited() {
			c.Launch(t, stuck)
		}
		_, err := stuck.Status(t)
		return err
	})
	c.WaitHealthy(t)
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// TestAFullDisk lets the disk of each member in turn run full. The member may end or refuse; the others go on, and it
// comes back when there is space.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	c, all := disks(t, quick()...)
	load := c.Load(t)
	load.Await(t, someCalls)
	for range rounds(1, 5) {
		for _, full := range []*harness.Member{c.Followers(t)[0], c.Leader(t)} {
			all[full.Place].Fill(true)
			load.Await(t, 2*someCalls)
			all[full.Place].Fill(false)
			if full.Proc().Exited() {
				c.Start(t, full)
			}
			load.Await(t, someCalls)
			if full.Proc().Exited() {
				c.Start(t, full) // what it could not write made it end only now
			}
			c.WaitHealthy(t)
		}
	}
	load.Finish(t)
	c.SameData(t, c.Members...)
}
