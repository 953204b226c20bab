package rebuild

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/storage"
)

const (
	// tableSuffix is that of the files which make up nearly all of a state. They never change, so a second name is a copy.
	tableSuffix = ".sst"
	// unfinished is behind the name of a backup in the making.
	unfinished = ".unfinished"
)

// Backup copies what a member keeps into a new directory, which is a data directory like any other: the member can be
// started with it. Where both are on one disk it takes little more room than the log. The place is locked meanwhile. An
// error wraps storage.ErrNoRoom where it has no room.
func Backup(p Place, to string) error {
	if err := backup(p, to); err != nil {
		return fmt.Errorf("copy %s to %s: %w", p.Data, to, err)
	}
	return nil
}

func backup(p Place, to string) (err error) {
	if there, err := p.has(to); err != nil || there {
		return errors.Join(err, errors.New("there is something of that name already"))
	}
	e, err := storage.Open(storage.Options{FS: p.FS, Dir: p.state(), ReadOnly: true})
	if err != nil {
		return explain(err)
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	l, err := raftlog.Look(raftlog.Options{FS: p.FS, Dir: p.log()})
	if err != nil {
		return explain(err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()

	// It has its name only once it is whole.
	next := Place{FS: p.FS, Data: to + unfinished}
	if err := p.FS.RemoveAll(next.Data); err != nil {
		return err
	}
	c := &copying{fs: p.FS}
	for from, to := range map[string]string{p.state(): next.state(), p.log(): next.log()} {
		if err := c.plan(from, to); err != nil {
			return err
		}
	}
	if err := c.carryOut(next); err != nil {
		return errors.Join(err, p.FS.RemoveAll(next.Data))
	}
	if err := p.FS.Rename(next.Data, to); err != nil {
		return err
	}
	return syncDir(p.FS, p.FS.PathDir(to))
}

// copying is what is to be copied.
type copying struct {
	fs    vfs.FS
	dirs  []string
	files []file
}

type file struct {
	from, to string
	bytes    int64
	table    bool
}

// plan notes the files of a directory. Locks, and what the log holds ready for later, are not among them.
func (c *copying) plan(from, to string) error {
	names, err := c.fs.List(from)
	if err != nil {
		return err
	}
	c.dirs = append(c.dirs, to)
	for _, name := range names {
		if name == "LOCK" || strings.HasPrefix(name, "spare-") {
			continue
		}
		f := file{from: c.fs.PathJoin(from, name), to: c.fs.PathJoin(to, name), table: strings.HasSuffix(name, tableSuffix)}
		info, err := c.fs.Stat(f.from)
		if err != nil {
			return err
		}
		if info.IsDir() {
			continue // nobody has made it who makes such directories
		}
		f.bytes = info.Size()
		c.files = append(c.files, f)
	}
	return nil
}

// carryOut makes the backup, durably but for its name.
func (c *copying) carryOut(next Place) error {
	for _, dir := range c.dirs {
		if err := c.fs.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	rest, bytes := c.link()
	if err := storage.Room(c.fs, next.Data, bytes); err != nil {
		return err
	}
	for _, f := range rest {
		if err := vfs.Copy(c.fs, f.from, f.to); err != nil {
			return err
		}
	}
	for _, dir := range append(c.dirs, next.Data) {
		if err := syncDir(c.fs, dir); err != nil {
			return err
		}
	}
	return nil
}

// link gives tables a second name where the disk can, and returns what is to be copied in earnest.
func (c *copying) link() (rest []file, bytes int64) {
	for _, f := range c.files {
		if !f.table || c.fs.Link(f.from, f.to) != nil {
			rest, bytes = append(rest, f), bytes+f.bytes
		}
	}
	return rest, bytes
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
