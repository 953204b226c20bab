package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/keelson-db/keelson/test/harness"
)

// twins are the product and a real etcd that are told the same.
type twins struct {
	ours, theirs *harness.Node
	clients      [2]*clientv3.Client
	rng          *rand.Rand
	rev, compact int64
}

func startTwins(t *testing.T, seed uint64) *twins {
	t.Helper()
	bins, err := harness.Build()
	if err != nil {
		t.Fatal(err)
	}
	w := &twins{
		ours: harness.Start(t, harness.Options{}), theirs: harness.Start(t, harness.Options{Binary: bins.Etcd}),
		rng: rand.New(rand.NewPCG(seed, 8)), rev: 1, compact: -1,
	}
	w.clients = [2]*clientv3.Client{w.ours.Client(t), w.theirs.Client(t)}
	return w
}

// both tells both the same and checks that they agree on the revision.
func (w *twins) both(t *testing.T, what string, do func(ctx context.Context, c *clientv3.Client) (*pb.ResponseHeader, error)) {
	t.Helper()
	var revs [2]int64
	for i, c := range w.clients {
		h, err := do(harness.Ctx(t), c)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		revs[i] = h.Revision
	}
	if revs[0] != revs[1] {
		t.Fatalf("%s: revisions %v", what, revs)
	}
	w.rev = revs[0]
}

// step makes one random change.
func (w *twins) step(t *testing.T) {
	t.Helper()
	key := fmt.Sprintf("key-%02d", w.rng.IntN(12))
	value := string(make([]byte, w.rng.IntN(3)*w.rng.IntN(3000))) + fmt.Sprint(w.rng.IntN(1000))
	switch w.rng.IntN(8) {
	case 0, 1:
		w.both(t, "delete", func(ctx context.Context, c *clientv3.Client) (*pb.ResponseHeader, error) {
			r, err := c.Delete(ctx, key)
			if err != nil {
				return nil, err
			}
			return r.Header, nil
		})
	case 2:
		end := fmt.Sprintf("key-%02d", w.rng.IntN(14))
		w.both(t, "delete range", func(ctx context.Context, c *clientv3.Client) (*pb.ResponseHeader, error) {
			r, err := c.Delete(ctx, key, clientv3.WithRange(end))
			if err != nil {
				return nil, err
			}
			return r.Header, nil
		})
	case 3:
		w.both(t, "txn", func(ctx context.Context, c *clientv3.Client) (*pb.ResponseHeader, error) {
			r, err := c.Txn(ctx).Then(clientv3.OpPut("a", value), clientv3.OpPut(key, value), clientv3.OpDelete("z")).Commit()
			if err != nil {
				return nil, err
			}
			return r.Header, nil
		})
	default:
		w.both(t, "put", func(ctx context.Context, c *clientv3.Client) (*pb.ResponseHeader, error) {
			r, err := c.Put(ctx, key, value)
			if err != nil {
				return nil, err
			}
			return r.Header, nil
		})
	}
}

func (w *twins) compactTo(t *testing.T, rev int64) {
	t.Helper()
	w.both(t, "compact", func(ctx context.Context, c *clientv3.Client) (*pb.ResponseHeader, error) {
		// etcd may answer before it has noted the compaction's hash unless it was asked to wait for the end.
		r, err := c.Compact(ctx, rev, clientv3.WithCompactPhysical())
		if err != nil {
			return nil, err
		}
		return r.Header, nil
	})
	w.compact = rev
}

// hash is what a server says about a revision.
func hash(t *testing.T, c *clientv3.Client, rev int64) string {
	t.Helper()
	r, err := c.HashKV(harness.Ctx(t), c.Endpoints()[0], rev)
	if err != nil {
		return status.Convert(err).Message()
	}
	return fmt.Sprintf("hash %08x, compact %d, of %d, now %d", r.Hash, r.CompactRevision, r.HashRevision, r.Header.Revision)
}

func (w *twins) compare(t *testing.T, from, to int64) {
	t.Helper()
	for rev := from; rev <= to; rev++ {
		ours, theirs := hash(t, w.clients[0], rev), hash(t, w.clients[1], rev)
		if ours != theirs {
			t.Fatalf("at revision %d of %d, compacted at %d:\n ours  %s\n etcd's %s", rev, w.rev, w.compact, ours, theirs)
		}
	}
}

// TestHashesAreEtcds compares the hashes of every revision, along random histories with compactions.
func TestHashesAreEtcds(t *testing.T) {
	t.Parallel()
	keelsonOnly(t, "it compares the product with etcd")
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := startTwins(t, seed)
			w.compare(t, -1, 2)
			for range 14 {
				for range 1 + w.rng.IntN(15) {
					w.step(t)
				}
				w.compare(t, max(0, w.compact-2), w.rev+1)
				if w.rng.IntN(3) > 0 && w.rev > w.compact {
					w.compactTo(t, w.rev-w.rng.Int64N(min(4, w.rev-max(w.compact, 0))))
					w.compare(t, 0, w.rev+1) // also those that older compactions have left behind
				}
			}
		})
	}
}

// TestHashesOfAnEmptiedStoreAreEtcds is about the case where no key lives and nothing would be kept.
func TestHashesOfAnEmptiedStoreAreEtcds(t *testing.T) {
	t.Parallel()
	keelsonOnly(t, "it compares the product with etcd")
	w := startTwins(t, 9)
	w.compactTo(t, 1)
	w.compare(t, 0, 2)
	del := func() {
		w.both(t, "delete all", func(ctx context.Context, c *clientv3.Client) (*pb.ResponseHeader, error) {
			r, err := c.Delete(ctx, "\x00", clientv3.WithFromKey())
			if err != nil {
				return nil, err
			}
			return r.Header, nil
		})
	}
	for range 4 {
		for range 6 {
			w.step(t)
		}
		w.compactTo(t, w.rev)
		w.compare(t, 0, w.rev+1)
		del()
		w.compare(t, 0, w.rev+1)
		if w.rng.IntN(2) == 0 && w.rev > w.compact {
			w.compactTo(t, w.rev)
		}
		w.compare(t, 0, w.rev+1)
	}
}
