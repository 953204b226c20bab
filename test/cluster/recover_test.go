package cluster

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/keelson-db/keelson/test/harness"
)

// recoverLimit bounds one run of the command that rebuilds a cluster.
const recoverLimit = time.Minute

// rebuilt is what "keelson recover -o json" tells of what it found and did.
type rebuilt struct {
	Chosen struct {
		ID   string `json:"id"`
		Safe bool   `json:"nothing_acknowledged_is_lost"`
	} `json:"chosen"`
	Removed []struct{ Name string } `json:"removed"`
	Backup  string                  `json:"backup"`
}

// rebuildFrom runs "keelson recover" on the directories of members, and returns the one that was chosen.
func rebuildFrom(t *testing.T, members ...*harness.Member) (*harness.Member, rebuilt) {
	t.Helper()
	args := []string{"recover", "--yes", "-o", "json"}
	for _, m := range members {
		args = append(args, "--data-dir", m.Dir)
	}
	bins, err := harness.Build()
	if err != nil {
		t.Fatal(err)
	}
	result := harness.Run(t, recoverLimit, t.TempDir(), nil, bins.Server, args...)
	var r rebuilt
	for _, line := range strings.Split(strings.TrimSpace(result.Out), "\n") {
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("keelson recover says %q: %v\n%s", line, err, result.Err)
		}
	}
	if result.Code != 0 || r.Backup == "" {
		t.Fatalf("keelson recover ended with %d:\n%s%s", result.Code, result.Out, result.Err)
	}
	for _, m := range members {
		if fmt.Sprintf("%x", m.ID) == r.Chosen.ID {
			return m, r
		}
	}
	t.Fatalf("keelson recover has chosen %s, and that is nobody", r.Chosen.ID)
	return nil, r
}

// refill starts the member that is left, adds two to it, and waits until all three serve.
func refill(t *testing.T, c *harness.Cluster, load *harness.Load, left *harness.Member, gone ...*harness.Member) {
	t.Helper()
	c.Start(t, left)
	for range 2 {
		fresh := c.Add(t, false)
		c.Start(t, fresh)
		load.Join(t, fresh)
	}
	for _, m := range gone {
		c.Remove(t, m) // nobody knows them any more, but the harness has to hear it
	}
	c.WaitHealthy(t)
	load.Await(t, someCalls)
	tableShows(t, c, left, 3, 0)
}

// TestAClusterIsRebuiltFromTwoDirectories kills all members under load, in the middle of their writes, and loses the data of
// one. Two directories are known and one vote is not, so the command promises that nothing acknowledged is lost, and
// the clients' histories hold it to that. A member that was not chosen stops when it comes back.
func TestAClusterIsRebuiltFromTwoDirectories(t *testing.T) {
	t.Parallel()
	if !onKeelson() {
		t.Skip("a real etcd cannot tell whose log is the longest")
	}
	for range rounds(1, 10) {
		c := harness.Found(t, harness.Founding{Args: quick()})
		load := c.Load(t)
		load.Await(t, someCalls)
		lost := c.Members[rand.IntN(len(c.Members))]
		var known []*harness.Member
		for _, m := range c.Members {
			m.Kill9(t)
			if m != lost {
				known = append(known, m)
			}
		}
		lost.Wipe(t)
		left, r := rebuildFrom(t, known...)
		if !r.Chosen.Safe || len(r.Removed) != 2 {
			t.Errorf("two of three directories are called %+v", r)
		}
		other := known[0]
		if other == left {
			other = known[1]
		}
		load.Leave(lost)
		load.Leave(other)
		refill(t, c, load, left, lost, other)
		c.Launch(t, other)
		if _, err := other.Proc().Wait(harness.SettleLimit); err != nil {
			t.Errorf("a member of the old cluster goes on: %v", err)
		}
		if !other.Log.Contains("the member has been permanently removed from the cluster") {
			t.Errorf("a member of the old cluster does not say why it ended:\n%s", other.Log.Tail(1000))
		}
		load.Await(t, someCalls)
		load.Finish(t)
		c.SameData(t, c.Running()...)
	}
}

// onlyTheLeaderIsLeft kills a cluster under load: the followers for good, with their directories, and then the leader.
func onlyTheLeaderIsLeft(t *testing.T) (c *harness.Cluster, load *harness.Load, left *harness.Member, gone []*harness.Member) {
	t.Helper()
	c = harness.Found(t, harness.Founding{Args: quick()})
	load = c.Load(t)
	load.Await(t, someCalls)
	left, gone = c.Leader(t), c.Followers(t)
	for _, m := range gone {
		load.Leave(m)
		m.Kill9(t)
		m.Wipe(t)
	}
	left.Kill9(t)
	return c, load, left, gone
}

// TestAClusterIsRebuiltFromItsLeader kills the followers for good, under load, and deletes their directories. Nothing can have
// been acknowledged without the leader, though the command cannot know that; everything is there.
func TestAClusterIsRebuiltFromItsLeader(t *testing.T) {
	t.Parallel()
	if !onKeelson() {
		t.Skip("a real etcd has no such command")
	}
	c, load, left, gone := onlyTheLeaderIsLeft(t)
	if _, r := rebuildFrom(t, left); r.Chosen.Safe {
		t.Error("one of three directories is called enough")
	}
	refill(t, c, load, left, gone...)
	load.Finish(t)
	c.SameData(t, c.Running()...)
}

// TestForceNewClusterKeepsWhatWasAcknowledged does the same with etcd's flag, without a question or a copy.
func TestForceNewClusterKeepsWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	if !onKeelson() {
		t.Skip("a real etcd drops entries of which it has not noted yet that they are committed, acknowledged ones too")
	}
	c, load, left, gone := onlyTheLeaderIsLeft(t)
	left.SetArgs("--force-new-cluster")
	c.Start(t, left)
	load.Await(t, someCalls)
	if code := left.Stop(t); code != 0 {
		t.Errorf("it ended with %d when asked to", code)
	}
	left.SetArgs()
	refill(t, c, load, left, gone...)
	load.Finish(t)
	c.SameData(t, c.Running()...)
}
