package raftlog

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrReadOnly is returned by the writing calls of a log that Look has opened.
var ErrReadOnly = errors.New("the raft log was opened to look at it")

// Look opens the log for reading alone: not a byte of it changes, whatever a crash has left at its end. What would be
// cut there is not shown. Damage elsewhere is refused as in Open, and so is a log that somebody has open; until
// Close nobody else can open it.
func Look(o Options) (*Log, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	exists, err := Exists(o.FS, o.Dir)
	if err == nil && !exists {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("look at the raft log in %s: %w", o.Dir, err)
	}
	l, err := hold(o, func() (*Log, error) { return look(o) })
	if err != nil {
		return nil, fmt.Errorf("look at the raft log in %s: %w", o.Dir, err)
	}
	return l, nil
}

// look does what Look does, with the directory locked.
func look(o Options) (_ *Log, err error) {
	o.FS = readingFS{o.FS}
	found, err := list(o.FS, o.Dir)
	if err != nil {
		return nil, err
	}
	if len(found.segments) == 0 {
		return nil, ErrNotFound
	}
	r := &recovery{opts: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if err := r.load(found.segments); err != nil {
		return nil, err
	}
	if err := r.run(); err != nil {
		return nil, err
	}
	l := r.log(&directory{opts: o, logID: r.logID})
	// Close writes nothing to a log that has failed, and all else that writes refuses.
	l.failed = ErrReadOnly
	return l, nil
}

// readingFS opens for reading what is asked for to be written.
type readingFS struct{ vfs.FS }

// OpenReadWrite implements vfs.FS.
func (f readingFS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.Open(name, opts...)
}
