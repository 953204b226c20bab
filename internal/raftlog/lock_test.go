package raftlog

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.etcd.io/raft/v3/raftpb"
)

// die gives up a log as a killed process does: the lock goes and nothing is written.
func (l *Log) die(t testing.TB) {
	t.Helper()
	if err := l.lock.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestALogThatIsOpenIsRefusedToEverybodyElse(t *testing.T) {
	o := Options{FS: vfs.NewMem(), Dir: "log", SegmentSize: MinSegmentSize}
	l, err := Create(o, Origin{Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	refused := func() {
		t.Helper()
		if _, err := Open(o); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "stop the other process") {
			t.Fatalf("opened twice with %v, want %v", err, ErrLocked)
		}
		if _, err := Create(o, Origin{Index: 1, Term: 1}); !errors.Is(err, ErrLocked) {
			t.Fatalf("created again with %v, want %v", err, ErrLocked)
		}
	}
	refused()
	if _, err := l.Append(Batch{Entries: []*raftpb.Entry{entry(2, 1, "after the others were refused")}, Sync: true}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(o, Origin{Index: 1, Term: 1}); !errors.Is(err, ErrExists) {
		t.Fatalf("created again with %v, want %v", err, ErrExists)
	}
	if l, err = Open(o); err != nil {
		t.Fatalf("open after a close and a failed create: %v", err)
	}
	refused()
	if last, _ := l.LastIndex(); last != 2 {
		t.Fatalf("last entry is %d, want 2", last)
	}
	// A second close must not take the lock from whoever has it by then.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	refused()
}

// TestTwoCreationsMakeOneLog lets a second process begin while the first creates.
func TestTwoCreationsMakeOneLog(t *testing.T) {
	mem := vfs.NewMem()
	o := Options{FS: mem, Dir: "log", SegmentSize: MinSegmentSize}
	refusals := 0
	o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpFileWriteAt && op.Kind != errorfs.OpRename {
			return nil
		}
		second := o
		second.FS = mem
		if _, err := Create(second, Origin{ID: 2, Index: 1, Term: 1}); errors.Is(err, ErrLocked) {
			refusals++
		} else {
			t.Errorf("the second create returned %v", err)
		}
		return nil
	}))
	l, err := Create(o, Origin{ID: 1, Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	if refusals == 0 || l.ID() != 1 {
		t.Fatalf("%d refusals, log %d", refusals, l.ID())
	}
}

func TestALogThatFailedLetsGoOfItsLock(t *testing.T) {
	mem := vfs.NewMem()
	broken := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData {
			return errors.New("broken")
		}
		return nil
	})}
	o := Options{FS: errorfs.Wrap(mem, broken), Dir: "log", SegmentSize: MinSegmentSize}
	l, err := Create(o, Origin{Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	broken.On()
	if _, err := l.Append(Batch{Entries: []*raftpb.Entry{entry(2, 1, "")}, Sync: true}); err == nil {
		t.Fatal("a broken disk was not noticed")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	broken.Off()
	if _, err := Open(o); err != nil {
		t.Fatal(err)
	}
}

// TestCreateFailsWithTheDiskAndCanBeTriedAgain lets the n-th operation of a Create fail.
func TestCreateFailsWithTheDiskAndCanBeTriedAgain(t *testing.T) {
	for n := int32(0); ; n++ {
		mem := vfs.NewMem()
		o := Options{FS: errorfs.Wrap(mem, errorfs.OnIndex(n)), Dir: "a/log", SegmentSize: MinSegmentSize}
		_, failed := Create(o, Origin{Index: 1, Term: 1})
		if failed == nil {
			// What is above the first level that was there before may fail unnoticed.
			if n < 20 {
				continue
			}
			return
		}
		o.FS = mem
		exists, err := Exists(mem, o.Dir)
		if err == nil && exists {
			_, err = Open(o)
		} else if err == nil {
			_, err = Create(o, Origin{Index: 1, Term: 1})
		}
		if err != nil {
			t.Fatalf("operation %d failed with %v, and then: %v", n, failed, err)
		}
	}
}

func TestTheLockCostsARefusedOpenNothing(t *testing.T) {
	mem := vfs.NewMem()
	o := Options{FS: mem, Dir: "log"}
	if _, err := Open(o); !errors.Is(err, ErrNotFound) {
		t.Fatalf("opened with %v, want %v", err, ErrNotFound)
	}
	if err := mem.MkdirAll("log", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); !errors.Is(err, ErrNotFound) {
		t.Fatalf("opened with %v, want %v", err, ErrNotFound)
	}
	if names, _ := mem.List("log"); len(names) != 0 {
		t.Fatalf("where there is no log there is now %v", names)
	}
}

func TestTheIDIsTheOrigins(t *testing.T) {
	o := Options{FS: vfs.NewMem(), Dir: "log", SegmentSize: MinSegmentSize}
	l, err := Create(o, Origin{ID: 0xfeed, Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	if l.ID() != 0xfeed {
		t.Fatalf("a new log's id is %x", l.ID())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(o); err != nil {
		t.Fatal(err)
	}
	if l.ID() != 0xfeed {
		t.Fatalf("an opened log's id is %x", l.ID())
	}
}

// holderDir names, for the process that TestAKilledProcessLeavesNoLock starts, the log
// to hold.
const holderDir = "RAFTLOG_TEST_HOLD"

// TestAKilledProcessLeavesNoLock holds a log in another process, on a real disk.
func TestAKilledProcessLeavesNoLock(t *testing.T) {
	if dir := os.Getenv(holderDir); dir != "" {
		holdUntilKilled(t, dir)
		return
	}
	o := Options{FS: vfs.Default, Dir: t.TempDir() + "/log", SegmentSize: MinSegmentSize}
	ctx, cancel := context.WithCancel(t.Context())
	holder := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestAKilledProcessLeavesNoLock$")
	holder.Env = append(os.Environ(), holderDir+"="+o.Dir)
	in, err := holder.StdinPipe() // open for as long as we live, and no longer
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil && line == "held\n" {
		if _, err := Open(o); !errors.Is(err, ErrLocked) {
			t.Errorf("opened what another process holds: %v", err)
		}
		// Printing reads only, and must not take the lock from the other process either.
		entries := 0
		if err := Dump(o.FS, o.Dir, func(RecordInfo) error { entries++; return nil }); err != nil || entries == 0 {
			t.Errorf("dumped %d records: %v", entries, err)
		}
		if _, err := Open(o); !errors.Is(err, ErrLocked) {
			t.Errorf("opened what another process holds, after a dump: %v", err)
		}
	} else {
		t.Errorf("the other process said %q, %v", line, err)
	}
	cancel()
	if err := holder.Wait(); err == nil {
		t.Error("the other process ended by itself")
	}
	l, err := Open(o)
	if err != nil {
		t.Fatalf("open after the holder was killed: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func holdUntilKilled(t *testing.T, dir string) {
	if _, err := Create(Options{FS: vfs.Default, Dir: dir, SegmentSize: MinSegmentSize}, Origin{Index: 1, Term: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stdout.WriteString("held\n"); err != nil {
		t.Fatal(err)
	}
	_, _ = os.Stdin.Read(make([]byte, 1)) // returns only if the other end goes away
}
