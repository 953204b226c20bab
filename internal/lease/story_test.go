package lease

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/storage"
)

// TestARowIsReadAsItWasWritten goes through the limits of what a lease can be.
func TestARowIsReadAsItWasWritten(t *testing.T) {
	e, table := openTable(t, vfs.NewMem())
	defer e.Close()
	want := []Lease{
		{ID: 1, TTL: 1}, {ID: 1<<63 - 1, TTL: MaxTTL, Remaining: MaxTTL}, {ID: 300, TTL: 300, Remaining: 1},
	}
	write(t, e, func(b *storage.Batch) {
		for _, l := range want {
			if err := table.Grant(b, Lease{ID: l.ID, TTL: l.TTL}); err != nil {
				t.Fatal(err)
			}
			table.Checkpoint(b, l.ID, l.Remaining)
		}
	})
	again, err := Open(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range want {
		if got, ok := again.Get(l.ID); !ok || got != l {
			t.Errorf("lease %d came back as %+v", l.ID, got)
		}
	}
	if again.Len() != len(want) || !reflect.DeepEqual(again.List(), table.List()) {
		t.Errorf("%+v, want %+v", again.List(), table.List())
	}
}

func TestDamagedRowsAreRefused(t *testing.T) {
	for _, row := range []string{"", "\x02\x05\x00", "\x01", "\x01\x05", "\x01\x05\x00\x00", "\x01\xff", "\x01\x05\xff"} {
		e, _ := openTable(t, vfs.NewMem())
		write(t, e, func(b *storage.Batch) { b.Set(storage.LeaseKey(nil, 7), []byte(row)) })
		if _, err := Open(e); err == nil || !strings.Contains(err.Error(), "malformed") {
			t.Errorf("row %x was read, error %v", row, err)
		}
		_ = e.Close()
	}
	e, _ := openTable(t, vfs.NewMem())
	defer e.Close()
	write(t, e, func(b *storage.Batch) { b.Set([]byte("lshort"), []byte{1, 5, 0}) })
	if _, err := Open(e); err == nil || !strings.Contains(err.Error(), "malformed") {
		t.Errorf("a row of no lease was read, error %v", err)
	}
}

func TestWhatIsLeftIsTheCheckpointOrAll(t *testing.T) {
	for _, c := range []struct {
		checkpoint, remaining, left int64
	}{{0, 0, 60}, {1, 1, 1}, {59, 59, 59}, {60, 60, 60}, {61, 0, 60}, {-1, 0, 60}, {MaxTTL, 0, 60}} {
		e, table := openTable(t, vfs.NewMem())
		write(t, e, func(b *storage.Batch) {
			if err := table.Grant(b, Lease{ID: 1, TTL: 60}); err != nil {
				t.Fatal(err)
			}
			table.Checkpoint(b, 2, 5)
			table.Checkpoint(b, 1, c.checkpoint)
		})
		if l, _ := table.Get(1); l.Remaining != c.remaining || l.Left() != c.left {
			t.Errorf("checkpoint %d leaves %+v with %d s", c.checkpoint, l, l.Left())
		}
		if _, ok := table.Get(2); ok || table.Len() != 1 {
			t.Error("a checkpoint made a lease")
		}
		_ = e.Close()
	}
}

// TestARevokedLeaseHasNoKeys also when its ID is granted again.
func TestARevokedLeaseHasNoKeys(t *testing.T) {
	e, table := openTable(t, vfs.NewMem())
	defer e.Close()
	write(t, e, func(b *storage.Batch) {
		for range 2 {
			if err := table.Grant(b, Lease{ID: 1, TTL: 9}); err != nil {
				t.Fatal(err)
			}
			if keys := table.Keys(1); keys != nil {
				t.Fatalf("a new lease holds %q", keys)
			}
			table.Attach(1, "k")
			if err := table.Revoke(b, 1); err != nil {
				t.Fatal(err)
			}
			table.Detach(1, "k")
			if table.Keys(1) != nil || table.Attach(1, "k") {
				t.Fatal("a revoked lease holds keys")
			}
		}
	})
}

// TestChangesAreToldInOrder asks for changes from every point, and in between publishes.
func TestChangesAreToldInOrder(t *testing.T) {
	e, table := openTable(t, vfs.NewMem())
	defer e.Close()
	list, whole, next := table.Changes(0)
	if len(list) != 0 || !whole {
		t.Fatalf("an empty table tells %v, whole %v", list, whole)
	}
	first := next
	write(t, e, func(b *storage.Batch) {
		_ = table.Grant(b, Lease{ID: 1, TTL: 9})
		_ = table.Grant(b, Lease{ID: 2, TTL: 9})
		table.Checkpoint(b, 1, 4)
		table.Checkpoint(b, 1, 400) // refused: no change
		_ = table.Revoke(b, 2)
		_ = table.Grant(b, Lease{ID: 1, TTL: 9}) // refused
	})
	want := []Change{
		{Lease{ID: 1, TTL: 9}, Granted}, {Lease{ID: 2, TTL: 9}, Granted}, {Lease{ID: 1, TTL: 9, Remaining: 4}, Checkpointed},
		{Lease{ID: 2, TTL: 9}, Revoked},
	}
	for from := range len(want) + 1 {
		list, whole, next := table.Changes(first + uint64(from))
		if whole || next != first+4 || fmt.Sprint(list) != fmt.Sprint(want[from:]) {
			t.Errorf("from %d: %v, whole %v, next %d", from, list, whole, next)
		}
	}
	list, whole, _ = table.Changes(0)
	if !whole || fmt.Sprint(list) != fmt.Sprint([]Change{{Lease{ID: 1, TTL: 9, Remaining: 4}, Granted}}) {
		t.Errorf("who begins is told %v, whole %v", list, whole)
	}
	signal := table.Changed()
	table.Publish()
	select {
	case <-signal:
	default:
		t.Error("a publication of changes woke nobody")
	}
	signal = table.Changed()
	table.Publish()
	select {
	case <-signal:
		t.Error("a publication without changes woke somebody")
	default:
	}
}

func FuzzRow(f *testing.F) {
	f.Add([]byte{1, 60, 0})
	f.Add([]byte{1, 0x80, 0x01, 5})
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0})
	f.Fuzz(func(t *testing.T, row []byte) {
		l, ok := parseRow(5, row)
		if !ok {
			return
		}
		if again, ok := parseRow(5, appendRow(nil, l)); l.ID != 5 || !ok || again != l {
			t.Fatalf("%+v came back as %+v, %v", l, again, ok)
		}
	})
}
