package storage

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// swapDir is the directory whose neighbours these tests move.
const swapDir = "top/state"

// parts are the files of which these tests' directories consist.
const parts = 3

// putState makes a directory whose files hold its name, all of it durable but its own place.
func putState(t *testing.T, disk vfs.FS, dir, name string) {
	t.Helper()
	err := disk.MkdirAll(dir, 0o700)
	for i := range parts {
		var f vfs.File
		if err == nil {
			f, err = disk.Create(disk.PathJoin(dir, fmt.Sprint(i)), vfs.WriteCategoryUnspecified)
		}
		if err == nil {
			_, err = f.Write([]byte(name))
			err = errors.Join(err, f.Sync(), f.Close())
		}
	}
	if err = errors.Join(err, syncParent(disk, disk.PathJoin(dir, "0"))); err != nil {
		t.Fatal(err)
	}
}

// nameOf is the name that all files of a directory hold, empty where there is none.
func nameOf(t *testing.T, disk vfs.FS, dir string) (name string) {
	t.Helper()
	if ok, err := isThere(disk, dir); err != nil || !ok {
		return ""
	}
	for i := range parts {
		f, err := disk.Open(disk.PathJoin(dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatalf("%s is not whole: %v", dir, err)
		}
		b, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil || name != "" && string(b) != name {
			t.Fatalf("%s is not whole: %q beside %q, %v", dir, b, name, err)
		}
		name = string(b)
	}
	return name
}

// piecewise is a file system that removes a directory as real ones do, a file at a time.
type piecewise struct{ vfs.FS }

func (p piecewise) RemoveAll(dir string) error {
	names, err := p.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := p.Remove(p.PathJoin(dir, name)); err != nil {
			return err
		}
	}
	return p.Remove(dir)
}

// newTop makes the directory above, durable.
func newTop(t *testing.T) *vfs.MemFS {
	t.Helper()
	mem := vfs.NewCrashableMem()
	if err := errors.Join(mem.MkdirAll("top", 0o700), syncParent(mem, "top")); err != nil {
		t.Fatal(err)
	}
	return mem
}

// copied makes a copy and promotes it.
func copied(t *testing.T, disk vfs.FS, name string) {
	t.Helper()
	if err := Discard(disk, swapDir); err != nil {
		t.Fatal(err)
	}
	putState(t, disk, NextDir(swapDir), name)
	if err := Promote(disk, swapDir); err != nil {
		t.Fatal(err)
	}
}

func adoptNow(t *testing.T, disk vfs.FS) bool {
	t.Helper()
	adopted, err := Adopt(disk, swapDir)
	if err != nil {
		t.Fatal(err)
	}
	return adopted
}

func TestACopyTakesThePlaceOfTheState(t *testing.T) {
	t.Run("in memory", func(t *testing.T) { copyTakesPlace(t, newTop(t)) })
	t.Run("on a disk", func(t *testing.T) {
		t.Chdir(t.TempDir())
		if err := vfs.Default.MkdirAll("top", 0o700); err != nil {
			t.Fatal(err)
		}
		copyTakesPlace(t, vfs.Default)
	})
}

func copyTakesPlace(t *testing.T, disk vfs.FS) {
	if adoptNow(t, disk) {
		t.Fatal("something was adopted where nothing is")
	}
	putState(t, disk, swapDir, "old")
	if adoptNow(t, disk) || nameOf(t, disk, swapDir) != "old" {
		t.Fatal("the state was replaced by nothing")
	}
	if err := Promote(disk, swapDir); err == nil {
		t.Fatal("a copy that is not there was promoted")
	}
	copied(t, disk, "first")
	copied(t, disk, "second")
	putState(t, disk, NextDir(swapDir), "unfinished")
	if ok, err := Settle(disk, swapDir); !ok || err != nil || nameOf(t, disk, ReadyDir(swapDir)) != "second" {
		t.Fatalf("no copy waits: %v", err)
	}
	if nameOf(t, disk, swapDir) != "old" {
		t.Fatal("a copy that waits is the state already")
	}
	if !adoptNow(t, disk) || nameOf(t, disk, swapDir) != "second" {
		t.Fatal("the copy that waited is not the state")
	}
	if ok, err := Settle(disk, swapDir); ok || err != nil || adoptNow(t, disk) {
		t.Fatalf("a copy still waits: %v", err)
	}
	if names, _ := disk.List("top"); !slices.Equal(names, []string{"state"}) {
		t.Fatalf("left: %q", names)
	}
}

func TestACopyThatIsRejectedLeavesTheState(t *testing.T) {
	mem := newTop(t)
	putState(t, mem, swapDir, "old")
	copied(t, mem, "first")
	rng := rand.New(rand.NewPCG(1, 3))
	disk := crashing(mem, rng, func(left *vfs.MemFS) {
		adoptNow(t, left)
		checkStarted(t, left, []string{"old", "first"})
	})
	if err := errors.Join(Reject(disk, swapDir), Reject(disk, swapDir)); err != nil {
		t.Fatal(err)
	}
	if adoptNow(t, mem) {
		t.Error("what was rejected was adopted")
	}
	checkStarted(t, mem, []string{"old"})
}

func TestWhatSomebodyHasOpenStays(t *testing.T) {
	disk := newTop(t)
	for _, dir := range []string{swapDir, NextDir(swapDir)} {
		e := mustOpen(t, Options{FS: disk, Dir: dir})
		if _, err := Adopt(disk, swapDir); !errors.Is(err, ErrLocked) {
			t.Errorf("%s is open and not in the way: %v", dir, err)
		}
		if dir == NextDir(swapDir) {
			if err := Discard(disk, swapDir); !errors.Is(err, ErrLocked) {
				t.Errorf("%s was removed while it was open: %v", dir, err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := Discard(disk, swapDir); err != nil {
		t.Error(err)
	}
	if ok, _ := isThere(disk, NextDir(swapDir)); ok {
		t.Error("an unfinished copy is still there")
	}
}

// TestASwapSurvivesACrashAtAnyOperation makes a copy, another one instead of it, and takes it over. Before every operation
// of the disk it takes what a crash may leave, and starts there; another crash may come in that start.
func TestASwapSurvivesACrashAtAnyOperation(t *testing.T) {
	for _, state := range []string{"old", ""} {
		t.Run(fmt.Sprintf("state %q", state), func(t *testing.T) {
			mem := newTop(t)
			if state != "" {
				putState(t, mem, swapDir, state)
			}
			// The state directory that a start makes is durable.
			if err := syncParent(mem, swapDir); err != nil {
				t.Fatal(err)
			}
			var allowed []string // names after the next start
			rng := rand.New(rand.NewPCG(1, 2))
			crashes := 0
			disk := crashing(mem, rng, func(left *vfs.MemFS) {
				crashes++
				startAfterCrash(t, left, rng, allowed)
			})
			allowed = []string{state, "first"}
			copied(t, disk, "first")
			allowed = []string{"first"}
			allowed = []string{"first"}
			putState(t, disk, NextDir(swapDir), "second")
			allowed = []string{"first", "second"}
			if err := Promote(disk, swapDir); err != nil {
				t.Fatal(err)
			}
			allowed = []string{"second"}
			if !adoptNow(t, disk) || nameOf(t, mem, swapDir) != "second" {
				t.Fatal("the second copy is not the state")
			}
			if crashes < 50 {
				t.Fatalf("only %d crashes", crashes)
			}
		})
	}
}

// crashing calls crash with what a crash may leave, before each operation on the top directory that changes something.
func crashing(mem *vfs.MemFS, rng *rand.Rand, crash func(left *vfs.MemFS)) vfs.FS {
	return piecewise{errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		for _, keep := range []int{0, 50, 100} {
			crash(mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rng}))
		}
		return nil
	}))}
}

// startAfterCrash starts on what a crash has left, with one more crash at each operation of that start. The server
// begins with Settle and makes its log fit the copy that waits: then it must get that copy, whatever comes between.
func startAfterCrash(t *testing.T, left *vfs.MemFS, rng *rand.Rand, allowed []string) {
	t.Helper()
	again := crashing(left, rng, func(left *vfs.MemFS) {
		adoptNow(t, left)
		checkStarted(t, left, allowed)
	})
	waits, err := Settle(again, swapDir)
	if err != nil {
		t.Fatal(err)
	}
	if waits {
		allowed = []string{nameOf(t, left, ReadyDir(swapDir))}
	}
	if adopted := adoptNow(t, again); adopted != waits {
		t.Fatalf("a copy waits: %v, it was adopted: %v", waits, adopted)
	}
	checkStarted(t, left, allowed)
}

func checkStarted(t *testing.T, disk *vfs.MemFS, allowed []string) {
	t.Helper()
	if got := nameOf(t, disk, swapDir); !slices.Contains(allowed, got) {
		t.Fatalf("after a crash the state is %q, allowed is %q", got, allowed)
	}
	names, _ := disk.List("top")
	if strings.Join(names, "") != "state" && len(names) > 0 {
		t.Fatalf("after a start there is %q", names)
	}
}
