package raftlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrLocked is returned (wrapped) by Open and Create when another process, or another
// Log of this one, holds the directory.
var ErrLocked = errors.New("the raft log's directory is held by another running process; " +
	"two servers on one log would destroy it, so this one does not start: " +
	"stop the other process or choose another directory with --wal-dir")

const (
	// lockName is the file that carries the lock. It stays when the lock is gone.
	lockName = "LOCK"
	// lockedHere is the text of the file system's untyped error for a lock that this
	// very process holds.
	lockedHere = "lock held by current process"
)

// hold runs start with the directory locked. The log that it returns keeps the lock
// until Close; without one the lock is gone at once. It is the operating system's, so
// it ends with the process, however that ends.
func hold(o Options, start func() (*Log, error)) (*Log, error) {
	lock, err := lockDir(o.FS, o.Dir)
	if err != nil {
		return nil, err
	}
	l, err := start()
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	l.lock = lock
	warnOfReaders(o)
	return l, nil
}

// lockDir takes the directory's lock. A file that cannot be opened says so in a path
// error, which may hold the same errno as a bare one from a lock that is taken.
func lockDir(disk vfs.FS, dir string) (io.Closer, error) {
	lock, err := disk.Lock(disk.PathJoin(dir, lockName))
	if err == nil {
		return lock, nil
	}
	path := new(fs.PathError)
	taken := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES)
	if taken && !errors.As(err, &path) || err.Error() == lockedHere {
		return nil, fmt.Errorf("%w (%w)", ErrLocked, err)
	}
	return nil, fmt.Errorf("lock the directory: %w", err)
}
