package raftlog

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

func dumped(t *testing.T, l *Log, meanwhile func()) []RecordInfo {
	t.Helper()
	var records []RecordInfo
	err := Dump(l.opts.FS, l.opts.Dir, func(r RecordInfo) error {
		if records == nil {
			meanwhile()
		}
		records = append(records, r)
		return nil
	})
	if err != nil {
		t.Fatalf("dump: %v", err)
	}
	return records
}

// TestADumpOfALogInUseSeesNoDamage appends while the log is printed. The segment is
// longer than what is read at once: what is seen first is the older.
func TestADumpOfALogInUseSeesNoDamage(t *testing.T) {
	l, err := Create(Options{FS: vfs.NewMem(), Dir: "log", SegmentSize: 2 * readChunk * extendSteps}, Origin{Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	records := dumped(t, l, func() {
		for i := range uint64(4) {
			if _, err := l.Append(Batch{Entries: []*raftpb.Entry{entry(2+i, 1, "meanwhile")}, Sync: true}); err != nil {
				t.Fatal(err)
			}
		}
	})
	for _, r := range records {
		if strings.Contains(r.Note, "damage") {
			t.Fatalf("%s:%d: %s", r.File, r.Offset, r.Note)
		}
	}
	if len(records) != 1+4+1 {
		t.Fatalf("%d records: %v", len(records), records)
	}
}

// TestADumpOfALogInUseGetsPastWhatIsRecycled forgets segments while the log is printed.
func TestADumpOfALogInUseGetsPastWhatIsRecycled(t *testing.T) {
	l, err := Create(Options{FS: vfs.NewMem(), Dir: "log", SegmentSize: MinSegmentSize}, Origin{Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	put := func(i uint64) {
		if _, err := l.Append(Batch{Entries: []*raftpb.Entry{entry(i, 1, strings.Repeat("x", 1200))}, Sync: true}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(10) {
		put(2 + i)
	}
	records := dumped(t, l, func() {
		if err := l.Compact(11); err != nil {
			t.Fatal(err)
		}
		put(12)
		if err := l.upkeep(context.Background(), 0); err != nil {
			t.Fatal(err)
		}
	})
	if !slices.ContainsFunc(records, func(r RecordInfo) bool {
		return r.Segment == 2 && r.Kind == KindStop && strings.Contains(r.Note, "in use")
	}) {
		t.Fatalf("nothing is said about segment 2: %v", records)
	}
	if last := records[len(records)-1]; last.Segment < 4 {
		t.Fatalf("it ended with segment %d", last.Segment)
	}
}

// TestADumpOfASegmentThatBecomesAnotherSeesNoDamage recycles the very file that is
// being read.
func TestADumpOfASegmentThatBecomesAnotherSeesNoDamage(t *testing.T) {
	l, err := Create(Options{FS: vfs.NewMem(), Dir: "log", SegmentSize: 4 * readChunk}, Origin{Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	index := uint64(1)
	fill := func(segments int) {
		for l.tail.seg.number < uint64(segments) || l.tail.off < 2*readChunk {
			index++
			if _, err := l.Append(Batch{Entries: []*raftpb.Entry{entry(index, 1, strings.Repeat("x", 100<<10))}, Sync: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(2)
	records := dumped(t, l, func() {
		if err := l.Compact(index); err != nil {
			t.Fatal(err)
		}
		index++
		if _, err := l.Append(Batch{Entries: []*raftpb.Entry{entry(index, 1, "")}, Sync: true}); err != nil {
			t.Fatal(err)
		}
		if err := l.upkeep(context.Background(), 0); err != nil {
			t.Fatal(err)
		}
		fill(3)
	})
	used := false
	for _, r := range records {
		if strings.Contains(r.Note, "damage") {
			t.Fatalf("%s:%d: %s", r.File, r.Offset, r.Note)
		}
		used = used || r.Segment == 1 && strings.Contains(r.Note, "in use")
	}
	if !used {
		t.Fatal("nothing is said about segment 1")
	}
}
