package chores

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

func open(t *testing.T) (*storage.Engine, *state.Machine) {
	t.Helper()
	e, err := storage.Open(storage.Options{FS: vfs.NewMem(), Dir: "state"})
	if err != nil {
		t.Fatal(err)
	}
	f := state.Founding{Origin: state.Position{Index: 1, Term: 1}, Cluster: 1, Local: 1, Members: []member.Member{{ID: 1}}}
	if err := state.Found(e, f); err != nil {
		t.Fatal(err)
	}
	m, err := state.Open(e, mvcc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return e, m
}

// apply carries out one command as the next entry.
func apply(t *testing.T, m *state.Machine, op any) {
	t.Helper()
	m.Begin()
	result, err := m.Apply(op)
	if err == nil {
		err = result.Err
	}
	if err == nil {
		err = m.Commit(state.Position{Index: m.Applied().Index + 1, Term: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// running starts a chore and returns what stops it.
func running(t *testing.T, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the chore ended with: %v", err)
		}
	}
}

func TestACompactionIsSweptInTheBackground(t *testing.T) {
	e, m := open(t)
	for range 2*sweepKeys + 10 {
		apply(t, m, &pb.PutRequest{Key: []byte("k"), Value: []byte("v")})
	}
	set := metrics.New()
	stop := running(t, NewSweeper(m.KV(), set.MVCC, slog.New(slog.DiscardHandler)).Run)
	last := m.KV().Stats().Rev
	apply(t, m, &pb.CompactionRequest{Revision: int64(last)})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := m.KV().Swept(ctx, last); err != nil {
		t.Fatal(err)
	}
	stop()
	if got, want := set.MVCC.CompactedKeys.Value(), uint64(2*sweepKeys+9); got != want {
		t.Errorf("%d versions were removed, want %d", got, want)
	}
	view := m.KV().View()
	if it, ok := view.Get([]byte("k")); !ok || it.Mod != last {
		t.Errorf("the key is %v", it)
	}
	view.Close()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// fakeLog is a log that only remembers how far it was cut.
type fakeLog struct {
	cut  atomic.Uint64
	size atomic.Int64
}

func (l *fakeLog) Compact(to uint64) error { l.cut.Store(to); return nil }
func (l *fakeLog) Size() int64             { return l.size.Load() }

// needs is a follower that needs what is behind an index.
type needs uint64

func (n needs) KeepBehind() uint64 { return uint64(n) }

func TestTheLogIsKeptForThoseWhoNeedItUntilItIsTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, m := open(t)
		for i := range 20 {
			apply(t, m, &pb.PutRequest{Key: fmt.Appendf(nil, "%d", i)})
		}
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			follower needs
			catchUp  uint64
			size     int64
			want     uint64
		}{
			{follower: 7, want: 7},
			{follower: 19, catchUp: 5, want: 16},
			{follower: 19, catchUp: 500, want: 0},
			{follower: 7, catchUp: 500, size: MaxKeptBytes, want: 0},
			{follower: 7, catchUp: 500, size: MaxKeptBytes + 1, want: 21},
		} {
			log := new(fakeLog)
			log.size.Store(step.size)
			stop := running(t, NewCutter(CutterOptions{Log: log, Engine: e, Machine: m, Followers: step.follower, CatchUp: step.catchUp}).Run)
			synctest.Wait()
			if got := log.cut.Load(); got != step.want {
				t.Errorf("%+v: cut at %d", step, got)
			}
			stop()
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTheLogIsCutOnlyBehindWhatIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, m := open(t)
		log := new(fakeLog)
		stop := running(t, NewCutter(CutterOptions{Log: log, Engine: e, Machine: m, Followers: needs(math.MaxInt64)}).Run)
		for i := range 10 {
			apply(t, m, &pb.PutRequest{Key: fmt.Appendf(nil, "%d", i)})
		}
		time.Sleep(5 * cutInterval)
		if got := log.cut.Load(); got != 1 {
			t.Fatalf("cut at %d: only the founding is durable", got)
		}
		// A log that has grown too long has the state written out.
		log.size.Store(MaxLogBytes + 1)
		time.Sleep(5 * cutInterval)
		if got := log.cut.Load(); got != 11 {
			t.Fatalf("cut at %d, want 11: everything was written out", got)
		}
		stop()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
