package server

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/invariant"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// origin is where a new cluster's log begins: as if the founding had been its first entry.
var origin = state.Position{Index: 1, Term: 1}

// The parts of a data directory.
const (
	stateDir = "state"
	logDir   = "log"
	etcdDir  = "member" // what a directory of etcd's has inside
)

// data is what the data directory holds, open.
type data struct {
	engine  *storage.Engine
	log     *raftlog.Log
	machine *state.Machine
}

// openData opens the data directory, founding it when it is new.
func openData(c *config.Config, env Env) (_ *data, err error) {
	dir := c.DataDir
	if _, err := env.FS.Stat(env.FS.PathJoin(dir, stateDir)); err != nil {
		// A cluster is to be founded: what cannot be is refused before anything is written.
		if err := c.CheckBootstrap(); err != nil {
			return nil, err
		}
	}
	if err := checkDirectory(env.FS, dir); err != nil {
		return nil, err
	}
	files, err := shareFiles(metrics.DescriptorLimit())
	if err != nil {
		return nil, err
	}
	d := new(data)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	d.engine, err = storage.Open(storage.Options{
		FS: env.FS, Dir: env.FS.PathJoin(dir, stateDir), OpenFiles: files.tables, Logger: env.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("open the data directory %s: %w", dir, err)
	}
	logOptions := raftlog.Options{FS: env.FS, Dir: env.FS.PathJoin(dir, logDir), Logger: env.Log}
	if c.WALDir != "" {
		logOptions.Dir = c.WALDir
	}
	if err := d.openLog(c, env, logOptions); err != nil {
		return nil, fmt.Errorf("open the data directory %s: %w", dir, err)
	}
	if d.machine, err = state.Open(d.engine, mvcc.Options{HashCompactions: c.FeatureGates["CompactHashCheck"]}); err != nil {
		return nil, fmt.Errorf("open the data directory %s: %w", dir, err)
	}
	if d.machine.Log() != d.log.ID() {
		return nil, fmt.Errorf("open the data directory %s: the raft log %s belongs to another member's state; nothing was changed: "+
			"put the right one in its place, or name it with --wal-dir", dir, logOptions.Dir)
	}
	return d, nil
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

// openLog opens the log, or founds log and state where there is nothing yet.
func (d *data) openLog(c *config.Config, env Env, o raftlog.Options) error {
	founded, err := state.Founded(d.engine)
	if err != nil {
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
	case exists:
		if d.log, err = raftlog.Open(o); err != nil {
			return err
		}
	default:
		if err := c.CheckBootstrap(); err != nil {
			return err
		}
		if d.log, err = raftlog.Create(o, raftlog.Origin{ID: env.Seed, Index: origin.Index, Term: origin.Term}); err != nil {
			return err
		}
	}
	if founded {
		return nil
	}
	first, err := d.log.FirstIndex()
	if err != nil {
		return err
	}
	if first != origin.Index+1 {
		return fmt.Errorf("the raft log %s begins at entry %d and the state before it is not there: "+
			"put the state back in its place, or restore a backup", o.Dir, first)
	}
	return d.found(c)
}

// found writes the first state of the cluster that the configuration describes.
func (d *data) found(c *config.Config) error {
	if err := c.CheckBootstrap(); err != nil {
		return err
	}
	f := state.Founding{Origin: origin, Log: d.log.ID()}
	var ids []uint64
	for name, urls := range c.InitialCluster {
		id := config.MemberID(urls, c.InitialClusterToken)
		ids = append(ids, id)
		f.Members = append(f.Members, member.Member{ID: member.ID(id), PeerURLs: urls})
		if name == c.Name {
			f.Local = member.ID(id)
		}
	}
	invariant.Check(f.Local != 0, "a member that founds a cluster is part of it")
	f.Cluster = config.ClusterID(ids)
	return state.Found(d.engine, f)
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
