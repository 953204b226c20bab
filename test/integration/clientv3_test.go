package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/keelson-db/keelson/test/harness"
)

// TestClientLibraryReadsAndWrites uses etcd's client library for keys as its documentation shows.
func TestClientLibraryReadsAndWrites(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client(t)
	ctx := harness.Ctx(t)

	for i := range 5 {
		must(c.Put(ctx, fmt.Sprintf("k%d", i), fmt.Sprint(i)))(t)
	}
	got := must(c.Get(ctx, "k", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(2)))(t)
	if len(got.Kvs) != 2 || string(got.Kvs[0].Key) != "k4" || !got.More || got.Count != 5 {
		t.Errorf("the last two keys: %v", got)
	}
	for name, op := range map[string][]clientv3.OpOption{"k0": clientv3.WithFirstCreate(), "k4": clientv3.WithLastCreate()} {
		if r := must(c.Get(ctx, "k", op...))(t); len(r.Kvs) != 1 || string(r.Kvs[0].Key) != name {
			t.Errorf("want %s, got %v", name, r.Kvs)
		}
	}
	if r := must(c.Get(ctx, "k1", clientv3.WithFromKey(), clientv3.WithCountOnly()))(t); r.Count != 4 {
		t.Errorf("count from k1: %d", r.Count)
	}
	if r := must(c.Get(ctx, "k1", clientv3.WithRange("k3"), clientv3.WithKeysOnly(), clientv3.WithSerializable()))(t); len(r.Kvs) != 2 || len(r.Kvs[0].Value) != 0 {
		t.Errorf("keys from k1 to k3: %v", r.Kvs)
	}
	swapped := must(c.Txn(ctx).If(clientv3.Compare(clientv3.Value("k0"), "=", "0"), clientv3.Compare(clientv3.CreateRevision("none"), "=", 0)).
		Then(clientv3.OpPut("k0", "new", clientv3.WithPrevKV()), clientv3.OpGet("k0")).Else(clientv3.OpGet("k1")).Commit())(t)
	if !swapped.Succeeded || string(swapped.Responses[0].GetResponsePut().PrevKv.Value) != "0" || string(swapped.Responses[1].GetResponseRange().Kvs[0].Value) != "new" {
		t.Errorf("swap: %v", swapped)
	}
	deleted := must(c.Delete(ctx, "k", clientv3.WithPrefix(), clientv3.WithPrevKV()))(t)
	if deleted.Deleted != 5 || len(deleted.PrevKvs) != 5 {
		t.Errorf("delete: %v", deleted)
	}
	must(c.Compact(ctx, deleted.Header.Revision-1, clientv3.WithCompactPhysical()))(t)
	if _, err := c.Get(ctx, "k0", clientv3.WithRev(2)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("a compacted revision: %v", err)
	}
	if _, err := c.Get(ctx, ""); !errors.Is(err, rpctypes.ErrEmptyKey) {
		t.Errorf("an empty key: %v", err)
	}
	if _, err := c.Put(ctx, "k", "v", clientv3.WithLease(404)); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("a missing lease: %v", err)
	}
	streamed, err := c.GetStream(ctx, "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if r, err := clientv3.GetStreamToGetResponse(streamed); err != nil || r.Header.Revision != deleted.Header.Revision {
		t.Errorf("the stream of an empty range: %v, %v", r, err)
	}
}

// TestClientLibraryWatches follows keys over a restart of the server.
func TestClientLibraryWatches(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client(t)
	ctx := harness.CtxFor(t, 30*time.Second)
	watch := c.Watch(clientv3.WithRequireLeader(ctx), "w/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	if r := <-watch; !r.Created {
		t.Fatalf("the first answer is %v", r)
	}
	must(c.Put(ctx, "w/1", "before"))(t)
	wantEvent(t, watch, "PUT w/1 before", true)

	n.Kill9(t)
	n.Restart(t)
	harness.Eventually(t, 10*time.Second, "put after the restart", func() error {
		_, err := c.Put(ctx, "w/1", "after")
		return err
	})
	// The put may have been tried more than once, so the last event counts.
	wantEvent(t, watch, "PUT w/1 after", false)
	must(c.Delete(ctx, "w/1"))(t)
	wantEvent(t, watch, "DELETE w/1 ", false)

	rev := must(c.Put(ctx, "w/2", "x"))(t).Header.Revision
	must(c.Compact(ctx, rev))(t)
	old := c.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithRev(1))
	if r := <-old; r.CompactRevision != rev || !errors.Is(r.Err(), rpctypes.ErrCompacted) {
		t.Errorf("a watch of compacted history: %+v, %v", r, r.Err())
	}
	if _, open := <-old; open {
		t.Error("the cancelled watch stays open")
	}
	if err := c.RequestProgress(clientv3.WithRequireLeader(ctx)); err != nil {
		t.Errorf("request progress: %v", err)
	}
	for r := range watch {
		if r.IsProgressNotify() {
			if r.Header.Revision < rev {
				t.Errorf("progress is at %d, want at least %d", r.Header.Revision, rev)
			}
			break
		}
	}
}

// wantEvent waits for an event; other events before it are an error when first is set.
func wantEvent(t *testing.T, watch clientv3.WatchChan, want string, first bool) {
	t.Helper()
	for r := range watch {
		if err := r.Err(); err != nil {
			t.Fatalf("the watch ended: %v", err)
		}
		for _, ev := range r.Events {
			got := fmt.Sprintf("%v %s %s", ev.Type, ev.Kv.Key, ev.Kv.Value)
			if got == want {
				return
			}
			if first {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	}
	t.Fatalf("the watch closed before %q", want)
}

// TestClientLibraryLeases keeps a lease alive past its time and lets it go.
func TestClientLibraryLeases(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client(t)
	ctx := harness.CtxFor(t, 30*time.Second)
	grant := must(c.Grant(ctx, 2))(t)
	must(c.Put(ctx, "alive", "", clientv3.WithLease(grant.ID)))(t)
	keep, stop := context.WithCancel(ctx)
	beats, err := c.KeepAlive(keep, grant.ID)
	if err != nil {
		t.Fatal(err)
	}
	granted := time.Now()
	for range 5 {
		if r := <-beats; r == nil || r.TTL != 2 {
			t.Fatalf("keepalive: %v after %v", r, time.Since(granted))
		}
	}
	if time.Since(granted) < 2*time.Second {
		t.Error("five beats came too fast to prove anything")
	}
	if r := must(c.Get(ctx, "alive"))(t); len(r.Kvs) != 1 {
		t.Error("the key died although its lease was kept")
	}
	stop()
	stopped := time.Now()
	gone := c.Watch(ctx, "alive")
	wantEvent(t, gone, "DELETE alive ", true)
	// The last beat was at most a third of the time ago; expiry is looked at twice a second.
	if after := time.Since(stopped); after < time.Second || after > 6*time.Second {
		t.Errorf("the lease of 2 s ended %v after its last beats", after)
	}
	if r := must(c.TimeToLive(ctx, grant.ID))(t); r.TTL != -1 {
		t.Errorf("a dead lease has %d s", r.TTL)
	}
	if _, err := c.KeepAliveOnce(ctx, grant.ID); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("keepalive of a dead lease: %v", err)
	}
	other := must(c.Grant(ctx, 100))(t)
	if r := must(c.Leases(ctx))(t); len(r.Leases) != 1 || r.Leases[0].ID != other.ID {
		t.Errorf("leases: %v", r.Leases)
	}
	must(c.Revoke(ctx, other.ID))(t)
}

// TestClientLibraryAsksAboutTheCluster lists members, status and alarms.
func TestClientLibraryAsksAboutTheCluster(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client(t)
	ctx := harness.Ctx(t)
	members := must(c.MemberList(ctx))(t)
	if len(members.Members) != 1 || members.Members[0].Name != "n1" || members.Members[0].ClientURLs[0] != n.URL() || members.Members[0].PeerURLs[0] != n.PeerURL() {
		t.Errorf("members: %v", members.Members)
	}
	status := must(c.Status(ctx, n.ClientAddr))(t)
	if status.Leader != members.Members[0].ID || status.DbSize <= 0 || status.RaftIndex < status.RaftAppliedIndex || len(status.Errors) != 0 {
		t.Errorf("status: %v", status)
	}
	if alarms := must(c.AlarmList(ctx))(t); len(alarms.Alarms) != 0 {
		t.Errorf("alarms: %v", alarms.Alarms)
	}
	if err := c.Sync(ctx); err != nil {
		t.Errorf("sync the endpoints: %v", err)
	}
	if got := c.Endpoints(); len(got) != 1 || got[0] != n.URL() {
		t.Errorf("endpoints after the sync: %v", got)
	}
}

// must returns a call's answer or ends the test: must(call())(t).
func must[T any](answer T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
}
