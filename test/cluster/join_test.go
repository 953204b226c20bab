package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/keelson-db/keelson/test/harness"
)

const (
	fillValue   = 64 << 10 // bytes of one value that fills a store
	fillClients = 4
)

// copiesReceived is the metric of copies of the state that a member has taken in, copiesSent that of those it gave others.
const (
	copiesReceived = "etcd_network_snapshot_receive_success"
	copiesSent     = "etcd_network_snapshot_send_success"
)

// given adds up the copies that all members but one have given.
func given(t *testing.T, c *harness.Cluster, but *harness.Member) (n float64) {
	t.Helper()
	for _, m := range c.Members {
		if m != but {
			n += m.Metric(t, copiesSent)
		}
	}
	return n
}

// joinLimit bounds the time that a member may need to fetch a big store, on a machine that has other work too.
const joinLimit = 10 * time.Minute

// fill puts so many bytes into a cluster that nobody else uses at the time.
func fill(t *testing.T, c *harness.Cluster, bytes int) {
	t.Helper()
	client := c.Client(t)
	var group errgroup.Group
	for part := range fillClients {
		group.Go(func() error {
			value := make([]byte, fillValue)
			dice := rand.NewChaCha8([32]byte{byte(part)})
			for i := range bytes / fillValue / fillClients {
				_, _ = dice.Read(value) // random, so that nothing gets smaller on its way
				ctx, cancel := context.WithTimeout(context.Background(), harness.SettleLimit)
				_, err := client.Put(ctx, fmt.Sprintf("fill/%d/%06d", part, i), string(value))
				cancel()
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatalf("fill the store: %v", err)
	}
}

// TestAMemberJoinsABigStore adds a member to a big store under load; it must catch up, and nobody may miss a beat.
func TestAMemberJoinsABigStore(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: []string{"--quota-backend-bytes", fmt.Sprint(8 << 30)}})
	fill(t, c, rounds(50, 1000)<<20)
	load := c.Load(t)
	load.Await(t, someCalls)
	learner := c.Add(t, true)
	began := time.Now()
	c.StartWithin(t, learner, joinLimit)
	c.WaitApplied(t, joinLimit)
	t.Logf("caught up after %v", time.Since(began).Round(10*time.Millisecond))
	load.Await(t, someCalls)
	c.Promote(t, learner)
	c.WaitHealthy(t)
	load.Join(t, learner)
	load.Await(t, someCalls)
	tableShows(t, c, learner, 4, 0)
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// TestAMemberDiesWhileItJoins kills a member again and again while it fetches a big store; what it has is either nothing
// or all of it, and in the end it has all.
func TestAMemberDiesWhileItJoins(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: quick()})
	fill(t, c, rounds(30, 300)<<20)
	load := c.Load(t)
	load.Await(t, someCalls)
	learner := c.Add(t, true)
	for range rounds(3, 30) {
		c.Launch(t, learner)
		<-time.After(rand.N(1500 * time.Millisecond))
		learner.Kill9(t)
	}
	c.StartWithin(t, learner, joinLimit)
	c.WaitApplied(t, joinLimit)
	c.Promote(t, learner)
	c.WaitHealthy(t)
	load.Join(t, learner)
	load.Await(t, someCalls)
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// forgetting is how long the members of Keelson keep their logs for one of them that is away.
const forgetting = 32 * time.Second

// TestAMemberFallsBehind keeps a follower away while so much is written that the others' logs no longer reach back to it,
// with a watcher on it, in the long form again and again. It must get a copy of the state, never panic, and its watchers must
// never go back in time.
func TestAMemberFallsBehind(t *testing.T) {
	t.Parallel()
	// A real etcd needs to be told to forget entries soon; Keelson counts bytes and decides itself.
	args := append(quick(), "--snapshot-count", "100", "--snapshot-catchup-entries", "50")
	c := harness.Found(t, harness.Founding{Proxied: true, Args: args})
	load := c.Load(t)
	load.Await(t, someCalls)
	copies, sent := 0.0, 0.0
	for range rounds(1, 5) {
		leader, behind := c.Leader(t), c.Followers(t)[0]
		for _, m := range c.Members {
			if m != behind {
				c.Proxy.BreakBoth(m.Place, behind.Place, harness.Fault{Cut: true})
			}
		}
		away := time.Now()
		client := c.Client(t, leader)
		for first := true; first || onKeelson() && time.Since(away) < forgetting; first = false {
			load.Await(t, someCalls)
			<-time.After(time.Second)
		}
		overwrite(t, client, 40<<20)
		load.Await(t, someCalls)
		before, sentBefore := behind.Metric(t, copiesReceived), given(t, c, behind)
		c.Proxy.Heal()
		c.WaitApplied(t, harness.SettleLimit)
		c.WaitHealthy(t)
		load.Await(t, someCalls)
		copies += behind.Metric(t, copiesReceived) - before
		sent += given(t, c, behind) - sentBefore
	}
	if copies == 0 {
		t.Error("no member took in a copy of the state: the others' logs reached back to it")
	}
	if sent < copies {
		t.Errorf("%v copies were taken in, and the others say that they gave %v", copies, sent)
	}
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// overwrite puts so many bytes into a few keys, in large and in small pieces, so that the log grows in every measure
// and the data does not.
func overwrite(t *testing.T, client *clientv3.Client, bytes int) {
	t.Helper()
	const large, small = 1 << 20, 400 // bytes of a large piece; number of small ones
	var group errgroup.Group
	group.SetLimit(fillClients)
	for i := range small + bytes/large {
		size := 10
		if i >= small {
			size = large
		}
		value := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(value)
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(context.Background(), harness.SettleLimit)
			defer cancel()
			_, err := client.Put(ctx, "overwritten", string(value))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatalf("overwrite: %v", err)
	}
}
