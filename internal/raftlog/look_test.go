package raftlog

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.etcd.io/raft/v3/raftpb"
)

// TestALookChangesNothing takes what crashes leave of a log that is being written, and looks at it: the look shows what
// opening finds, and writes nothing at all, also where opening would cut something off.
func TestALookChangesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	mem := vfs.NewCrashableMem()
	o := Options{Dir: "log", SegmentSize: MinSegmentSize, CacheBytes: 4096}
	looks := 0
	begun := false
	o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead || !begun {
			return nil
		}
		looks++
		after := o
		after.FS = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[rng.IntN(3)], RNG: rng})
		lookAndOpen(t, after)
		return nil
	}))
	l := beforeReset(t, o)
	begun = true
	for i := uint64(61); i < 110; i++ {
		mustAppend(t, l, Batch{Entries: []*raftpb.Entry{entry(i, 3, "later"), entry(i+1, 3, "replaced")}, Sync: i%3 > 0})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if looks < 80 {
		t.Fatalf("only %d looks", looks)
	}
}

func lookAndOpen(t *testing.T, o Options) {
	t.Helper()
	plain := o.FS
	o.FS = errorfs.Wrap(readOnlyDisk{plain}, errorfs.InjectorFunc(func(op errorfs.Op) error {
		// The lock is taken, and nothing else is done but reading.
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && plain.PathBase(op.Path) != lockName {
			t.Errorf("a look does %v to %s", op.Kind, op.Path)
		}
		return nil
	}))
	l, err := Look(o)
	if err != nil {
		t.Fatal(err)
	}
	seen := whole(t, l)
	if _, err := l.Append(Batch{Entries: []*raftpb.Entry{entry(1000, 1, "")}, Sync: true}); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("append to a log that is looked at: %v", err)
	}
	if err := l.Reset(2000, 9); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("reset a log that is looked at: %v", err)
	}
	if _, err := Look(o); !errors.Is(err, ErrLocked) {
		t.Fatalf("a second look meanwhile: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	o.FS = plain
	if found := reopened(t, o); found != seen {
		t.Fatalf("a look shows\n%s\nand opening finds\n%s", seen, found)
	}
}

// readOnlyDisk refuses what a disk does that is mounted for reading; a lock is no writing here.
type readOnlyDisk struct{ vfs.FS }

func (readOnlyDisk) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, errors.New("the disk is for reading only")
}

func TestALookAtNothingIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	if _, err := Look(Options{FS: fs, Dir: "log"}); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if names, err := fs.List(""); err != nil || len(names) > 0 {
		t.Fatalf("it left %v, %v", names, err)
	}
}
