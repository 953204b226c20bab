package lease

import (
	"errors"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/storage"
)

func openTable(t *testing.T, fs vfs.FS) (*storage.Engine, *Table) {
	t.Helper()
	e, err := storage.Open(storage.Options{FS: fs, Dir: "state"})
	if err != nil {
		t.Fatal(err)
	}
	table, err := Open(e)
	if err != nil {
		t.Fatal(err)
	}
	return e, table
}

func write(t *testing.T, e *storage.Engine, f func(b *storage.Batch)) {
	t.Helper()
	b := e.NewBatch()
	defer b.Close()
	f(b)
	if err := e.Commit(b); err != nil {
		t.Fatal(err)
	}
}

func TestLeasesOutliveARestart(t *testing.T) {
	fs := vfs.NewMem()
	e, table := openTable(t, fs)
	write(t, e, func(b *storage.Batch) {
		for _, l := range []Lease{{ID: 7, TTL: 60}, {ID: -3, TTL: 5}, {ID: 9, TTL: MaxTTL}} {
			if err := table.Grant(b, l); err != nil {
				t.Fatal(err)
			}
		}
		if err := table.Grant(b, Lease{ID: 7, TTL: 1}); !errors.Is(err, ErrExists) {
			t.Fatalf("a second grant of lease 7: %v", err)
		}
		table.Checkpoint(b, 7, 20)
		table.Checkpoint(b, 9, MaxTTL+1) // more than was granted: ignored
		if err := table.Revoke(b, -3); err != nil {
			t.Fatal(err)
		}
		if err := table.Revoke(b, -3); !errors.Is(err, ErrNotFound) {
			t.Fatalf("a second revoke: %v", err)
		}
	})
	want := []Lease{{ID: 7, TTL: 60, Remaining: 20}, {ID: 9, TTL: MaxTTL}}
	if got := table.List(); !reflect.DeepEqual(got, want) {
		t.Fatalf("before: %+v, want %+v", got, want)
	}
	if got := table.Digest(); got != want[0].digest()+want[1].digest() {
		t.Fatalf("before: the digest is %x", got)
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e, table = openTable(t, fs)
	defer e.Close()
	if got := table.List(); !reflect.DeepEqual(got, want) {
		t.Fatalf("after: %+v, want %+v", got, want)
	}
	if got := table.Digest(); got != want[0].digest()+want[1].digest() {
		t.Fatalf("after: the digest is %x", got)
	}
}

// TestADigestTellsEveryDifference swaps what two leases have, among others.
func TestADigestTellsEveryDifference(t *testing.T) {
	seen := map[uint64]int{}
	for i, leases := range [][2]Lease{
		{{ID: 1, TTL: 60}, {ID: 2, TTL: 61}}, {{ID: 1, TTL: 61}, {ID: 2, TTL: 60}}, {{ID: 1, TTL: 60}, {ID: 3, TTL: 61}},
		{{ID: 1, TTL: 60, Remaining: 5}, {ID: 2, TTL: 61}}, {{ID: 1, TTL: 60}, {ID: 2, TTL: 61, Remaining: 5}},
		{{ID: 1, TTL: 5, Remaining: 60}, {ID: 2, TTL: 61}}, {{ID: 5, TTL: 60, Remaining: 1}, {ID: 2, TTL: 61}},
	} {
		sum := leases[0].digest() + leases[1].digest()
		if other, ok := seen[sum]; ok {
			t.Errorf("leases %d have the digest of leases %d", i, other)
		}
		seen[sum] = i
	}
	// Members of other releases have the same.
	if got, want := (Lease{ID: 1, TTL: 60, Remaining: 5}).digest(), uint64(0x8c95b0bea8cfb93e); got != want {
		t.Errorf("the digest is %#x, want %#x", got, want)
	}
}

func TestAKeyHangsOnTheLeaseItWasAttachedTo(t *testing.T) {
	e, table := openTable(t, vfs.NewMem())
	defer e.Close()
	write(t, e, func(b *storage.Batch) { _ = table.Grant(b, Lease{ID: 1, TTL: 9}) })
	if table.Attach(2, "x") {
		t.Fatal("a key was attached to a lease that does not exist")
	}
	for _, k := range []string{"b", "a", "b"} {
		if !table.Attach(1, k) {
			t.Fatal("lease 1 is missing")
		}
	}
	table.Detach(1, "c")
	if got := table.Keys(1); !reflect.DeepEqual(got, []string{"a", "b"}) {
		t.Fatalf("keys %v", got)
	}
	table.Detach(1, "a")
	if got := table.Keys(1); !reflect.DeepEqual(got, []string{"b"}) {
		t.Fatalf("keys %v", got)
	}
}

func TestWhoFollowsTheTableMissesNothing(t *testing.T) {
	e, table := openTable(t, vfs.NewMem())
	defer e.Close()
	follower := map[ID]bool{}
	var since uint64
	pull := func() {
		list, whole, next := table.Changes(since)
		if whole {
			clear(follower)
		}
		for _, c := range list {
			follower[c.ID] = c.Kind != Revoked
			if c.Kind == Revoked {
				delete(follower, c.ID)
			}
		}
		since = next
	}
	id := ID(0)
	round := func(n int) {
		write(t, e, func(b *storage.Batch) {
			for range n {
				id++
				_ = table.Grant(b, Lease{ID: id, TTL: 3})
				if id%3 == 0 {
					_ = table.Revoke(b, id-1)
				}
			}
		})
		signal := table.Changed()
		table.Publish()
		select {
		case <-signal:
		default:
			t.Fatal("nobody was woken")
		}
	}
	// Rounds within the memory of the table, one over it, and within again.
	for _, n := range []int{1, 10, 5000, MaxChanges + 10, 3} {
		round(n)
		pull()
		if len(follower) != table.Len() {
			t.Fatalf("after %d more the follower knows %d leases of %d", n, len(follower), table.Len())
		}
	}
}
