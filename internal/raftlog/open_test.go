package raftlog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.etcd.io/raft/v3/raftpb"
)

// TestOpenWritesAgainWhatMayNotBeDurable guards against pages that look clean after
// a failed sync: a later sync of them says nothing, unless they are written again.
func TestOpenWritesAgainWhatMayNotBeDurable(t *testing.T) {
	mem := vfs.NewCrashableMem()
	o := Options{FS: mem, Dir: "log", SegmentSize: MinSegmentSize}
	l, err := Create(o, Origin{Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(Batch{Entries: []*raftpb.Entry{entry(2, 1, "durable")}, Sync: true}); err != nil {
		t.Fatal(err)
	}
	from := l.tail.off
	for i := range uint64(3) {
		if _, err := l.Append(Batch{Entries: []*raftpb.Entry{entry(3+i, 1, "unsynced")}}); err != nil {
			t.Fatal(err)
		}
	}
	to := l.tail.off
	written := map[int64]bool{}
	o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWriteAt {
			written[op.Offset] = true
		}
		if op.Kind == errorfs.OpFileSyncData && len(written) == 0 {
			return errors.New("synced before writing")
		}
		return nil
	}))
	l.die(t)
	if _, err = Open(o); err != nil {
		t.Fatal(err)
	}
	if len(written) != 1 || !written[from] {
		t.Fatalf("open wrote at %v, want once at %d (up to %d)", written, from, to)
	}
	o.FS = mem.CrashClone(vfs.CrashCloneCfg{})
	if l, err = Open(o); err != nil {
		t.Fatal(err)
	}
	if last, _ := l.LastIndex(); last != 5 {
		t.Fatalf("last entry is %d after a crash, but 5 had been read", last)
	}
}

// TestAFlippedByteIsRefusedOrHarmless changes every byte of a closed log of several
// segments, one at a time.
func TestAFlippedByteIsRefusedOrHarmless(t *testing.T) {
	if testing.Short() {
		t.Skip("every byte of three files takes a while")
	}
	mem := vfs.NewCrashableMem()
	o := Options{FS: mem, Dir: "log", SegmentSize: MinSegmentSize}
	l, err := Create(o, Origin{Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	w := &workload{rng: rand.New(rand.NewPCG(8, 8)), m: newModel()}
	for len(l.segments) < 3 || l.tail.off < headerBlock+600 {
		if err := w.append(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	refused, harmless := 0, 0
	for _, s := range l.segments {
		path := mem.PathJoin(o.Dir, s.name)
		for off := int64(0); off < s.used; off++ {
			if off == headerBytes {
				off = headerBlock - recordAlign // the rest of the header block carries nothing
			}
			after := o
			after.FS = flipped(t, mem, path, off)
			l, err := Open(after)
			var damage *DamagedError
			switch {
			case errors.As(err, &damage):
				refused++
			case err != nil:
				t.Fatalf("%s at %d: %v", s.name, off, err)
			default:
				harmless++
				if err := w.m.now().same(l, w.m.compacted); err != nil {
					t.Fatalf("%s at %d: a flipped byte was taken for truth: %v", s.name, off, err)
				}
			}
		}
	}
	t.Logf("%d refused, %d harmless", refused, harmless)
	// Only the mark of the orderly close says nothing that could be missed.
	if want := recordHeader + len(l.segments)*recordAlign; harmless != want || refused < 5000 {
		t.Fatalf("%d flipped bytes were harmless, want %d, and %d refused", harmless, want, refused)
	}
}

// flipped returns the disk with one byte changed.
func flipped(t *testing.T, mem *vfs.MemFS, path string, off int64) *vfs.MemFS {
	t.Helper()
	fs := mem.CrashClone(vfs.CrashCloneCfg{})
	b, err := fs.UnsafeGetFileDataBuffer(path)
	if err != nil {
		t.Fatal(err)
	}
	b[off] ^= 1 << (off % 8)
	return fs
}

// TestAnotherLogsSegmentIsRefused copies a file between two logs that have the same
// segment numbers and entries.
func TestAnotherLogsSegmentIsRefused(t *testing.T) {
	mem := vfs.NewMem()
	for id := range uint64(2) {
		o := Options{FS: mem, Dir: fmt.Sprint("log", id), SegmentSize: MinSegmentSize}
		l, err := Create(o, Origin{ID: id, Index: 1, Term: 1})
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(5) {
			if _, err := l.Append(Batch{Entries: []*raftpb.Entry{entry(2+i, 1, string(make([]byte, 1500)))}, Sync: true}); err != nil {
				t.Fatal(err)
			}
		}
		l.die(t)
	}
	if err := vfs.Copy(mem, "log0/"+segmentName(2), "log1/"+segmentName(2)); err != nil {
		t.Fatal(err)
	}
	var damage *DamagedError
	if _, err := Open(Options{FS: mem, Dir: "log1", SegmentSize: MinSegmentSize}); !errors.As(err, &damage) {
		t.Fatalf("opened with %v, want a refusal", err)
	}
}

// TestAnUnknownVersionIsNotCalledDamage keeps an operator from throwing away a log
// that only needs the newer program.
func TestAnUnknownVersionIsNotCalledDamage(t *testing.T) {
	mem := vfs.NewMem()
	o := Options{FS: mem, Dir: "log", SegmentSize: MinSegmentSize}
	l, err := Create(o, Origin{Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	l.die(t)
	b, err := mem.UnsafeGetFileDataBuffer("log/" + segmentName(1))
	if err != nil {
		t.Fatal(err)
	}
	b[8] = segmentVersion + 1
	le.PutUint32(b[44:], crc32.Checksum(b[:44], castagnoli))
	if _, err := Open(o); !errors.Is(err, ErrVersion) {
		t.Fatalf("opened with %v, want %v", err, ErrVersion)
	}
}

func TestAnEmptyOrAbsentDirectoryHoldsNoLog(t *testing.T) {
	mem := vfs.NewMem()
	o := Options{FS: mem, Dir: "log"}
	if exists, err := Exists(mem, "log"); exists || err != nil {
		t.Fatalf("exists: %v, %v", exists, err)
	}
	if err := mem.MkdirAll("log", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); !errors.Is(err, ErrNotFound) {
		t.Fatalf("opened with %v, want %v", err, ErrNotFound)
	}
	if err := Dump(mem, "log", nil); !errors.Is(err, ErrNotFound) {
		t.Fatalf("dumped with %v, want %v", err, ErrNotFound)
	}
}

// TestARecordThatFollowsAnotherIsNotRead guards the second guard: a record that is
// valid where it stands, but was written behind other bytes.
func TestARecordThatFollowsAnotherIsNotRead(t *testing.T) {
	mem := vfs.NewMem()
	o := Options{FS: mem, Dir: "log", SegmentSize: MinSegmentSize}
	l, err := Create(o, Origin{Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	var e encoder
	e.reset(l.tail.seg.base, l.tail.off, l.tail.chain+1, l.tail.synced, 1)
	e.putEntry(2, 1, 0, []byte("from another time"))
	if _, err := l.tail.seg.file.WriteAt(e.buf, l.tail.off); err != nil {
		t.Fatal(err)
	}
	l.die(t)
	if l, err = Open(o); err != nil {
		t.Fatal(err)
	}
	if last, _ := l.LastIndex(); last != 1 {
		t.Fatalf("last entry is %d, want 1", last)
	}
}
