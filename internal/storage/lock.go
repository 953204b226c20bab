package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrLocked is returned (wrapped) when another process, or another engine of
// this one, holds the directory.
var ErrLocked = errors.New("the directory is held by another running process; " +
	"two servers on one directory would destroy it, so this one does not start: " +
	"stop the other process or choose another data directory")

// heldHere is the text of the file system's untyped error for a lock that
// this very process holds.
const heldHere = "lock held by current process"

// lockDir takes the directory's lock. A conflict arrives as a bare errno from
// the lock call, while a file that cannot be opened arrives as a path error
// with the same errno inside; only the first is a conflict.
func lockDir(fsys vfs.FS, dir string) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(dir, fsys)
	if err == nil {
		return lock, nil
	}
	var path *fs.PathError
	conflict := !errors.As(err, &path) && (errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES))
	if conflict || err.Error() == heldHere {
		return nil, fmt.Errorf("%w (%w)", ErrLocked, err)
	}
	return nil, err
}
