package raftlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	segmentSuffix = ".log"
	sparePrefix   = "spare-"
	tempSuffix    = ".tmp"

	// MaxSpares is how many files wait to become segments; more are removed.
	MaxSpares = 2
	// fillPause is waited between two steps of writing a spare full of zeros, so that
	// the disk has time for the appends that somebody waits for.
	fillPause = 5 * time.Millisecond
	// category is what Keelson calls its log towards file systems that count writes.
	category = vfs.DiskWriteCategory("raft-log")
)

// Exists says whether the directory holds a log. A directory that does not exist
// holds none.
func Exists(fs vfs.FS, dir string) (bool, error) {
	names, err := fs.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a raft log: %w", err)
	}
	for _, name := range names {
		if _, ok := parseNumber(name, "", segmentSuffix); ok {
			return true, nil
		}
	}
	return false, nil
}

func segmentName(number uint64) string { return fmt.Sprintf("%016x%s", number, segmentSuffix) }

func spareName(id uint64) string { return fmt.Sprintf("%s%016x", sparePrefix, id) }

// parseNumber reads the 16 hexadecimal digits between prefix and suffix of a name.
func parseNumber(name, prefix, suffix string) (uint64, bool) {
	name, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	name, ok = strings.CutSuffix(name, suffix)
	if !ok || len(name) != 16 || strings.ToLower(name) != name {
		return 0, false
	}
	n, err := strconv.ParseUint(name, 16, 64)
	return n, err == nil
}

func syncDir(fs vfs.FS, dir string) error {
	f, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open directory to sync it: %w", err)
	}
	if err := f.Sync(); err != nil {
		return errors.Join(fmt.Errorf("sync directory: %w", err), f.Close())
	}
	return f.Close()
}

// spare is a file that waits to become a segment.
type spare struct {
	name string
	size int64
}

// directory creates, renames and removes the log's files. It is owned by whoever
// took it from Log.files.
type directory struct {
	opts   Options
	logID  uint64
	lastID uint64 // of spares
	spares []spare
	// renamed is set while a recycled segment's new name is not durable. Until it is,
	// the file must keep its content: after a crash it may be that segment again.
	renamed bool
}

func (d *directory) path(name string) string { return d.opts.FS.PathJoin(d.opts.Dir, name) }

// newSpareName returns a name that was not used since the log was opened.
func (d *directory) newSpareName() string {
	d.lastID++
	return spareName(d.lastID)
}

// fill creates a file and writes it full of zeros up to size. With a pause it does so
// step by step, each synced: a large amount of unwritten pages would stand in the way
// of the next append's sync. Without one the caller syncs. It works under a name of
// its own and so needs no ownership of the directory.
func fill(ctx context.Context, o Options, name string, size int64, pause time.Duration) (_ *segment, err error) {
	s := &segment{name: name + tempSuffix}
	path := o.FS.PathJoin(o.Dir, s.name)
	if s.file, err = o.FS.Create(path, category); err != nil {
		return nil, fmt.Errorf("create spare segment: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("fill spare segment: %w", err), s.file.Close(), o.FS.Remove(path))
		}
	}()
	zeros := make([]byte, o.step())
	for s.size < size {
		n := min(int64(len(zeros)), size-s.size)
		if _, err := s.file.WriteAt(zeros[:n], s.size); err != nil {
			return nil, err
		}
		s.size += n
		if pause == 0 {
			continue
		}
		if err := s.file.SyncData(); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
	return s, nil
}

// activate turns a file into segment number: first its header is durable, then its
// name. A file that has the name therefore has the header.
func (d *directory) activate(s *segment, number uint64) (_ *segment, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.file.Close())
		}
	}()
	if d.renamed {
		if err := syncDir(d.opts.FS, d.opts.Dir); err != nil {
			return nil, err
		}
		d.renamed = false
	}
	block := make([]byte, headerBlock)
	active := &segment{number: number, name: segmentName(number), file: s.file, size: s.size, used: headerBlock}
	active.base = putSegmentHeader(block, d.logID, number)
	if _, err := s.file.WriteAt(block, 0); err != nil {
		return nil, fmt.Errorf("write segment header: %w", err)
	}
	if err := s.file.Sync(); err != nil {
		return nil, fmt.Errorf("sync segment header: %w", err)
	}
	if err := d.opts.FS.Rename(d.path(s.name), d.path(active.name)); err != nil {
		return nil, fmt.Errorf("name segment: %w", err)
	}
	if err := syncDir(d.opts.FS, d.opts.Dir); err != nil {
		return nil, err
	}
	return active, nil
}

// prepare makes segment number from a spare, or from a new file of one step's length
// if there is none: its first append should not wait for a whole segment of zeros.
func (d *directory) prepare(number uint64) (*segment, error) {
	if n := len(d.spares); n > 0 {
		sp := d.spares[n-1]
		d.spares = d.spares[:n-1]
		f, err := d.opts.FS.OpenReadWrite(d.path(sp.name), category)
		if err != nil {
			return nil, fmt.Errorf("open spare segment: %w", err)
		}
		return d.activate(&segment{name: sp.name, file: f, size: sp.size}, number)
	}
	s, err := fill(context.Background(), d.opts, d.newSpareName(), d.opts.step(), 0)
	if err != nil {
		return nil, err
	}
	return d.activate(s, number)
}

// recycle turns forgotten segments into spares, or removes what is too many or of
// another size than segments have now.
func (d *directory) recycle(retired []*segment) error {
	for _, s := range retired {
		if s.file != nil {
			if err := s.file.Close(); err != nil {
				return fmt.Errorf("close forgotten segment: %w", err)
			}
		}
		if len(d.spares) >= MaxSpares || s.size > d.opts.SegmentSize {
			if err := d.opts.FS.Remove(d.path(s.name)); err != nil {
				return fmt.Errorf("remove forgotten segment: %w", err)
			}
			continue
		}
		if err := d.adopt(s.name, d.newSpareName(), s.size); err != nil {
			return err
		}
		d.renamed = true
	}
	return nil
}

// adopt gives a closed file a spare's name and puts it into the pool.
func (d *directory) adopt(from, to string, size int64) error {
	if err := d.opts.FS.Rename(d.path(from), d.path(to)); err != nil {
		return fmt.Errorf("keep spare segment: %w", err)
	}
	d.spares = append(d.spares, spare{name: to, size: size})
	return nil
}
