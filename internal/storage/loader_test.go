package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// loadRow is the i-th row of what these tests load.
func loadRow(i int) (key, value []byte) {
	return fmt.Appendf(nil, "k%08d", i), bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 50+i%100)
}

func load(e *Engine, rows int) error {
	l, err := e.NewLoader()
	if err != nil {
		return err
	}
	l.tableBytes = 16 << 10
	for i := range rows {
		if err := l.Add(loadRow(i)); err != nil {
			return errors.Join(err, l.Abort())
		}
	}
	if err := l.Finish(); err != nil {
		return errors.Join(err, l.Abort())
	}
	return nil
}

// loaded counts the rows of an engine, and demands that they are the first ones.
func loaded(t *testing.T, e *Engine) (n int) {
	t.Helper()
	it, err := e.Iter(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		if key, value := loadRow(n); !bytes.Equal(it.Key(), key) || !bytes.Equal(it.Value(), value) {
			t.Fatalf("row %d is %q", n, it.Key())
		}
		n++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWhatWasLoadedIsDurableInTheLowestLevel(t *testing.T) {
	const rows = 5000
	mem := vfs.NewCrashableMem()
	e := mustOpen(t, Options{FS: mem})
	if err := load(e, rows); err != nil {
		t.Fatal(err)
	}
	if left := scratches(t, mem, "data"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	after := mustOpen(t, Options{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
	for _, e := range []*Engine{e, after} {
		if n := loaded(t, e); n != rows {
			t.Fatalf("%d rows, want %d", n, rows)
		}
		levels, err := e.db.SSTables()
		if err != nil {
			t.Fatal(err)
		}
		if lowest := levels[len(levels)-1]; len(lowest) < 3 {
			t.Errorf("%d tables in the lowest level", len(lowest))
		}
		// From now on it is an engine like any other.
		if err := errors.Join(commit(e, func(b *Batch) { b.Set([]byte("m"), nil); b.Delete([]byte("m")) }), e.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	if s := e.Stats(); s.LiveBytes == 0 {
		t.Errorf("sizes are %+v", s)
	}
}

func TestRowsOutOfOrderAreRefused(t *testing.T) {
	mem := vfs.NewMem()
	e := mustOpen(t, Options{FS: mem})
	l, err := e.NewLoader()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Add(nil, nil); !errors.Is(err, ErrNotAscending) {
		t.Errorf("a key without bytes: %v", err)
	}
	if err := l.Add([]byte("b"), []byte("1")); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"b", "a"} {
		if err := l.Add([]byte(key), nil); !errors.Is(err, ErrNotAscending) {
			t.Errorf("%q behind b: %v", key, err)
		}
	}
	if l.Rows() != 1 || l.Bytes() != 2 {
		t.Errorf("%d rows, %d bytes", l.Rows(), l.Bytes())
	}
	if err := l.Abort(); err != nil {
		t.Fatal(err)
	}
	if left := scratches(t, mem, "data"); len(left) > 0 || loaded(t, e) != 0 {
		t.Errorf("left: %q", left)
	}
	// Nothing stands in the way of another try.
	if err := load(e, 10); err != nil || loaded(t, e) != 10 {
		t.Fatal(err)
	}
}

// TestALoadIsAllOrNothing crashes, or fails, at every operation of the disk.
func TestALoadIsAllOrNothing(t *testing.T) {
	const rows = 1500
	mem := vfs.NewCrashableMem()
	rng := rand.New(rand.NewPCG(1, 1))
	full, empty, on := 0, 0, false
	disk := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !on || op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		e, err := Open(Options{FS: mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 30 * rng.IntN(4), RNG: rng}), Dir: "data"})
		if err != nil {
			t.Fatal(err)
		}
		switch n := loaded(t, e); n {
		case 0:
			empty++
		case rows:
			full++
		default:
			t.Fatalf("a crash left %d rows", n)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		return nil
	}))
	e := mustOpen(t, Options{FS: disk})
	on = true
	err := load(e, rows)
	on = false
	if err != nil {
		t.Fatal(err)
	}
	if empty < 10 || full == 0 {
		t.Errorf("crashes left %d empty engines and %d full ones", empty, full)
	}
}

func TestALoadThatTheDiskRefusesSaysSo(t *testing.T) {
	refused := 0
	for n := int32(0); ; n++ {
		mem := vfs.NewMem()
		toggle := &errorfs.Toggle{Injector: errorfs.OnIndex(n)}
		e, err := Open(Options{FS: errorfs.Wrap(mem, toggle), Dir: "data"})
		if err != nil {
			t.Fatal(err)
		}
		toggle.On()
		err = load(e, 600)
		toggle.Off()
		_ = e.Close() // what failed is abandoned
		if err == nil {
			break
		}
		refused++
	}
	if refused < 10 {
		t.Errorf("%d operations", refused)
	}
}
