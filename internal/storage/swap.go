package storage

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Beside an engine's directory stand those by which a copy takes its place. They are told apart by what is behind the name.
const (
	nextSuffix   = ".next"   // a copy in the making; worth nothing after a crash
	readySuffix  = ".ready"  // a copy that is whole and durable
	waitedSuffix = ".waited" // a copy that waited when a newer one came; whole as long as none has the name above
	oldSuffix    = ".old"    // what a copy has replaced, on its way out
)

// NextDir is where a copy for dir is made. What a crash has left there goes at the next Adopt.
func NextDir(dir string) string { return dir + nextSuffix }

// ReadyDir is where a copy is that is whole and waits for the Adopt that puts it in the place of dir.
func ReadyDir(dir string) string { return dir + readySuffix }

// Discard removes a copy in the making, if there is one. Nobody may have it open.
func Discard(disk vfs.FS, dir string) error {
	if err := removeHeld(disk, NextDir(dir)); err != nil {
		return fmt.Errorf("remove an unfinished copy of the state: %w", err)
	}
	return nil
}

// Promote says that the copy in the making is whole: from now on, also after a crash, it waits to become dir. Its
// engine was closed after everything in it was durable. One that waited before is replaced. The caller holds dir
// open, so that no other process is at work on its neighbours.
func Promote(disk vfs.FS, dir string) error {
	err := promote(disk, dir)
	if err != nil {
		return fmt.Errorf("keep a copy of the state: %w", err)
	}
	return nil
}

func promote(disk vfs.FS, dir string) error {
	next, ready, waited := NextDir(dir), ReadyDir(dir), dir+waitedSuffix
	if ok, err := isThere(disk, next); err != nil || !ok {
		return errors.Join(err, fmt.Errorf("there is no %s", next))
	}
	waits, err := isThere(disk, ready)
	if err != nil {
		return err
	}
	if waits {
		if err := remove(disk, waited); err != nil {
			return err
		}
		if err := move(disk, ready, waited); err != nil {
			return err
		}
	}
	if err := move(disk, next, ready); err != nil {
		return err
	}
	return remove(disk, waited)
}

// Settle removes what unfinished and finished copies have left beside dir, and tells whether a whole one waits in
// ReadyDir. It comes before dir is opened, at every start. The error wraps ErrLocked when somebody has dir open.
func Settle(disk vfs.FS, dir string) (waits bool, err error) {
	release, err := hold(disk, dir, NextDir(dir))
	if err != nil {
		return false, fmt.Errorf("look after copies of the state: %w", err)
	}
	waits, err = settle(disk, dir)
	if err = errors.Join(err, release()); err != nil {
		return false, fmt.Errorf("look after copies of the state: %w", err)
	}
	return waits, nil
}

func settle(disk vfs.FS, dir string) (waits bool, err error) {
	ready, waited := ReadyDir(dir), dir+waitedSuffix
	for _, garbage := range []string{NextDir(dir), dir + oldSuffix} {
		if err := remove(disk, garbage); err != nil {
			return false, err
		}
	}
	if waits, err = isThere(disk, ready); err != nil {
		return false, err
	}
	if waits {
		return true, remove(disk, waited)
	}
	// A crash came between the two renames of Promote.
	if waits, err = isThere(disk, waited); err != nil || !waits {
		return false, err
	}
	return true, move(disk, waited, ready)
}

// Adopt settles, and puts the copy that waits, if one does, in the place of dir; adopted tells whether it did. A crash at any
// moment leaves dir or the copy, and the next call goes on. What goes with a state, its log above all, is made to fit
// the copy before: from then on only the copy is started with.
func Adopt(disk vfs.FS, dir string) (adopted bool, err error) {
	release, err := hold(disk, dir, NextDir(dir))
	if err != nil {
		return false, fmt.Errorf("take over a copy of the state: %w", err)
	}
	adopted, err = adopt(disk, dir)
	if err = errors.Join(err, release()); err != nil {
		return false, fmt.Errorf("take over a copy of the state: %w", err)
	}
	return adopted, nil
}

func adopt(disk vfs.FS, dir string) (adopted bool, err error) {
	if waits, err := settle(disk, dir); err != nil || !waits {
		return false, err
	}
	// Between the two renames there is no dir, and the copy that waits says that there need be none.
	if here, err := isThere(disk, dir); err != nil {
		return false, err
	} else if here {
		if err := move(disk, dir, dir+oldSuffix); err != nil {
			return false, err
		}
	}
	if err := move(disk, ReadyDir(dir), dir); err != nil {
		return false, err
	}
	return true, remove(disk, dir+oldSuffix)
}

// Reject removes the copy that waits, whose place in the log turned out to be no use. It comes before dir is opened.
func Reject(disk vfs.FS, dir string) error {
	release, err := hold(disk, dir, NextDir(dir))
	if err != nil {
		return fmt.Errorf("reject a copy of the state: %w", err)
	}
	waits, err := settle(disk, dir)
	if err == nil && waits {
		// It gives up its name before its first file goes.
		if err = move(disk, ReadyDir(dir), dir+oldSuffix); err == nil {
			err = remove(disk, dir+oldSuffix)
		}
	}
	if err = errors.Join(err, release()); err != nil {
		return fmt.Errorf("reject a copy of the state: %w", err)
	}
	return nil
}

// move renames a directory to a name that is free, durable when it returns.
func move(disk vfs.FS, from, to string) error {
	if err := disk.Rename(from, to); err != nil {
		return err
	}
	return syncParent(disk, to)
}

// remove removes a directory, if there is one, with all that is in it.
func remove(disk vfs.FS, dir string) error {
	ok, err := isThere(disk, dir)
	if err != nil || !ok {
		return err
	}
	if err := disk.RemoveAll(dir); err != nil {
		return err
	}
	return syncParent(disk, dir)
}

// removeHeld does the same once it is sure that nobody has it open.
func removeHeld(disk vfs.FS, dir string) error {
	release, err := hold(disk, dir)
	if err != nil {
		return err
	}
	return errors.Join(remove(disk, dir), release())
}

// hold takes the locks of those of the directories that are there.
func hold(disk vfs.FS, dirs ...string) (release func() error, err error) {
	var held []interface{ Close() error }
	release = func() (err error) {
		for _, l := range held {
			err = errors.Join(err, l.Close())
		}
		return err
	}
	for _, dir := range dirs {
		ok, err := isThere(disk, dir)
		if err == nil && ok {
			lock, lerr := lockDir(disk, dir)
			if err = lerr; err == nil {
				held = append(held, lock)
			}
		}
		if err != nil {
			return nil, errors.Join(err, release())
		}
	}
	return release, nil
}

func isThere(disk vfs.FS, path string) (bool, error) {
	_, err := disk.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func syncParent(disk vfs.FS, path string) error {
	d, err := disk.OpenDir(disk.PathDir(path))
	if err != nil {
		return fmt.Errorf("open directory to sync it: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
