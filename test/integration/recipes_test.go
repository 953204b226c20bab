package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"

	"github.com/keelson-db/keelson/test/harness"
)

// recipeLimit bounds one recipe, whose steps wait for each other.
const recipeLimit = 30 * time.Second

func session(t *testing.T, c *clientv3.Client, opts ...concurrency.SessionOption) *concurrency.Session {
	t.Helper()
	s, err := concurrency.NewSession(c, opts...)
	if err != nil {
		t.Fatalf("open a session: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestMutexExcludes lets eight sessions increment a number that nothing else protects.
func TestMutexExcludes(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, harness.Options{}).Client(t)
	ctx := harness.CtxFor(t, recipeLimit)
	const workers, rounds = 8, 5
	var inside atomic.Int32
	var group sync.WaitGroup
	for range workers {
		s := session(t, c)
		group.Go(func() {
			m := concurrency.NewMutex(s, "/mutex")
			for range rounds {
				if err := m.Lock(ctx); err != nil {
					t.Errorf("lock: %v", err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two hold the mutex")
				}
				got, err := c.Get(ctx, "number")
				if err != nil {
					t.Errorf("read: %v", err)
				}
				n := 0
				if len(got.Kvs) > 0 {
					n, _ = strconv.Atoi(string(got.Kvs[0].Value))
				}
				if _, err := c.Put(ctx, "number", strconv.Itoa(n+1)); err != nil {
					t.Errorf("write: %v", err)
				}
				inside.Add(-1)
				if err := m.Unlock(ctx); err != nil {
					t.Errorf("unlock: %v", err)
				}
			}
		})
	}
	group.Wait()
	if got := must(c.Get(ctx, "number"))(t); string(got.Kvs[0].Value) != fmt.Sprint(workers*rounds) {
		t.Errorf("the number is %s, want %d", got.Kvs[0].Value, workers*rounds)
	}

	holder, other := concurrency.NewMutex(session(t, c), "/try"), concurrency.NewMutex(session(t, c), "/try")
	if err := holder.TryLock(ctx); err != nil {
		t.Fatal(err)
	}
	if err := other.TryLock(ctx); !errors.Is(err, concurrency.ErrLocked) {
		t.Errorf("try a held mutex: %v", err)
	}
}

// TestSessionEndsWithItsLease loses a session by its time and by revoking, and the lock goes to the next one.
func TestSessionEndsWithItsLease(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, harness.Options{}).Client(t)
	ctx := harness.CtxFor(t, recipeLimit)
	s := session(t, c, concurrency.WithTTL(2))
	m := concurrency.NewMutex(s, "/held")
	if err := m.Lock(ctx); err != nil {
		t.Fatal(err)
	}
	// Orphan stops the keepalives but leaves the lease to its time, as a crashed client would.
	s.Orphan()
	next := concurrency.NewMutex(session(t, c), "/held")
	began := time.Now()
	if err := next.Lock(ctx); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < time.Second || took > 8*time.Second {
		t.Errorf("the lock of a dead session was free after %v", took)
	}
	revoked := session(t, c)
	must(c.Revoke(ctx, revoked.Lease()))(t)
	select {
	case <-revoked.Done():
	case <-ctx.Done():
		t.Error("a session outlives its revoked lease")
	}
}

// TestElectionHasOneLeaderAtATime campaigns, observes, proclaims and resigns.
func TestElectionHasOneLeaderAtATime(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, harness.Options{}).Client(t)
	ctx := harness.CtxFor(t, recipeLimit)
	one, two := concurrency.NewElection(session(t, c), "/race"), concurrency.NewElection(session(t, c), "/race")
	if _, err := one.Leader(ctx); !errors.Is(err, concurrency.ErrElectionNoLeader) {
		t.Errorf("a leader before the campaign: %v", err)
	}
	if err := one.Campaign(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	seen := two.Observe(ctx)
	wantLeader(t, seen, "one")
	won := make(chan error, 1)
	go func() { won <- two.Campaign(ctx, "two") }()
	if err := one.Proclaim(ctx, "one again"); err != nil {
		t.Fatal(err)
	}
	wantLeader(t, seen, "one again")
	if got := must(two.Leader(ctx))(t); string(got.Kvs[0].Value) != "one again" {
		t.Errorf("the leader is %s", got.Kvs[0].Value)
	}
	if err := one.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-won; err != nil {
		t.Fatal(err)
	}
	wantLeader(t, seen, "two")
	if err := one.Proclaim(ctx, "usurper"); !errors.Is(err, concurrency.ErrElectionNotLeader) {
		t.Errorf("proclaim after resigning: %v", err)
	}
}

func wantLeader(t *testing.T, seen <-chan *clientv3.GetResponse, want string) {
	t.Helper()
	for r := range seen {
		if string(r.Kvs[0].Value) == want {
			return
		}
	}
	t.Fatalf("never saw the leader %q", want)
}

// TestSoftwareTransactionsKeepTheSum moves money between accounts from many clients at every isolation level.
func TestSoftwareTransactionsKeepTheSum(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, harness.Options{}).Client(t)
	ctx := harness.CtxFor(t, recipeLimit)
	const accounts = 4
	for i := range accounts {
		must(c.Put(ctx, fmt.Sprintf("account/%d", i), "100"))(t)
	}
	levels := []concurrency.Isolation{concurrency.SerializableSnapshot, concurrency.Serializable, concurrency.RepeatableReads}
	var group sync.WaitGroup
	for w := range 6 {
		group.Go(func() {
			for i := range 10 {
				from, to := fmt.Sprintf("account/%d", (w+i)%accounts), fmt.Sprintf("account/%d", (w+i+1+w%3)%accounts)
				_, err := concurrency.NewSTM(c, func(s concurrency.STM) error {
					a, _ := strconv.Atoi(s.Get(from))
					b, _ := strconv.Atoi(s.Get(to))
					if from == to || a < 7 {
						return nil
					}
					s.Put(from, strconv.Itoa(a-7))
					s.Put(to, strconv.Itoa(b+7))
					return nil
				}, concurrency.WithIsolation(levels[w%len(levels)]), concurrency.WithAbortContext(ctx), concurrency.WithPrefetch(from))
				if err != nil {
					t.Errorf("transfer: %v", err)
				}
			}
		})
	}
	group.Wait()
	sum := 0
	for _, kv := range must(c.Get(ctx, "account/", clientv3.WithPrefix()))(t).Kvs {
		n, err := strconv.Atoi(string(kv.Value))
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	if sum != 100*accounts {
		t.Errorf("the sum is %d, want %d", sum, 100*accounts)
	}
}

// TestNamespaceHidesItsPrefix uses keys, watches and leases below a prefix.
func TestNamespaceHidesItsPrefix(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, harness.Options{}).Client(t)
	ctx := harness.CtxFor(t, recipeLimit)
	kv, watcher, lease := namespace.NewKV(c.KV, "ns/"), namespace.NewWatcher(c.Watcher, "ns/"), namespace.NewLease(c.Lease, "ns/")
	must(c.Put(ctx, "outside", "1"))(t)
	watch := watcher.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(1))
	grant := must(lease.Grant(ctx, 100))(t)
	must(kv.Put(ctx, "in", "1", clientv3.WithLease(grant.ID)))(t)
	wantEvent(t, watch, "PUT in 1", true)
	if r := must(kv.Get(ctx, "", clientv3.WithPrefix()))(t); len(r.Kvs) != 1 || string(r.Kvs[0].Key) != "in" {
		t.Errorf("all keys of the namespace: %v", r.Kvs)
	}
	if r := must(kv.Get(ctx, "", clientv3.WithFromKey()))(t); len(r.Kvs) != 1 {
		t.Errorf("all keys from the start of the namespace: %v", r.Kvs)
	}
	if r := must(c.Get(ctx, "ns/in"))(t); len(r.Kvs) != 1 {
		t.Error("the key does not stand below its prefix")
	}
	if r := must(lease.TimeToLive(ctx, grant.ID, clientv3.WithAttachedKeys()))(t); len(r.Keys) != 1 || string(r.Keys[0]) != "in" {
		t.Errorf("keys of the lease: %q", r.Keys)
	}
	txn := must(kv.Txn(ctx).If(clientv3.Compare(clientv3.Version("in"), "=", 1)).Then(clientv3.OpDelete("", clientv3.WithPrefix(), clientv3.WithPrevKV())).Commit())(t)
	if !txn.Succeeded || string(txn.Responses[0].GetResponseDeleteRange().PrevKvs[0].Key) != "in" {
		t.Errorf("transaction in the namespace: %v", txn)
	}
	wantEvent(t, watch, "DELETE in ", true)
}

// TestMirrorCopiesAndFollows copies 2,500 keys, which takes several pages, and follows the changes.
func TestMirrorCopiesAndFollows(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, harness.Options{}).Client(t)
	ctx := harness.CtxFor(t, recipeLimit)
	for i := 0; i < 2500; i += 100 {
		var ops []clientv3.Op
		for j := range 100 {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("m/%05d", i+j), strconv.Itoa(i+j)))
		}
		must(c.Txn(ctx).Then(ops...).Commit())(t)
	}
	syncer := mirror.NewSyncer(c, "m/", 0)
	pages, errs := syncer.SyncBase(ctx)
	copied := map[string]string{}
	for page := range pages {
		for _, kv := range page.Kvs {
			copied[string(kv.Key)] = string(kv.Value)
		}
	}
	for err := range errs {
		t.Fatal(err)
	}
	if len(copied) != 2500 || copied["m/02499"] != "2499" {
		t.Errorf("copied %d keys", len(copied))
	}
	updates := syncer.SyncUpdates(ctx)
	must(c.Put(ctx, "m/new", "x"))(t)
	must(c.Delete(ctx, "m/00000", clientv3.WithRange("m/00010")))(t)
	wantEvent(t, updates, "PUT m/new x", true)
	r := <-updates
	if len(r.Events) != 10 || r.Events[9].Type != mvccpb.DELETE {
		t.Errorf("the deletion of ten keys came as %d events", len(r.Events))
	}
}

// TestOrderingSeesNoStepBack reads through the client that refuses older revisions than it has seen.
func TestOrderingSeesNoStepBack(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client(t)
	ctx := harness.CtxFor(t, recipeLimit)
	violated := errors.New("the server went back in time")
	kv := ordering.NewKV(c.KV, func(clientv3.Op, clientv3.OpResponse, int64) error { return violated })
	for i := range 20 {
		must(kv.Put(ctx, "o", strconv.Itoa(i)))(t)
		if r := must(kv.Get(ctx, "o", clientv3.WithSerializable()))(t); string(r.Kvs[0].Value) != strconv.Itoa(i) {
			t.Errorf("read %s after writing %d", r.Kvs[0].Value, i)
		}
	}
	n.Kill9(t)
	n.Restart(t)
	harness.Eventually(t, 10*time.Second, "read after the restart", func() error {
		_, err := kv.Get(ctx, "o", clientv3.WithSerializable())
		if errors.Is(err, violated) {
			t.Fatal(err)
		}
		return err
	})
}

// TestLeasingCachesAndGivesWay lets two leasing clients own the same keys in turn.
func TestLeasingCachesAndGivesWay(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	ctx := harness.CtxFor(t, recipeLimit)
	open := func() clientv3.KV {
		kv, stop, err := leasing.NewKV(n.Client(t), "leases/")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		return kv
	}
	a, b := open(), open()
	must(a.Put(ctx, "k", "1"))(t)
	if r := must(a.Get(ctx, "k"))(t); string(r.Kvs[0].Value) != "1" {
		t.Errorf("a reads %v", r.Kvs)
	}
	must(b.Put(ctx, "k", "2"))(t)
	for name, kv := range map[string]clientv3.KV{"a": a, "b": b} {
		if r := must(kv.Get(ctx, "k"))(t); !bytes.Equal(r.Kvs[0].Value, []byte("2")) {
			t.Errorf("%s reads %s after b wrote 2", name, r.Kvs[0].Value)
		}
	}
	txn := must(a.Txn(ctx).If(clientv3.Compare(clientv3.Value("k"), "=", "2")).Then(clientv3.OpPut("k", "3"), clientv3.OpGet("k")).Commit())(t)
	if !txn.Succeeded {
		t.Error("the transaction did not see what b wrote")
	}
	must(b.Delete(ctx, "k"))(t)
	if r := must(a.Get(ctx, "k"))(t); len(r.Kvs) != 0 {
		t.Errorf("a reads %v after b deleted", r.Kvs)
	}
}

// TestUnaryCallsEndWithTheirContext cancels a call before and while it is made.
func TestUnaryCallsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, harness.Options{}).Client(t)
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Put(cancelled, "k", "v"); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled put: %v", err)
	}
	late, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	if _, err := c.Get(late, "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a get past its deadline: %v", err)
	}
}
