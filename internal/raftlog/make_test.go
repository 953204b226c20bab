package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestANewDirectoryOutlivesALossOfPower creates logs below levels that are not there
// either, and keeps only what was synced.
func TestANewDirectoryOutlivesALossOfPower(t *testing.T) {
	for _, dir := range []string{"log", "log/", "a/log", "a/b/c/log", "/a/b/log"} {
		mem := vfs.NewCrashableMem()
		o := Options{FS: mem, Dir: dir, SegmentSize: MinSegmentSize}
		if _, err := Create(o, Origin{ID: 5, Index: 1, Term: 1}); err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		o.FS = mem.CrashClone(vfs.CrashCloneCfg{})
		if l, err := Open(o); err != nil || l.ID() != 5 {
			t.Errorf("%s: open after a loss of power: %v", dir, err)
		}
	}
}

// TestLevelsThatAKilledCreateLeftAreSyncedToo starts where an earlier process made
// the directories and was killed before it synced them.
func TestLevelsThatAKilledCreateLeftAreSyncedToo(t *testing.T) {
	mem := vfs.NewCrashableMem()
	if err := mem.MkdirAll("a/b/log", 0o700); err != nil {
		t.Fatal(err)
	}
	o := Options{FS: mem, Dir: "a/b/log", SegmentSize: MinSegmentSize}
	if _, err := Create(o, Origin{Index: 1, Term: 1}); err != nil {
		t.Fatal(err)
	}
	o.FS = mem.CrashClone(vfs.CrashCloneCfg{})
	if _, err := Open(o); err != nil {
		t.Fatal(err)
	}
}

// TestOnlyLevelsThatMatterMustSync lets the sync of one level fail. Those that got a
// new name matter; what is above may belong to somebody who does not let us in.
func TestOnlyLevelsThatMatterMustSync(t *testing.T) {
	for _, c := range []struct {
		closed string // cannot be opened
		fails  bool
	}{
		{".", false}, {"there", false}, {"there/too", true}, {"there/too/new", true},
	} {
		mem := vfs.NewMem()
		if err := mem.MkdirAll("there/too", 0o700); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("broken")
		o := Options{Dir: "there/too/new/log", SegmentSize: MinSegmentSize}
		o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpOpenDir && op.Path == c.closed {
				return fmt.Errorf("%s: %w", op.Path, broken)
			}
			return nil
		}))
		if _, err := Create(o, Origin{Index: 1, Term: 1}); errors.Is(err, broken) != c.fails || !c.fails && err != nil {
			t.Errorf("%s cannot be opened: created with %v", c.closed, err)
		}
	}
}

// TestTheDirectoryIsItsOwnersAlone looks at what is made, and at the warning for a
// directory that others may read.
func TestTheDirectoryIsItsOwnersAlone(t *testing.T) {
	var said bytes.Buffer
	top := t.TempDir()
	o := Options{FS: vfs.Default, Dir: top + "/a/log", SegmentSize: MinSegmentSize, Logger: slog.New(slog.NewTextHandler(&said, nil))}
	l, err := Create(o, Origin{Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{top + "/a", o.Dir} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s has %v, %v", dir, info.Mode(), err)
		}
	}
	if said.Len() > 0 {
		t.Errorf("it said %s", said.String())
	}
	if err := os.Chmod(o.Dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(o); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if strings.Count(said.String(), "level=WARN") != 1 || !strings.Contains(said.String(), o.Dir) {
		t.Errorf("of a directory that others may read it said %q", said.String())
	}
	if info, err := os.Stat(o.Dir); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("the operator's permissions became %v, %v", info.Mode(), err)
	}
}
