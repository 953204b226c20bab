package expiry

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

const election = time.Second

// world is a member as the clock sees it: a real table, a log that applies in order, and a leader.
type world struct {
	t       *testing.T
	engine  *storage.Engine
	commit  func(*storage.Batch) error
	table   *lease.Table
	metrics *metrics.Set

	order sync.Mutex // held while the table is written

	mu       sync.Mutex
	term     uint64
	leading  bool
	changed  chan struct{}
	delay    time.Duration          // of each command
	refuse   func(command.Op) error // nil accepts
	ops      []command.Op           // what was applied, in order
	ended    map[lease.ID]time.Time // when each lease was revoked
	underway int
	crowd    int // most commands under way at once
}

// story runs a test in virtual time, on an engine built outside of it.
func story(t *testing.T, tell func(t *testing.T, w *world)) {
	t.Helper()
	engine, err := storage.Open(storage.Options{FS: vfs.NewMem(), Dir: "state"})
	if err != nil {
		t.Fatal(err)
	}
	// The engine makes channels when it commits, and those must not belong to the bubble that it outlives.
	batches, results := make(chan *storage.Batch), make(chan error)
	go func() {
		for b := range batches {
			results <- engine.Commit(b)
		}
	}()
	t.Cleanup(func() {
		close(batches)
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	commit := func(b *storage.Batch) error {
		batches <- b
		return <-results
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, engine: engine, commit: commit, metrics: metrics.New(), term: 1, leading: true,
			changed: make(chan struct{}), ended: map[lease.ID]time.Time{}}
		w.restart()
		tell(t, w)
	})
}

// restart reads the table as a member does that starts.
func (w *world) restart() {
	table, err := lease.Open(w.engine)
	if err != nil {
		w.t.Fatal(err)
	}
	w.table = table
}

// begin builds a clock and runs it until stop is called.
func (w *world) begin() (c *Clock, stop func()) {
	c = New(Options{Leases: w.table, Proposer: w, Leadership: w, ElectionTimeout: election, Metrics: w.metrics.Lease})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := c.Run(ctx); err != nil {
			w.t.Errorf("run: %v", err)
		}
	}()
	synctest.Wait() // it leads, if it does
	return c, func() {
		cancel()
		<-ended
	}
}

// write changes the table as the applying goroutine does: one at a time.
func (w *world) write(f func(b *storage.Batch)) {
	w.order.Lock()
	defer w.order.Unlock()
	b := w.engine.NewBatch()
	defer b.Close()
	f(b)
	if err := w.commit(b); err != nil {
		w.t.Error(err)
	}
	w.table.Publish()
}

func (w *world) grant(ttl int64, ids ...lease.ID) {
	w.write(func(b *storage.Batch) {
		for _, id := range ids {
			if err := w.table.Grant(b, lease.Lease{ID: id, TTL: ttl}); err != nil {
				w.t.Errorf("grant %d: %v", id, err)
			}
		}
	})
}

func (w *world) revokeByClient(id lease.ID) {
	w.write(func(b *storage.Batch) {
		if err := w.table.Revoke(b, id); err != nil {
			w.t.Errorf("revoke %d: %v", id, err)
		}
	})
}

func (w *world) ProposeIn(ctx context.Context, _ uint64, op command.Op) (state.Result, error) {
	w.mu.Lock()
	w.underway++
	w.crowd = max(w.crowd, w.underway)
	delay, refuse := w.delay, w.refuse
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.underway--
		w.mu.Unlock()
	}()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return state.Result{}, ctx.Err()
		}
	}
	if refuse != nil {
		if err := refuse(op); err != nil {
			return state.Result{}, err
		}
	}
	w.apply(op)
	return state.Result{}, nil
}

func (w *world) apply(op command.Op) {
	w.write(func(b *storage.Batch) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ops = append(w.ops, op)
		switch op := op.(type) {
		case *command.LeaseRevoke:
			for _, id := range op.IDs {
				if w.table.Revoke(b, lease.ID(id)) == nil {
					w.ended[lease.ID(id)] = time.Now()
				}
			}
		case *command.LeaseCheckpoint:
			for _, l := range op.Leases {
				w.table.Checkpoint(b, lease.ID(l.ID), l.Seconds)
			}
		default:
			w.t.Errorf("a clock proposed %T", op)
		}
	})
}

func (w *world) Leading() (uint64, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.term, w.leading
}

func (w *world) LeaderChanged() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

func (w *world) lead(term uint64, leading bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.term, w.leading = term, leading
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) set(delay time.Duration, refuse func(command.Op) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay, w.refuse = delay, refuse
}

// commands returns what was applied, by kind.
func (w *world) commands() (revokes []*command.LeaseRevoke, records []*command.LeaseCheckpoint) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, op := range w.ops {
		switch op := op.(type) {
		case *command.LeaseRevoke:
			revokes = append(revokes, op)
		case *command.LeaseCheckpoint:
			records = append(records, op)
		}
	}
	return revokes, records
}

// endOf returns when a lease was revoked after begin, -1 when it was not.
func (w *world) endOf(id lease.ID, begin time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, ok := w.ended[id]; ok {
		return at.Sub(begin)
	}
	return -1
}

// endsWithin fails the test unless the lease was revoked not before and little after a time.
func (w *world) endsWithin(id lease.ID, begin time.Time, from time.Duration) {
	w.t.Helper()
	if at := w.endOf(id, begin); at < from || at > from+time.Second {
		w.t.Fatalf("lease %d was revoked after %v, want %v and at most a second more", id, at, from)
	}
}

// lives fails the test if the lease was revoked.
func (w *world) lives(id lease.ID) {
	w.t.Helper()
	if _, ok := w.table.Get(id); !ok {
		w.t.Fatalf("lease %d is gone", id)
	}
}

func (w *world) renews(c *Clock, id lease.ID, want int64) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if got, err := c.Renew(ctx, id); err != nil || got != want {
		w.t.Fatalf("renewing lease %d: %d, %v; want %d", id, got, err, want)
	}
}

// span returns the IDs from first to last.
func span(first, last lease.ID) (ids []lease.ID) {
	for id := first; id <= last; id++ {
		ids = append(ids, id)
	}
	return ids
}

// shuffled is a fixed disorder, so that a test that depends on it fails each time.
func shuffled(ids []lease.ID) []lease.ID {
	mixed := slices.Clone(ids)
	slices.SortFunc(mixed, func(a, b lease.ID) int {
		return int(uint32(a)*2654435761>>1) - int(uint32(b)*2654435761>>1)
	})
	return mixed
}

// clockOf builds a clock in real time, with leases of a minute.
func clockOf(b *testing.B, w *world, leases lease.ID) *Clock {
	b.Helper()
	engine, err := storage.Open(storage.Options{FS: vfs.NewMem(), Dir: "state"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = engine.Close() })
	w.engine, w.commit, w.metrics = engine, engine.Commit, metrics.New()
	w.restart()
	w.grant(60, span(1, leases)...)
	return New(Options{Leases: w.table, Proposer: w, Leadership: w, ElectionTimeout: election, Metrics: w.metrics.Lease})
}
