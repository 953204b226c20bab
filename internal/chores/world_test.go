package chores

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// world is a member as its upkeep sees it: a real state, and a log of one member that applies at once.
type world struct {
	t       *testing.T
	engine  *storage.Engine
	machine *state.Machine
	metrics *metrics.Set

	mu      sync.Mutex // held while a command is applied
	ops     []any      // what members asked for, in order
	refuse  error      // refuses every command
	follows atomic.Bool
}

func newWorld(t *testing.T) *world {
	e, m := open(t)
	return &world{t: t, engine: e, machine: m, metrics: metrics.New()}
}

func (w *world) close() {
	w.t.Helper()
	if err := w.engine.Close(); err != nil {
		w.t.Error(err)
	}
}

// Leading implements Leadership.
func (w *world) Leading() (uint64, bool) { return 1, !w.follows.Load() }

// Propose implements Proposer.
func (w *world) Propose(_ context.Context, op command.Op) (state.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		return state.Result{}, w.refuse
	}
	if s, ok := op.(command.Signed); ok && s.By.Member {
		w.ops = append(w.ops, s.Op)
	}
	w.machine.Begin()
	result, err := w.machine.Apply(op)
	if err == nil {
		err = w.machine.Commit(state.Position{Index: w.machine.Applied().Index + 1, Term: 1})
	}
	return result, err
}

// do carries out a client's command.
func (w *world) do(op any) {
	w.t.Helper()
	if result, err := w.Propose(w.t.Context(), op); err != nil || result.Err != nil {
		w.t.Fatal(errors.Join(err, result.Err))
	}
}

// puts writes n revisions.
func (w *world) puts(n int) {
	w.t.Helper()
	for i := range n {
		w.do(&pb.PutRequest{Key: fmt.Appendf(nil, "%d", i%3)})
	}
}

// compactions are the revisions that were compacted to since the last call.
func (w *world) compactions() (revs []int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, op := range w.ops {
		revs = append(revs, op.(*pb.CompactionRequest).Revision)
	}
	w.ops = nil
	return revs
}

func (w *world) setRefuse(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse = err
}

func (w *world) sweeper() *Sweeper {
	return NewSweeper(w.machine.KV(), w.metrics.MVCC, slog.New(slog.DiscardHandler))
}

// until polls a condition.
func until(t *testing.T, limit time.Duration, what string, holds func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		if time.Since(start) > limit {
			t.Fatalf("after %s it is not true yet that %s", limit, what)
		}
		<-ticker.C
	}
	return time.Since(start)
}
