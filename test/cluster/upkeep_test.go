package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/keelson-db/keelson/test/harness"
)

// upkeep compacts and defragments a cluster without a pause, until it is ended.
type upkeep struct {
	stop  chan struct{}
	group sync.WaitGroup
	count int
}

// startUpkeep compacts all but the newest revisions through the whole cluster and defragments each member.
func startUpkeep(t *testing.T, c *harness.Cluster, keep int64) *upkeep {
	t.Helper()
	u := &upkeep{stop: make(chan struct{})}
	client := c.Client(t)
	members := map[string]*clientv3.Client{}
	for _, m := range c.Members {
		members[m.ClientAddr] = c.Client(t, m)
	}
	u.group.Go(func() {
		for {
			u.round(client, members, keep)
			select {
			case <-u.stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	t.Cleanup(u.end)
	return u
}

func (u *upkeep) round(client *clientv3.Client, members map[string]*clientv3.Client, keep int64) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	resp, err := client.Get(ctx, "load/0")
	if err != nil || resp.Header.Revision <= keep {
		return
	}
	var opts []clientv3.CompactOption
	if u.count%2 == 0 {
		opts = append(opts, clientv3.WithCompactPhysical())
	}
	if _, err := client.Compact(ctx, resp.Header.Revision-keep, opts...); err == nil {
		u.count++
	}
	for addr, m := range members {
		_, _ = m.Defragment(ctx, addr)
	}
}

func (u *upkeep) end() {
	select {
	case <-u.stop:
	default:
		close(u.stop)
	}
	u.group.Wait()
}

// TestKillsDuringUpkeep kills members while the history is compacted and members are defragmented all the time. Revisions
// never go back, and all members keep the same.
func TestKillsDuringUpkeep(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: quick()})
	load := c.LoadCompacted(t)
	load.Await(t, someCalls)
	u := startUpkeep(t, c, 20)
	for i := range rounds(3, 60) {
		load.Await(t, someCalls)
		killed := c.Members[i%3]
		killed.Kill9(t)
		load.Await(t, someCalls/2)
		c.Start(t, killed)
	}
	u.end()
	if u.count == 0 {
		t.Error("nothing was compacted")
	}
	c.WaitHealthy(t)
	load.Finish(t)
	c.WaitApplied(t, harness.SettleLimit)
	c.SameData(t, c.Members...)
}

// TestADeleteAtTheCompactedRevision deletes a key, compacts at the very revision, and watches from there: every member
// still tells of the delete, because history is gone only before that revision.
func TestADeleteAtTheCompactedRevision(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: quick()})
	client := c.Client(t)
	for round := range rounds(3, 30) {
		key := fmt.Sprint("gone/", round)
		if _, err := client.Put(harness.Ctx(t), key, "x"); err != nil {
			t.Fatal(err)
		}
		del, err := client.Delete(harness.Ctx(t), key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Compact(harness.Ctx(t), del.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
			t.Fatal(err)
		}
		c.WaitApplied(t, harness.SettleLimit)
		if round%3 == 2 {
			killed := c.Members[round/3%3]
			killed.Kill9(t)
			c.Start(t, killed)
			c.WaitHealthy(t)
		}
		for _, m := range c.Members {
			ctx, cancel := context.WithTimeout(context.Background(), harness.CallLimit)
			resp := <-c.Client(t, m).Watch(ctx, key, clientv3.WithRev(del.Header.Revision))
			cancel()
			if resp.Err() != nil || len(resp.Events) != 1 || resp.Events[0].Type != clientv3.EventTypeDelete {
				t.Errorf("%s tells %v (%v) and not of the delete at revision %d", m.Name, resp.Events, resp.Err(), del.Header.Revision)
			}
		}
	}
	// Of a compacted revision itself a member may give the hash that it has kept from the compaction.
	if _, err := client.Put(harness.Ctx(t), "end", "x"); err != nil {
		t.Fatal(err)
	}
	c.WaitApplied(t, harness.SettleLimit)
	c.SameData(t, c.Members...)
}

// TestATransactionThatReadsWhatIsCompacted writes and reads a compacted revision in one transaction, on members some of
// which have been restarted since the compaction. It fails as a whole, everywhere, and leaves no trace.
func TestATransactionThatReadsWhatIsCompacted(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: quick()})
	client := c.Client(t)
	var last int64
	for i := range 20 {
		put, err := client.Put(harness.Ctx(t), "k", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		last = put.Header.Revision
	}
	if _, err := client.Compact(harness.Ctx(t), last-5); err != nil {
		t.Fatal(err)
	}
	restarted := c.Followers(t)[0]
	restarted.Kill9(t)
	c.Start(t, restarted)
	c.WaitHealthy(t)
	for _, m := range c.Members {
		_, err := c.Client(t, m).Txn(harness.Ctx(t)).Then(
			clientv3.OpPut("trace", m.Name), clientv3.OpGet("k", clientv3.WithRev(last-10)),
		).Commit()
		if !errors.Is(err, rpctypes.ErrCompacted) {
			t.Errorf("%s answers %v", m.Name, err)
		}
	}
	for _, m := range c.Members {
		got, err := c.Client(t, m).Get(harness.Ctx(t), "trace")
		if err != nil || len(got.Kvs) != 0 || got.Header.Revision != last {
			t.Errorf("%s holds %v at revision %d, before it was %d: %v", m.Name, got.Kvs, got.Header.Revision, last, err)
		}
	}
	c.SameData(t, c.Members...)
}
