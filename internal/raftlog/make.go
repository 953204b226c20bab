package raftlog

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// dirMode lets nobody but the server's user see what clients write. The files'
	// own permissions come from the process's umask, so the directory has to do it.
	dirMode = 0o700
	// otherUsers are the permissions of everybody else.
	otherUsers = 0o077
)

// makeDirectory creates the directory and all levels above it that are not there, and
// makes their names durable.
func makeDirectory(disk vfs.FS, dir string) error {
	there, err := firstThere(disk, dir)
	if err != nil {
		return err
	}
	if err := disk.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	// What was there before may have been made by a process that was killed before it
	// synced. So the levels above are synced too, but may refuse: they may be
	// somebody else's.
	for at, isNew := dir, true; ; {
		isNew = isNew && at != there
		up := disk.PathDir(at)
		if up == at {
			return nil
		}
		if err := syncDir(disk, up); err != nil && isNew {
			return fmt.Errorf("make the directory's name durable: %w", err)
		}
		at = up
	}
}

// firstThere climbs from a directory to the first level that exists.
func firstThere(disk vfs.FS, dir string) (string, error) {
	for {
		_, err := disk.Stat(dir)
		if err == nil {
			return dir, nil
		}
		up := disk.PathDir(dir)
		if !errors.Is(err, fs.ErrNotExist) || up == dir {
			return "", fmt.Errorf("look for the directory: %w", err)
		}
		dir = up
	}
}

// warnOfReaders tells the operator if other users may get at the log. The permissions
// of a directory that was there before are the operator's choice.
func warnOfReaders(o Options) {
	info, err := o.FS.Stat(o.Dir)
	if err == nil && info.Mode().Perm()&otherUsers != 0 {
		o.Logger.Warn("other users of this machine may get at the raft log, which holds all that clients write; "+
			"unless that is wanted, leave the directory to its owner alone (chmod 700)", "dir", o.Dir, "mode", info.Mode().Perm().String())
	}
}
