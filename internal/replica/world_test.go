package replica

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// world is one running replica with its log and state on a disk.
type world struct {
	*Replica
	engine *storage.Engine
	log    *raftlog.Log
	cancel context.CancelFunc
	group  *errgroup.Group
}

// start opens, or founds, a member on a disk and runs it.
func start(fs vfs.FS, dir string, seed uint64) (*world, error) {
	w := new(world)
	var err error
	if w.engine, err = storage.Open(storage.Options{FS: fs, Dir: fs.PathJoin(dir, "state")}); err != nil {
		return nil, err
	}
	founded, err := state.Founded(w.engine)
	if err != nil {
		return nil, errors.Join(err, w.engine.Close())
	}
	o := raftlog.Options{FS: fs, Dir: fs.PathJoin(dir, "log")}
	exists, err := raftlog.Exists(fs, o.Dir)
	if err == nil && exists {
		w.log, err = raftlog.Open(o)
	} else if err == nil {
		w.log, err = raftlog.Create(o, raftlog.Origin{ID: 7, Index: 1, Term: 1})
	}
	if err != nil {
		return nil, errors.Join(err, w.engine.Close())
	}
	if err := w.build(founded, seed); err != nil {
		return nil, errors.Join(err, w.log.Close(), w.engine.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.group, ctx = errgroup.WithContext(ctx)
	w.group.Go(func() error { return w.Run(ctx) })
	w.group.Go(w.RunAppend)
	w.group.Go(w.RunApply)
	return w, nil
}

func (w *world) build(founded bool, seed uint64) error {
	if !founded {
		err := state.Found(w.engine, state.Founding{
			Origin: state.Position{Index: 1, Term: 1}, Cluster: 5, Local: 3, Members: []member.Member{{ID: 3}},
		})
		if err != nil {
			return err
		}
	}
	machine, err := state.Open(w.engine, mvcc.Options{})
	if err != nil {
		return err
	}
	w.Replica, err = New(Options{
		Log: w.log, Machine: machine, Heartbeat: 10 * time.Millisecond, Election: 100 * time.Millisecond,
		MaxRequestBytes: 1 << 20, WarnApply: time.Minute, Seed: seed, Metrics: metrics.New(),
		Logger: slog.New(slog.DiscardHandler),
	})
	return err
}

// stop ends the replica and closes its files, as a process that ends without writing anything out.
func (w *world) stop() error {
	w.cancel()
	return errors.Join(w.group.Wait(), w.log.Close(), w.engine.Close())
}

func (w *world) put(ctx context.Context, key, value string) (mvcc.Rev, error) {
	result, err := w.Propose(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	if err == nil {
		err = result.Err
	}
	return result.Rev, err
}

func mustStart(t testing.TB, fs vfs.FS, dir string) *world {
	t.Helper()
	w, err := start(fs, dir, uint64(time.Now().UnixNano()))
	if err != nil {
		t.Fatal(err)
	}
	return w
}
