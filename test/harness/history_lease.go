package harness

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// grantsAtOnce is how many leases are granted at the same time.
const grantsAtOnce = 16

// leasePrefix stands before the keys that hang on leases.
const leasePrefix = "lease/"

// leased is one lease and what was promised of it.
type leased struct {
	id      clientv3.LeaseID
	key     string
	kept    bool // somebody renews it
	promise time.Time
	renewed int
}

// Leases are leases that clients keep alive while a test breaks the cluster, each with a key that tells of its end. A
// lease must not end before its time to live has passed since the last answered renewal was asked for.
type Leases struct {
	ttl    time.Duration
	client *clientv3.Client
	from   int64

	mu    sync.Mutex
	all   map[string]*leased
	ended map[string]time.Time // when somebody first saw that the key is gone
	stop  chan struct{}
	calm  chan struct{} // closed when nothing is renewed any more
	group sync.WaitGroup
}

// Leases grants leases with a time to live in seconds; the first part of them is kept alive, the rest is left to end.
func (c *Cluster) Leases(t testing.TB, ttl int64, kept, left int) *Leases {
	t.Helper()
	l := &Leases{
		ttl: time.Duration(ttl) * time.Second, client: c.Client(t), all: map[string]*leased{}, ended: map[string]time.Time{},
		from: math.MaxInt64, stop: make(chan struct{}), calm: make(chan struct{}),
	}
	t.Cleanup(func() { l.end(); l.group.Wait() })
	l.grant(t, kept+left, kept)
	l.group.Go(l.watch)
	for _, lease := range l.all {
		if lease.kept {
			l.group.Go(func() { l.keep(lease) })
		}
	}
	return l
}

// grant grants leases, several at once, and hangs a key on each.
func (l *Leases) grant(t testing.TB, all, kept int) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(grantsAtOnce)
	for i := range all {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(context.Background(), CallLimit)
			defer cancel()
			began := time.Now()
			grant, err := l.client.Grant(ctx, int64(l.ttl/time.Second))
			if err != nil {
				return fmt.Errorf("grant a lease: %w", err)
			}
			lease := &leased{id: grant.ID, key: fmt.Sprintf("%s%x", leasePrefix, grant.ID), kept: i < kept, promise: began.Add(l.ttl)}
			put, err := l.client.Put(ctx, lease.key, lease.key, clientv3.WithLease(grant.ID))
			if err != nil {
				return fmt.Errorf("put a key on a lease: %w", err)
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.from = min(l.from, put.Header.Revision)
			l.all[lease.key] = lease
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func (l *Leases) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range []chan struct{}{l.calm, l.stop} {
		select {
		case <-c:
		default:
			close(c)
		}
	}
}

// keep renews one lease until the renewals end.
func (l *Leases) keep(lease *leased) {
	for {
		err := l.renew(l.client, lease, l.ttl/3)
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return
		}
		pause := l.ttl / 4
		if err != nil {
			pause = afterError
		}
		select {
		case <-l.calm:
			return
		case <-time.After(pause):
		}
	}
}

// renew asks for one renewal and notes what it was promised.
func (l *Leases) renew(client *clientv3.Client, lease *leased, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	began := time.Now()
	resp, err := client.KeepAliveOnce(ctx, lease.id)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil && resp.TTL > 0:
		if until := began.Add(time.Duration(resp.TTL) * time.Second); until.After(lease.promise) {
			lease.promise = until
		}
		lease.renewed++
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		l.gone(lease.key)
	}
	return err
}

// RenewOnce asks for one renewal of every lease that lives, through the given client, and does not wait for the answers;
// the function that it returns does, and tells how many leases were renewed.
func (l *Leases) RenewOnce(client *clientv3.Client) func() int {
	var group sync.WaitGroup
	var renewed atomic.Int64
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, lease := range l.all {
		if l.ended[key].IsZero() {
			group.Go(func() {
				if l.renew(client, lease, CallLimit) == nil {
					renewed.Add(1)
				}
			})
		}
	}
	return func() int {
		group.Wait()
		return int(renewed.Load())
	}
}

// watch notes when keys end, as soon as anybody can hear of it.
func (l *Leases) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l.group.Go(func() {
		<-l.stop
		cancel()
	})
	next := l.from
	for ctx.Err() == nil {
		inner, end := context.WithCancel(clientv3.WithRequireLeader(ctx))
		for resp := range l.client.Watch(inner, leasePrefix, clientv3.WithPrefix(), clientv3.WithRev(next)) {
			l.mu.Lock()
			for _, ev := range resp.Events {
				next = max(next, ev.Kv.ModRevision+1)
				if ev.Type == clientv3.EventTypeDelete {
					l.gone(string(ev.Kv.Key))
				}
			}
			l.mu.Unlock()
		}
		end()
	}
}

// gone notes that a key has ended by now. The caller holds the mutex.
func (l *Leases) gone(key string) {
	if l.ended[key].IsZero() {
		l.ended[key] = time.Now()
	}
}

// AwaitEnd waits until all leases that nobody renews have ended.
func (l *Leases) AwaitEnd(t testing.TB) {
	t.Helper()
	Eventually(t, SettleLimit, "leases end that nobody renews", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		for key, lease := range l.all {
			if !lease.kept && l.ended[key].IsZero() {
				return fmt.Errorf("%s lives", key)
			}
		}
		return nil
	})
}

// Finish checks that no lease ended too early, stops the renewals, and sees all of them end.
func (l *Leases) Finish(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	kept, renewed := false, 0
	for key, lease := range l.all {
		if lease.kept && !l.ended[key].IsZero() {
			t.Logf("%s was renewed %d times and has ended", key, lease.renewed)
		}
		kept, renewed = kept || lease.kept, renewed+lease.renewed
	}
	if kept && renewed == 0 {
		t.Error("no lease was ever renewed")
	}
	close(l.calm)
	for _, lease := range l.all {
		lease.kept = false
	}
	l.mu.Unlock()
	l.AwaitEnd(t)
	l.end()
	l.group.Wait()
	for _, text := range l.early() {
		t.Error(text)
	}
}

// early tells of leases that ended before what was promised of them.
func (l *Leases) early() []string {
	var f findings
	for key, lease := range l.all {
		if by := lease.promise.Sub(l.ended[key]); by > 0 {
			f.add("%s ended %v before its time; it was renewed %d times", key, by, lease.renewed)
		}
	}
	return f.list
}
