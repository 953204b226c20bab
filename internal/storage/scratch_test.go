package storage

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func scratches(t *testing.T, fs vfs.FS, dir string) []string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, scratchPrefix) })
}

func TestAScratchFileHoldsWhatWasAppended(t *testing.T) {
	for _, fs := range []vfs.FS{vfs.NewMem(), vfs.Default} {
		dir := "db"
		if fs == vfs.Default {
			dir = t.TempDir()
		}
		e := mustOpen(t, Options{FS: fs, Dir: dir})
		snap, err := e.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		s, err := snap.Scratch(20)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Append([]byte("hello ")), s.Append([]byte("world"))); err != nil || s.Size() != 11 {
			t.Errorf("%d bytes: %v", s.Size(), err)
		}
		if left := scratches(t, fs, dir); len(left) > 0 {
			t.Errorf("a crash would leave %q", left)
		}
		b := make([]byte, 5)
		if err := s.ReadAt(b, 6); err != nil || string(b) != "world" {
			t.Errorf("%q %v", b, err)
		}
		if err := s.ReadAt(b, 8); err == nil {
			t.Error("more was read than was written")
		}
		if err := errors.Join(s.Close(), snap.Close(), e.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestAScratchFileLeavesRoomForOthers(t *testing.T) {
	mem := vfs.NewMem()
	e := mustOpen(t, Options{FS: mem})
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: scratchReserve + 100, TotalBytes: 2 * scratchReserve})
	a, err := e.newScratch(60)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.newScratch(41); !errors.Is(err, ErrNoRoom) {
		t.Errorf("room was promised twice: %v", err)
	}
	b, err := e.newScratch(40)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	c, err := e.newScratch(100)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), e.Close()); err != nil {
		t.Error(err)
	}
}

// named is a file system that keeps the names of open files.
type named struct{ vfs.FS }

func (n named) Remove(name string) error {
	if strings.Contains(name, scratchPrefix) {
		return errors.New("the file is open")
	}
	return n.FS.Remove(name)
}

func TestAStartRemovesWhatACrashLeft(t *testing.T) {
	mem := vfs.NewMem()
	e := mustOpen(t, Options{FS: named{mem}})
	if _, err := e.newScratch(1); err != nil {
		t.Fatal(err)
	}
	dir := e.dir
	if left := scratches(t, mem, dir); len(left) != 1 {
		t.Fatalf("nothing to remove: %q", left)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = mustOpen(t, Options{FS: mem, Dir: dir})
	if left := scratches(t, mem, dir); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}
