package integration

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/keelson-db/keelson/test/harness"
)

const (
	kubeObjects = 20_000
	kubeUpdates = 6_000
	kubePage    = 500
	kubeWorkers = 32
	// kubeLimit bounds the whole workload; it is far above what it takes, so that a busy machine does not fail it.
	kubeLimit = 3 * time.Minute
)

// TestKubernetesWorkload does to the server what an API server does: it creates 20,000 objects, lists them in pages
// at a pinned revision, watches from there with previous values, while others update, create and delete, and history
// is compacted behind the watcher. In the end the watcher's state must be the list, byte for byte.
func TestKubernetesWorkload(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{Args: []string{"--watch-progress-notify-interval", "1s"}})
	ctx := harness.CtxFor(t, kubeLimit)
	began := time.Now()
	phase := func(name string) {
		t.Logf("%-8s %v", name, time.Since(began).Round(time.Millisecond))
		began = time.Now()
	}
	k := &kube{c: n.Client(t), size: rand.New(rand.NewPCG(7, 7))}
	k.makeObjects()
	k.create(ctx, t)
	phase("create")

	state, rev := k.list(ctx, t, 0)
	if len(state) != kubeObjects {
		t.Fatalf("the list has %d objects", len(state))
	}
	phase("list")

	cache := &watchCache{t: t, state: state}
	cache.seen.Store(rev)
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	watch := n.Client(t).Watch(watching, "/registry/", clientv3.WithPrefix(), clientv3.WithRev(rev+1), clientv3.WithPrevKV(), clientv3.WithProgressNotify())
	var last atomic.Int64
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		cache.follow(watch, &last)
	}()

	stopCompacting := make(chan struct{})
	var compacting sync.WaitGroup
	compacting.Go(func() { k.compactBehind(ctx, t, cache, stopCompacting) })
	k.change(ctx, t)
	phase("change")

	want, end := k.list(ctx, t, 0)
	last.Store(end)
	// One more write shows the watcher that it has seen everything up to the list's revision.
	must(k.c.Put(ctx, "/registry/last", "x"))(t)
	select {
	case <-followed:
	case <-ctx.Done():
		t.Fatalf("the watcher is at %d, the list at %d", cache.seen.Load(), end)
	}
	phase("follow")
	close(stopCompacting)
	compacting.Wait()
	compareStates(t, cache.state, want)
	t.Logf("%d objects at the end, %d events, %d compactions", len(want), cache.events, k.compactions)
	if k.compactions == 0 || cache.events < kubeUpdates {
		t.Errorf("%d compactions, %d events: the workload did not do its work", k.compactions, cache.events)
	}
}

// kube is the API server's side of the workload.
type kube struct {
	c           *clientv3.Client
	size        *rand.Rand
	keys        []string
	values      [][]byte
	compactions int
}

func (k *kube) makeObjects() {
	kinds := []string{"pods", "configmaps", "secrets", "events", "services/specs", "leases"}
	for i := range kubeObjects {
		k.keys = append(k.keys, fmt.Sprintf("/registry/%s/namespace-%02d/object-%05d", kinds[i%len(kinds)], i%37, i))
		// Most objects are small, a few have 10 kB.
		size := 300 + k.size.IntN(1700)
		if i%10 == 0 {
			size = 2_000 + k.size.IntN(8_000)
		}
		k.values = append(k.values, objectValue(k.keys[i], 0, size))
	}
}

// objectValue is a value that says whose it is, of which generation, at any size.
func objectValue(key string, generation, size int) []byte {
	head := fmt.Appendf(nil, "k8s\x00%s#%d|", key, generation)
	value := bytes.Repeat(head, size/len(head)+1)
	return value[:max(size, len(head))]
}

// spread runs the work for 0..n-1 on a number of workers; the first error ends the test.
func spread(t *testing.T, workers, n int, work func(i int) error) {
	t.Helper()
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make(chan error, workers)
	for range workers {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := work(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		t.Fatal(err)
	}
}

func (k *kube) create(ctx context.Context, t *testing.T) {
	t.Helper()
	spread(t, kubeWorkers, len(k.keys), func(i int) error { return k.createOne(ctx, k.keys[i], k.values[i]) })
	// Creating what exists fails and shows nothing of it.
	resp := must(k.c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(k.keys[0]), "=", 0)).Then(clientv3.OpPut(k.keys[0], "")).Commit())(t)
	if resp.Succeeded {
		t.Error("an object was created twice")
	}
}

func (k *kube) createOne(ctx context.Context, key string, value []byte) error {
	resp, err := k.c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).Then(clientv3.OpPut(key, string(value))).Commit()
	if err != nil {
		return fmt.Errorf("create %s: %w", key, err)
	}
	if !resp.Succeeded {
		return fmt.Errorf("create %s: it exists", key)
	}
	return nil
}

// list reads everything in pages, all at the revision of the first page.
func (k *kube) list(ctx context.Context, t *testing.T, rev int64) (map[string]*mvccpb.KeyValue, int64) {
	t.Helper()
	state := map[string]*mvccpb.KeyValue{}
	end := clientv3.GetPrefixRangeEnd("/registry/")
	from, left := "/registry/", int64(-1)
	for {
		page := must(k.c.Get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(rev), clientv3.WithLimit(kubePage)))(t)
		if rev == 0 {
			rev = page.Header.Revision
		}
		if left >= 0 && page.Count != left {
			t.Errorf("the page from %q counts %d, left were %d", from, page.Count, left)
		}
		left = page.Count - int64(len(page.Kvs))
		if page.More != (left > 0) || len(page.Kvs) > kubePage {
			t.Errorf("the page from %q has %d of %d objects, more is %v", from, len(page.Kvs), page.Count, page.More)
		}
		for _, kv := range page.Kvs {
			if kv.ModRevision > rev {
				t.Errorf("%s is newer than the page's revision", kv.Key)
			}
			state[string(kv.Key)] = kv
		}
		if !page.More {
			return state, rev
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

// change updates by compare and put, deletes and creates, all at once.
func (k *kube) change(ctx context.Context, t *testing.T) {
	t.Helper()
	spread(t, kubeWorkers, kubeUpdates, func(i int) error {
		switch {
		case i%12 == 0:
			return k.deleteOne(ctx, k.keys[kubeObjects-1-i])
		case i%12 == 1:
			key := fmt.Sprintf("/registry/pods/new/object-%05d", i)
			return k.createOne(ctx, key, objectValue(key, 1, 1000))
		default:
			// Few objects take most updates, so that writers collide.
			return k.updateOne(ctx, k.keys[(i*i)%61], i)
		}
	})
}

// updateOne puts if nobody else has since the last look; otherwise the answer brings the newer object to try again.
func (k *kube) updateOne(ctx context.Context, key string, generation int) error {
	var known int64 = 1 // wrong on purpose: the first try brings the object
	for range 1000 {
		value := objectValue(key, generation, 300+generation%3000)
		resp, err := k.c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", known)).
			Then(clientv3.OpPut(key, string(value))).Else(clientv3.OpGet(key)).Commit()
		if err != nil {
			return fmt.Errorf("update %s: %w", key, err)
		}
		if resp.Succeeded {
			return nil
		}
		kvs := resp.Responses[0].GetResponseRange().Kvs
		if len(kvs) != 1 {
			return fmt.Errorf("update %s: the object is gone", key)
		}
		known = kvs[0].ModRevision
	}
	return fmt.Errorf("update %s: always overtaken", key)
}

func (k *kube) deleteOne(ctx context.Context, key string) error {
	got, err := k.c.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	if len(got.Kvs) != 1 {
		return fmt.Errorf("delete %s: %d objects", key, len(got.Kvs))
	}
	resp, err := k.c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", got.Kvs[0].ModRevision)).
		Then(clientv3.OpDelete(key)).Else(clientv3.OpGet(key)).Commit()
	if err != nil || !resp.Succeeded {
		return fmt.Errorf("delete %s: answer %v, error %w", key, resp, err)
	}
	return nil
}

// compactBehind compacts again and again at what the watcher has seen.
func (k *kube) compactBehind(ctx context.Context, t *testing.T, cache *watchCache, stop <-chan struct{}) {
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	var before int64
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		rev := cache.seen.Load()
		if rev <= before {
			continue
		}
		if _, err := k.c.Compact(ctx, rev); err != nil {
			t.Errorf("compact at %d: %v", rev, err)
			return
		}
		before = rev
		k.compactions++
	}
}

// watchCache is the state that a watcher builds from the list and the events after it.
type watchCache struct {
	t      *testing.T
	state  map[string]*mvccpb.KeyValue
	seen   atomic.Int64 // the newest revision whose events were applied
	events int
}

// follow applies events until it has passed the revision in last.
func (w *watchCache) follow(watch clientv3.WatchChan, last *atomic.Int64) {
	for r := range watch {
		if err := r.Err(); err != nil {
			w.t.Errorf("the watch broke off at %d: %v", w.seen.Load(), err)
			return
		}
		for _, ev := range r.Events {
			if until := last.Load(); until != 0 && ev.Kv.ModRevision > until {
				return
			}
			w.apply(ev)
		}
		w.seen.Store(r.Header.Revision)
	}
}

func (w *watchCache) apply(ev *clientv3.Event) {
	key := string(ev.Kv.Key)
	before := w.state[key]
	switch {
	case before == nil && ev.PrevKv != nil:
		w.t.Errorf("%s came with a previous value but was not there", key)
	case before != nil && (ev.PrevKv == nil || ev.PrevKv.ModRevision != before.ModRevision || !bytes.Equal(ev.PrevKv.Value, before.Value)):
		w.t.Errorf("%s at %d did not come with its previous value", key, ev.Kv.ModRevision)
	case ev.IsCreate() != (before == nil && ev.Type == mvccpb.PUT):
		w.t.Errorf("%s at %d says created: %v", key, ev.Kv.ModRevision, ev.IsCreate())
	}
	w.events++
	if ev.Type == mvccpb.DELETE {
		delete(w.state, key)
		return
	}
	w.state[key] = ev.Kv
}

func compareStates(t *testing.T, got, want map[string]*mvccpb.KeyValue) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("the watcher has %d objects, the list %d", len(got), len(want))
	}
	var wrong []string
	for key, kv := range want {
		g := got[key]
		if g == nil || g.ModRevision != kv.ModRevision || g.CreateRevision != kv.CreateRevision || g.Version != kv.Version || !bytes.Equal(g.Value, kv.Value) {
			wrong = append(wrong, key)
		}
	}
	if slices.Sort(wrong); len(wrong) > 0 {
		t.Errorf("%d objects differ, the first is %s", len(wrong), wrong[0])
	}
}
