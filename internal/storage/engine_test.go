package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func mustOpen(t *testing.T, o Options) *Engine {
	t.Helper()
	if o.Dir == "" {
		o.Dir = "data"
	}
	e, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func commit(e *Engine, fill func(*Batch)) error {
	b := e.NewBatch()
	defer b.Close()
	fill(b)
	return e.Commit(b)
}

func TestWhatIsCommittedIsReadBack(t *testing.T) {
	fs := vfs.NewMem()
	e := mustOpen(t, Options{FS: fs})
	err := commit(e, func(b *Batch) {
		b.Set([]byte("ma"), []byte("1"))
		b.Set([]byte("mb"), []byte("2"))
		b.Set([]byte("mc"), nil)
		b.Delete([]byte("mb"))
		b.SetMetaInt("number", -7)
		if b.Count() != 5 || b.Len() == 0 {
			t.Errorf("batch of %d changes, %d bytes", b.Count(), b.Len())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	look := func() {
		t.Helper()
		if v, ok, err := e.Get([]byte("ma"), []byte("x")); string(v) != "x1" || !ok || err != nil {
			t.Fatalf("get: %q %v %v", v, ok, err)
		}
		if v, ok, err := e.GetPadded([]byte("ma"), 2); string(v) != "\x00\x001" || !ok || err != nil {
			t.Fatalf("padded get: %q %v %v", v, ok, err)
		}
		if _, ok, err := e.Get([]byte("mb"), nil); ok || err != nil {
			t.Fatalf("deleted key: %v %v", ok, err)
		}
		if v, ok, err := e.MetaInt("number"); v != -7 || !ok || err != nil {
			t.Fatalf("number: %d %v %v", v, ok, err)
		}
		if _, _, err := e.MetaInt("a"); err == nil {
			t.Fatal("a text reads as a number")
		}
		it, err := e.Iter([]byte("m"), []byte("n"))
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for ok := it.First(); ok; ok = it.Next() {
			keys = append(keys, string(it.Key()))
		}
		if got := strings.Join(keys, " "); got != "ma mc mnumber" {
			t.Fatalf("keys %s", got)
		}
		if !it.SeekGE([]byte("mb")) || string(it.Key()) != "mc" || len(it.Value()) != 0 || !it.Valid() {
			t.Fatal("seek between keys")
		}
		if err := errors.Join(it.Error(), it.Close()); err != nil {
			t.Fatal(err)
		}
	}
	look()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = mustOpen(t, Options{FS: fs, ReadOnly: true})
	look()
	if s := e.Stats(); s.DiskBytes <= 0 || s.LiveBytes <= 0 {
		t.Fatalf("sizes %+v", s)
	}
}

func TestDurableIsWhatWasFlushed(t *testing.T) {
	e := mustOpen(t, Options{FS: vfs.NewMem()})
	set := func(v string) {
		if err := commit(e, func(b *Batch) { b.Set([]byte("mkey"), []byte(v)) }); err != nil {
			t.Fatal(err)
		}
	}
	set("one")
	if _, ok, err := e.GetDurable([]byte("mkey")); ok || err != nil {
		t.Fatalf("durable before a flush: %v %v", ok, err)
	}
	flushed := e.Flushes()
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	<-flushed
	set("two")
	if v, ok, err := e.GetDurable([]byte("mkey")); string(v) != "one" || !ok || err != nil {
		t.Fatalf("durable after a flush: %q %v %v", v, ok, err)
	}
	if e.Stats().MemTableBytes == 0 {
		t.Fatal("a committed batch weighs nothing")
	}
	before := e.Flushes()
	if err := errors.Join(e.Flush(), e.Flush()); err != nil {
		t.Fatal(err)
	}
	<-before
	select {
	case <-e.Flushes():
		t.Fatal("a flush without work was carried out")
	default:
	}
}

func TestASecondOpenIsRefusedWithAHint(t *testing.T) {
	mem := vfs.NewMem()
	dir := filepath.Join(t.TempDir(), "data")
	for name, o := range map[string]Options{"memory": {FS: mem, Dir: "data"}, "disk": {FS: vfs.Default, Dir: dir}} {
		first := mustOpen(t, o)
		if _, err := Open(o); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "stop the other process") {
			t.Fatalf("%s: second open: %v", name, err)
		}
		if err := errors.Join(first.Close(), first.Close()); err != nil {
			t.Fatal(err)
		}
		_ = mustOpen(t, o).Close()
	}
}

func TestImpossibleDirectoriesAreErrorsAndNotLocks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{FS: vfs.Default, Dir: filepath.Join(file, "data")}); err == nil || errors.Is(err, ErrLocked) {
		t.Fatalf("a directory below a file: %v", err)
	}
}

// TestACrashLeavesAPrefixOfTheBatches writes batches that each touch two
// tables, crashes with any part of the unsynced data lost, and finds all of
// the first n batches and nothing of the others.
func TestACrashLeavesAPrefixOfTheBatches(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		fs := vfs.NewCrashableMem()
		e := mustOpen(t, Options{FS: fs, MemTableBytes: 16 << 10})
		const batches = 400
		for i := range batches {
			err := commit(e, func(b *Batch) {
				b.SetRecord(fmt.Sprint("key-", rng.IntN(50)), int64(i+1), 0, make([]byte, rng.IntN(500)))
				b.SetRevision(int64(i+1), 0, Revision{User: "some key"})
				b.SetMetaInt("applied", int64(i+1))
			})
			if err != nil {
				t.Fatal(err)
			}
			if rng.IntN(100) == 0 {
				if err := e.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		durable, _, err := e.GetDurable(MetaKey(nil, "applied"))
		if err != nil {
			t.Fatal(err)
		}
		after := mustOpen(t, Options{FS: fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})})
		n, _, err := after.MetaInt("applied")
		if err != nil {
			t.Fatal(err)
		}
		if len(durable) == 8 && int64(durable[7])+int64(durable[6])<<8 > n {
			t.Fatalf("seed %d: durable said %v, the crash left %d", seed, durable, n)
		}
		for i := range int64(batches) {
			_, ok, err := after.Get(AppendRevisionKey(nil, i+1, 0), nil)
			if err != nil || ok != (i+1 <= n) {
				t.Fatalf("seed %d: applied is %d, row %d is there: %v %v", seed, n, i+1, ok, err)
			}
		}
		rows := int64(0)
		it, err := after.Iter(AppendRecordFrom(nil, ""), RecordEnd())
		if err != nil {
			t.Fatal(err)
		}
		for ok := it.First(); ok; ok = it.Next() {
			rows++
		}
		if err := it.Close(); err != nil || rows != n {
			t.Fatalf("seed %d: %d records of %d batches, %v", seed, rows, n, err)
		}
	}
}

// TestADiskThatFailsEndsTheEngine lets writes of tables fail: the failure is
// announced, later commits are refused, and the reason names what to do.
func TestADiskThatFailsEndsTheEngine(t *testing.T) {
	for _, fault := range []error{errorfs.ErrInjected, syscall.ENOSPC} {
		var broken atomic.Bool
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if broken.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.HasSuffix(op.Path, ".sst") {
				return fault
			}
			return nil
		}))
		e := mustOpen(t, Options{FS: fs})
		if err := commit(e, func(b *Batch) { b.Set([]byte("mkey"), []byte("value")) }); err != nil {
			t.Fatal(err)
		}
		broken.Store(true)
		if err := e.Flush(); err == nil {
			t.Fatal("a flush to a broken disk succeeded")
		}
		<-e.Failed()
		err := commit(e, func(b *Batch) { b.Set([]byte("mkey"), []byte("other")) })
		if !errors.Is(err, fault) || !strings.Contains(err.Error(), "nothing is lost") {
			t.Fatalf("commit after the failure: %v", err)
		}
		if fault == syscall.ENOSPC && !strings.Contains(err.Error(), "disk is full") {
			t.Fatalf("a full disk reads as: %v", err)
		}
		if e.Close() == nil {
			t.Fatal("closing hides the failure")
		}
		broken.Store(false) // lets the background flush end
	}
}

// TestEveryIOFailsOnce opens, writes, flushes and closes with the n-th
// operation on the disk failing: each run ends, with an error or whole.
func TestEveryIOFailsOnce(t *testing.T) {
	for n := int64(0); n < 400; n++ {
		var count atomic.Int64
		hit := atomic.Bool{}
		mem := vfs.NewMem()
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && count.Add(1) == n+1 {
				hit.Store(true)
				return errorfs.ErrInjected
			}
			return nil
		}))
		err := useOnce(fs)
		if !hit.Load() {
			if err != nil {
				t.Fatalf("without a fault: %v", err)
			}
			return
		}
	}
	t.Fatal("the scenario has more operations than the loop covers")
}

func useOnce(fs vfs.FS) error {
	e, err := Open(Options{FS: fs, Dir: "data"})
	if err != nil {
		return err
	}
	for i := range 3 {
		if err := commit(e, func(b *Batch) { b.SetMetaInt("n", int64(i)) }); err != nil {
			return errors.Join(err, e.Close())
		}
		if err := e.Flush(); err != nil {
			return errors.Join(err, e.Close())
		}
	}
	return e.Close()
}
