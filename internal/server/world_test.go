package server

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"

	"github.com/keelson-db/keelson/internal/chores"
	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/replica"
)

// world is a member without doors: its data and its replica, running.
type world struct {
	data    *data
	replica *replica.Replica
	cancel  context.CancelFunc
	group   *errgroup.Group
}

// start opens, or founds, a member on a disk and runs it.
func start(fs vfs.FS, seed uint64) (*world, error) {
	c, err := config.Parse([]string{"--data-dir", "a/b"}, nil, "keelson")
	if err != nil {
		return nil, err
	}
	w := new(world)
	log := slog.New(slog.DiscardHandler)
	if w.data, err = openData(context.Background(), c, Env{FS: fs, Seed: seed, Log: log}, new(peerDoors)); err != nil {
		return nil, err
	}
	set := metrics.New()
	w.replica, err = replica.New(replica.Options{
		Log: w.data.log, Machine: w.data.machine, Heartbeat: 10 * time.Millisecond, Election: 100 * time.Millisecond,
		MaxRequestBytes: 1 << 20, WarnApply: time.Minute, Seed: seed, Metrics: set, Logger: log,
	})
	if err != nil {
		return nil, errors.Join(err, w.data.close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.group, ctx = errgroup.WithContext(ctx)
	w.group.Go(func() error { return w.replica.Run(ctx) })
	w.group.Go(w.replica.RunAppend)
	w.group.Go(w.replica.RunApply)
	w.group.Go(func() error {
		return chores.NewCutter(chores.CutterOptions{
			Log: w.data.log, Engine: w.data.engine, Machine: w.data.machine, Followers: w.replica,
		}).Run(ctx)
	})
	return w, nil
}

func mustStart(t *testing.T, fs vfs.FS) *world {
	t.Helper()
	w, err := start(fs, uint64(time.Now().UnixNano()))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// stop ends the member in order.
func (w *world) stop() error {
	w.cancel()
	return errors.Join(waitBelow(w.group, w.data.engine), w.data.close())
}

func (w *world) put(ctx context.Context, key, value string) (mvcc.Rev, error) {
	result, err := w.replica.Propose(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	if err == nil {
		err = result.Err
	}
	return result.Rev, err
}
