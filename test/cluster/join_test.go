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
	c.Start(t, learner)
	c.WaitApplied(t, 5*time.Minute)
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
	c.Start(t, learner)
	c.WaitApplied(t, 5*time.Minute)
	c.Promote(t, learner)
	c.WaitHealthy(t)
	load.Join(t, learner)
	load.Await(t, someCalls)
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// TestAMemberFallsBehindTwice keeps a follower away while so much is written and compacted that the others' logs no longer
// reach back to it, twice in a row and with a watcher on it. It must get a copy of the state each time, never panic, and its
// watchers must never go back in time.
func TestAMemberFallsBehindTwice(t *testing.T) {
	t.Parallel()
	// A real etcd needs to be told to forget entries soon; Keelson counts bytes and decides itself.
	args := append(quick(), "--snapshot-count", "100", "--snapshot-catchup-entries", "50")
	c := harness.Found(t, harness.Founding{Proxied: true, Args: args})
	load := c.Load(t)
	load.Await(t, someCalls)
	for range rounds(2, 10) {
		leader, behind := c.Leader(t), c.Followers(t)[0]
		for _, m := range c.Members {
			if m != behind {
				c.Proxy.BreakBoth(m.Place, behind.Place, harness.Fault{Cut: true})
			}
		}
		client := c.Client(t, leader)
		overwrite(t, client, rounds(20, 150)<<20)
		load.Await(t, someCalls)
		c.Proxy.Heal()
		c.WaitApplied(t, harness.SettleLimit)
	}
	c.WaitHealthy(t)
	load.Await(t, someCalls)
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// overwrite puts so many bytes into one key, so that the log grows and the data does not.
func overwrite(t *testing.T, client *clientv3.Client, bytes int) {
	t.Helper()
	value := make([]byte, 1<<20)
	dice := rand.NewChaCha8([32]byte{1})
	for range bytes / len(value) {
		_, _ = dice.Read(value)
		ctx, cancel := context.WithTimeout(context.Background(), harness.SettleLimit)
		_, err := client.Put(ctx, "overwritten", string(value))
		cancel()
		if err != nil {
			t.Fatalf("overwrite: %v", err)
		}
	}
}
