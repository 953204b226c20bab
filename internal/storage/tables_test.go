package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// fillTables writes rows in several flushes, some of them twice, and removes some.
func fillTables(t *testing.T, e *Engine, flushes int) (kept map[string]string) {
	t.Helper()
	kept = map[string]string{}
	rng := rand.New(rand.NewPCG(1, 1))
	for range flushes {
		err := commit(e, func(b *Batch) {
			for range 500 {
				n := rng.IntN(100_000)
				k := fmt.Sprintf("kk%06d", n)
				v := strings.Repeat(k, 1+n%20) // never another one under the same key
				b.Set([]byte(k), []byte(v))
				kept[k] = v
			}
			for k := range kept {
				if rng.IntN(100) == 0 {
					b.Delete([]byte(k))
					delete(kept, k)
				}
			}
			b.Set([]byte("j-before"), nil)
			b.Set([]byte("l-behind"), nil)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	return kept
}

// scan returns what a scan yields, and asks f before each row.
func scan(e *Engine, f func()) (map[string]string, error) {
	got := map[string]string{}
	err := e.ScanTables([]byte("k"), []byte("l"), func(k, v []byte) error {
		f()
		got[string(k)] = string(v)
		return nil
	})
	return got, err
}

func TestAScanOfTablesMissesNothingThatWasFlushed(t *testing.T) {
	for _, compacting := range []bool{false, true} {
		e := mustOpen(t, Options{FS: vfs.NewMem()})
		kept := fillTables(t, e, 8)
		n := 0
		got, err := scan(e, func() {
			if n++; compacting && n%1000 == 1 {
				// The tables that are being scanned go away.
				if err := e.db.Compact(t.Context(), []byte("k"), []byte("l"), false); err != nil {
					t.Fatal(err)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range kept {
			if got[k] != v {
				t.Errorf("compacting %v: %q has %q, want %q", compacting, k, got[k], v)
			}
		}
		for k := range got {
			if k[0] != 'k' {
				t.Errorf("%q is out of bounds", k)
			}
		}
		stop := errors.New("stop")
		if err := e.ScanTables([]byte("k"), []byte("l"), func(_, _ []byte) error { return stop }); !errors.Is(err, stop) {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAScanOfADamagedTableIsAnErrorAndNothingElse(t *testing.T) {
	fs := vfs.NewMem()
	e := mustOpen(t, Options{FS: fs})
	fillTables(t, e, 1) // nothing to compact, so nobody writes a table meanwhile
	damage(t, fs, e.dir)
	if _, err := scan(e, func() {}); !pebble.IsCorruptionError(err) {
		t.Errorf("damaged tables were scanned: %v", err)
	}
	if err := e.Err(); err != nil {
		t.Errorf("it is for a reader to find out: %v", err)
	}
}

func TestAScanLeavesTheCacheAlone(t *testing.T) {
	e := mustOpen(t, Options{FS: vfs.NewMem()})
	fillTables(t, e, 8)
	before := e.db.Metrics().BlockCache
	if _, err := scan(e, func() {}); err != nil {
		t.Fatal(err)
	}
	if after := e.db.Metrics().BlockCache; after.Size != before.Size || after.Count != before.Count {
		t.Errorf("the cache had %d blocks and has %d", before.Count, after.Count)
	}
}
