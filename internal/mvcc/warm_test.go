package mvcc

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// crowd is a store with so many keys that its index has many leaves, beside
// what every state of interest looked like.
type crowd struct {
	*world
	keys int
	was  map[Rev]*etcdserverpb.RangeResponse // read when it was the present
}

func newCrowd(t *testing.T, o Options) *crowd {
	c := &crowd{world: newWorld(t, 7, o), keys: 400, was: map[Rev]*etcdserverpb.RangeResponse{}}
	for i := 0; i < c.keys; i += 100 {
		c.write(func(tx *Tx) {
			for k := i; k < i+100; k++ {
				c.put(tx, k)
			}
		})
	}
	return c
}

func (c *crowd) write(f func(tx *Tx)) {
	b := c.engine.NewBatch()
	defer b.Close()
	g := c.store.Begin(b)
	tx := g.NewTx()
	f(tx)
	tx.End()
	c.must(g.Finish())
	c.must(c.engine.Commit(b))
	g.Publish()
}

func (c *crowd) put(tx *Tx, k int) {
	value := make([]byte, c.rng.IntN(60))
	if c.rng.IntN(300) == 0 {
		value = make([]byte, warmLeafBytes)
	}
	_, err := tx.Put(fmt.Appendf(nil, "key-%05d", k), value, int64(c.rng.IntN(3)))
	c.must(err)
}

// churn changes, removes and brings back keys, in commands of several changes.
func (c *crowd) churn(commands int) {
	for range commands {
		c.write(func(tx *Tx) {
			for range 1 + c.rng.IntN(4) {
				k := c.rng.IntN(c.keys)
				if c.rng.IntN(3) > 0 {
					c.put(tx, k)
					continue
				}
				_, err := tx.Delete(fmt.Appendf(nil, "key-%05d", k), fmt.Appendf(nil, "key-%05d", k+c.rng.IntN(4)))
				c.must(err)
			}
			c.put(tx, c.rng.IntN(c.keys))
		})
	}
}

// pin notes what the present looks like, read record by record.
func (c *crowd) pin() Rev {
	v := c.store.View()
	defer v.Close()
	var all etcdserverpb.RangeResponse
	v.Items([]byte{0}, []byte{0}, func(it *Item) bool {
		record, err := v.Record(it)
		c.must(err)
		kv := new(mvccpb.KeyValue)
		c.must(proto.Unmarshal(record, kv))
		all.Kvs = append(all.Kvs, kv)
		return true
	})
	c.was[v.Rev()] = &all
	return v.Rev()
}

// read pages through everything at a revision and compares it.
func (c *crowd) read(t *testing.T, rng *rand.Rand, rev Rev) {
	v := c.store.View()
	defer v.Close()
	want := c.was[rev]
	var got etcdserverpb.RangeResponse
	q := RangeQuery{Key: []byte{0}, End: []byte{0}, Rev: rev}
	for {
		q.Limit, q.MaxBytes = int64(1+rng.IntN(300)), int64(rng.IntN(40_000))
		res, err := v.Range(context.Background(), q)
		if err != nil {
			t.Error(err)
			return
		}
		if left := len(want.Kvs) - len(got.Kvs); res.Count != int64(left) || res.More != (left > res.N) {
			t.Errorf("page of %d at %d counts %d, more %v; want %d", res.N, rev, res.Count, res.More, left)
			return
		}
		var page etcdserverpb.RangeResponse
		if err := proto.Unmarshal(bytes.Join(res.Frames, nil), &page); err != nil || len(page.Kvs) != res.N {
			t.Errorf("page of %d records: %d, %v", res.N, len(page.Kvs), err)
			return
		}
		got.Kvs = append(got.Kvs, page.Kvs...)
		q.Key = append(append([]byte(nil), res.LastKey...), 0)
		more := res.More
		res.Release()
		if !more {
			break
		}
	}
	if !proto.Equal(&got, want) {
		t.Errorf("pages at %d differ from what was there", rev)
	}
}

func TestRepeatedPagesShowTheirRevision(t *testing.T) {
	for _, o := range []Options{
		{},
		{WarmBytes: 20_000},                     // leaves push each other out
		{HistoryBytes: 4 << 10, WarmBytes: 1},   // history and records come from the engine
		{HistoryEvents: 100, HistoryBytes: 1e6}, // history partly does
	} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			c := newCrowd(t, o)
			var pinned []Rev
			for round := range 8 {
				c.churn(20)
				pinned = append(pinned, c.pin())
				if round == 5 {
					c.must(c.engine.Close())
					c.open()
				}
				for range 3 {
					for _, rev := range pinned[max(0, len(pinned)-maxPastRoots-1):] {
						c.read(t, c.rng, rev)
					}
				}
				if h := &c.store.warm; h.size() > h.max {
					t.Fatalf("%d bytes of leaves are warm", h.size())
				}
			}
			if c.store.pasts.kept.Load() != maxPastRoots {
				t.Fatalf("%d indexes of older revisions are kept", c.store.pasts.kept.Load())
			}
			for _, past := range c.store.pasts.list {
				(&tree{root: past.root}).verify()
			}
		})
	}
}

func TestOlderIndexesGoWithCompactionAndDistance(t *testing.T) {
	c := newCrowd(t, Options{})
	rev := c.pin()
	c.churn(10)
	kept := func(want int32) {
		t.Helper()
		if got := c.store.pasts.kept.Load(); got != want {
			t.Fatalf("%d indexes of older revisions are kept, want %d", got, want)
		}
	}
	c.read(t, c.rng, rev)
	kept(1)
	b := c.engine.NewBatch()
	defer b.Close()
	g := c.store.Begin(b)
	c.must(g.Compact(rev + 1))
	c.must(g.Finish())
	c.must(c.engine.Commit(b))
	g.Publish()
	kept(0)

	rev = c.pin()
	for range 3 {
		c.churn(1)
		c.read(t, c.rng, rev)
	}
	kept(1)
	many := func() {
		c.write(func(tx *Tx) {
			for range maxPastChanges {
				_, err := tx.Put([]byte("key-00000"), nil, 0)
				c.must(err)
			}
		})
	}
	many()
	kept(0)
	for range 3 {
		c.read(t, c.rng, rev) // still right, but too far behind
	}
	kept(0)
}

func TestReadersAndWriterShareWarmLeaves(t *testing.T) {
	c := newCrowd(t, Options{WarmBytes: 30_000})
	var pinned []Rev
	for range 4 {
		c.churn(10)
		pinned = append(pinned, c.pin())
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for i := range 3 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 2))
			for {
				select {
				case <-stop:
					return
				default:
					c.read(t, rng, pinned[rng.IntN(len(pinned))])
				}
			}
		})
	}
	c.churn(150)
	close(stop)
	readers.Wait()
	if h := &c.store.warm; h.size() > h.max {
		t.Fatalf("%d bytes of leaves are warm", h.size())
	}
}
