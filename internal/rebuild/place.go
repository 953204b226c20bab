package rebuild

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// The parts of a data directory.
const (
	stateDir = "state"
	logDir   = "log"
	etcdDir  = "member" // what a directory of etcd's has inside
)

var (
	// ErrChanged refuses to rebuild from a directory that is not any more what was looked at.
	ErrChanged = errors.New("the directory was written to since it was looked at: was the member started? begin again")
	// ErrWaits refuses a directory that has a newer state beside its own.
	ErrWaits = errors.New("a copy of the cluster's state waits here that the member has not taken over yet: " +
		"start the member once, stop it again and repeat this, or start it with --force-new-cluster")
)

// Place is where a member that does not run keeps its data.
type Place struct {
	FS   vfs.FS
	Data string // its data directory
	WAL  string // where its log is, if not inside
}

func (p Place) state() string { return p.FS.PathJoin(p.Data, stateDir) }

func (p Place) log() string {
	if p.WAL != "" {
		return p.WAL
	}
	return p.FS.PathJoin(p.Data, logDir)
}

func (p Place) has(path string) (bool, error) {
	_, err := p.FS.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Rebuild makes the member whose directory was looked at the only one of its cluster, durable when it returns. What it
// returns are those who were members before. After a crash it may be done again.
func Rebuild(p Place, looked *Facts, logger *slog.Logger) (removed []member.Member, err error) {
	removed, err = rebuild(p, looked, logger)
	if err != nil {
		return nil, fmt.Errorf("rebuild the cluster from %s: %w", p.Data, err)
	}
	return removed, nil
}

func rebuild(p Place, looked *Facts, logger *slog.Logger) (removed []member.Member, err error) {
	// Looked at once more, because the directory was nobody's meanwhile.
	if now := Look(p); now.Problem != nil {
		return nil, now.Problem
	} else if !now.same(looked) {
		return nil, ErrChanged
	}
	l, err := raftlog.Open(raftlog.Options{FS: p.FS, Dir: p.log(), Logger: logger})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	e, err := storage.Open(storage.Options{FS: p.FS, Dir: p.state(), Logger: logger})
	if err != nil {
		return nil, err
	}
	// Closing writes the state out. Should that fail, the log has it all.
	defer func() { err = errors.Join(err, e.Close()) }()
	m, err := state.Open(e, mvcc.Options{})
	if err != nil {
		return nil, err
	}
	return Force(e, l, m, logger)
}
