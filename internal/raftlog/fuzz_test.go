package raftlog

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

// memoryWith returns a disk with one segment file of these bytes.
func memoryWith(t testing.TB, data []byte) *vfs.MemFS {
	mem := vfs.NewMem()
	if err := mem.MkdirAll("log", 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := mem.Create("log/"+segmentName(1), category)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(append([]byte(nil), data...)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return mem
}

// sample returns the bytes of a small log's only segment.
func sample(t testing.TB) []byte {
	mem := vfs.NewMem()
	l, err := Create(Options{FS: mem, Dir: "log", SegmentSize: 4 * minStep}, Origin{Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	w := &workload{rng: rand.New(rand.NewPCG(1, 1)), m: newModel()}
	for range 5 {
		if err := w.append(l); err != nil {
			t.Fatal(err)
		}
	}
	data, err := mem.UnsafeGetFileDataBuffer("log/" + segmentName(1))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// openAnything opens a log of arbitrary bytes. It may be refused; if it is not, all
// that it shows must be readable and it must take an append.
func openAnything(t *testing.T, mem *vfs.MemFS) {
	if err := Dump(mem, "log", func(RecordInfo) error { return nil }); err != nil {
		t.Fatalf("dump: %v", err)
	}
	l, err := Open(Options{FS: mem, Dir: "log", SegmentSize: 4 * minStep})
	if err != nil {
		var damage *DamagedError
		if !errors.As(err, &damage) && !errors.Is(err, ErrVersion) {
			t.Fatalf("open: %v", err)
		}
		return
	}
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	if first <= last {
		entries, err := l.Entries(first, last+1, math.MaxUint64)
		if err != nil || uint64(len(entries)) != last+1-first {
			t.Fatalf("read %d entries of [%d, %d]: %v", len(entries), first, last, err)
		}
	}
	if _, err := l.Append(Batch{Entries: []*raftpb.Entry{entry(last+1, 1, "next")}, Sync: true}); err != nil {
		t.Fatal(err)
	}
	l.die(t)
	if l, err = Open(l.opts); err != nil {
		t.Fatalf("open again: %v", err)
	}
	if again, _ := l.LastIndex(); again != last+1 {
		t.Fatalf("last entry is %d after an append behind %d", again, last)
	}
}

// FuzzOpenBytes opens whatever bytes a segment file may hold.
func FuzzOpenBytes(f *testing.F) {
	data := sample(f)
	f.Add(data)
	f.Add(data[:headerBlock+100])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		openAnything(t, memoryWith(t, data))
	})
}

// FuzzOpenRecords opens segments whose records are all valid but say anything: what
// checksums cannot catch must be caught by what the records mean. Eight bytes of
// input make one record.
func FuzzOpenRecords(f *testing.F) {
	f.Add([]byte("\x02\x02\x01xxxxx\x02\x03\x01xxxxx\x03\x01\x01xxxxx"), uint64(1), uint64(1), uint64(1))
	f.Add([]byte("\x12\x02\x01xxxxx\x14\x02\x01xxxxx\x12\x03\x01xxxxx"), uint64(1), uint64(1), uint64(1))
	f.Add([]byte("\x14\xff\x01xxxxx\x02\x03\x01xxxxx"), uint64(math.MaxUint64), uint64(5), uint64(0))
	f.Fuzz(func(t *testing.T, script []byte, last, prefix, commit uint64) {
		data := make([]byte, headerBlock)
		var e encoder
		base := putSegmentHeader(data, 0, 1)
		e.reset(base, headerBlock, base, headerBlock, 1)
		e.putBegin(beginning{last: last, prefix: mark{prefix, 1}, hard: hardState{1, 0, commit}})
		for ; len(script) >= 8; script = script[8:] {
			e.left = 2 - int(script[0]>>4&1) // the flag at the end of a batch, or not
			putFuzzed(&e, script[:8])
		}
		openAnything(t, memoryWith(t, append(data, e.buf...)))
	})
}

func putFuzzed(e *encoder, s []byte) {
	index, term := uint64(s[1]), uint64(s[2])
	if index == 255 {
		index = le.Uint64(s)
	}
	switch Kind(s[0] & 7) {
	case KindBegin:
		e.putBegin(beginning{last: index, prefix: mark{uint64(s[3]), term}})
	case KindEntry:
		e.putEntry(index, term, s[3]%3, s[4:4+s[3]%4])
	case KindState:
		e.putState(hardState{term, uint64(s[3]), index})
	case KindPrefix:
		e.putPrefix(mark{index, term})
	default:
		e.putMark()
	}
}
