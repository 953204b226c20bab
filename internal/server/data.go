package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/rebuild"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// The parts of a data directory.
const (
	stateDir = "state"
	logDir   = "log"
	etcdDir  = "member" // what a directory of etcd's has inside
)

// data is what the data directory holds, open.
type data struct {
	config  *config.Config
	env     Env
	peers   *peerDoors
	engine  *storage.Engine
	log     *raftlog.Log
	machine *state.Machine
	begun   bool // this start made the first state
}

// openData opens the data directory. A new one is founded, or filled from another member.
func openData(ctx context.Context, c *config.Config, env Env, p *peerDoors) (_ *data, err error) {
	dir := c.DataDir
	if _, err := env.FS.Stat(env.FS.PathJoin(dir, stateDir)); err != nil {
		// This is a first start: what cannot be is refused before anything is written.
		if err := c.CheckBootstrap(); err != nil {
			return nil, err
		}
	}
	if err := checkDirectory(env.FS, dir); err != nil {
		return nil, err
	}
	if err := p.openAutoTLS(c, env); err != nil {
		return nil, err
	}
	d := &data{config: c, env: env, peers: p}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if err := d.open(ctx); err != nil {
		return nil, fmt.Errorf("open the data directory %s: %w", dir, err)
	}
	return d, nil
}

func (d *data) open(ctx context.Context) (err error) {
	waits, err := storage.Settle(d.env.FS, d.stateDir())
	if err != nil {
		return err
	}
	if waits {
		if err := d.adopt(); err != nil {
			return err
		}
	}
	if err := d.openEngine(); err != nil {
		return err
	}
	if err := d.openLog(ctx); err != nil {
		return err
	}
	o := mvcc.Options{HashCompactions: d.config.FeatureGates["CompactHashCheck"]}
	if d.machine, err = state.Open(d.engine, o); err != nil {
		return err
	}
	if d.machine.Log() != d.log.ID() {
		return fmt.Errorf("the raft log %s belongs to another member's state; nothing was changed: "+
			"put the right one in its place, or name it with --wal-dir", d.logOptions().Dir)
	}
	// A directory that was empty has nobody to get rid of, and a start in the same process would get rid of those who
	// joined since.
	if d.config.ForceNewCluster && !d.begun && !d.env.again {
		removed, err := rebuild.Force(d.engine, d.log, d.machine, d.env.Log)
		if err != nil {
			return err
		}
		d.env.Log.Warn("--force-new-cluster: this member is the only one of its cluster now; leave the flag out from the next start on", "removed", len(removed))
	}
	if members := d.machine.Members(); members.Removed(members.Local()) {
		return fmt.Errorf("%w: start it with an empty data directory as a new member", replica.ErrRemoved)
	}
	return nil
}

func (d *data) stateDir() string { return d.env.FS.PathJoin(d.config.DataDir, stateDir) }

func (d *data) logOptions() raftlog.Options {
	o := raftlog.Options{FS: d.env.FS, Dir: d.env.FS.PathJoin(d.config.DataDir, logDir), Logger: d.env.Log}
	if d.config.WALDir != "" {
		o.Dir = d.config.WALDir
	}
	return o
}

func (d *data) openEngine() error {
	files, err := shareFiles(metrics.DescriptorLimit())
	if err != nil {
		return err
	}
	d.engine, err = storage.Open(storage.Options{FS: d.env.FS, Dir: d.stateDir(), OpenFiles: files.tables, Logger: d.env.Log})
	return err
}

// checkDirectory creates the directory, and refuses one that belongs to somebody else.
func checkDirectory(disk vfs.FS, dir string) error {
	if _, err := disk.Stat(disk.PathJoin(dir, etcdDir)); err == nil {
		return fmt.Errorf("open the data directory %s: it belongs to etcd, which keeps its data in another form; nothing was changed: "+
			"name another directory with --data-dir", dir)
	}
	if err := disk.MkdirAll(disk.PathJoin(dir, stateDir), 0o700); err != nil {
		return fmt.Errorf("create the data directory %s: %w%s", dir, err, hint(err))
	}
	if err := syncDirectory(disk, dir); err != nil {
		return fmt.Errorf("create the data directory %s: %w%s", dir, err, hint(err))
	}
	// A name outlives a loss of power only once the directory that holds it was synced, up to the first one
	// that was there before us. Which that is nobody knows after a crash, so we go to the top, or to one that
	// is not ours to sync and was there before.
	for at, up := dir, disk.PathDir(dir); up != at && syncDirectory(disk, up) == nil; at, up = up, disk.PathDir(up) {
	}
	return nil
}

func syncDirectory(disk vfs.FS, dir string) error {
	d, err := disk.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// hint says what to do about the usual errors of a disk.
func hint(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return "; make it writable for this user or name another directory with --data-dir"
	case errors.Is(err, syscall.ENOSPC):
		return "; free some space: nothing that was acknowledged is lost"
	case errors.Is(err, syscall.ENOTDIR):
		return "; a file is in its place: name another directory with --data-dir"
	}
	return ""
}

// openLog opens the log, or begins log and state where there is nothing yet.
func (d *data) openLog(ctx context.Context) error {
	o := d.logOptions()
	founded, err := state.Founded(d.engine)
	if err != nil || (founded && d.log != nil) {
		return err
	}
	exists, err := raftlog.Exists(o.FS, o.Dir)
	if err != nil {
		return err
	}
	switch {
	case founded && !exists:
		return fmt.Errorf("the state is there and its raft log %s is not: what was acknowledged last may be lost; "+
			"put the log back in its place (was it named with --wal-dir?), or restore a backup", o.Dir)
	case !founded:
		d.begun = true
		return d.begin(ctx, exists)
	}
	d.log, err = raftlog.Open(o)
	return err
}

// close closes what is open, the state written out first so that the next start has little to apply.
func (d *data) close() error {
	var errs []error
	if d.log != nil {
		errs = append(errs, d.log.Close())
	}
	if d.engine != nil {
		if d.machine != nil && d.engine.Err() == nil {
			errs = append(errs, d.engine.Flush())
		}
		errs = append(errs, d.engine.Close())
	}
	return errors.Join(errs...)
}
