package state

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// disk is a file system of which one operation on a table fails. The other files are left alone: an error
// there parks the engine's own goroutines, and what becomes of it then is the engine's test.
type disk struct {
	vfs.FS
	mem   *vfs.MemFS
	kind  errorfs.OpReadWrite
	left  atomic.Int64 // operations that still succeed
	armed atomic.Bool
	hit   atomic.Bool
	stays bool // all operations after it fail too
}

func newDisk(mem *vfs.MemFS, kind errorfs.OpReadWrite, n int64, stays bool) *disk {
	d := &disk{mem: mem, kind: kind, stays: stays}
	d.left.Store(n)
	d.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !d.armed.Load() || op.Kind.ReadOrWrite() != d.kind || !strings.HasSuffix(op.Path, ".sst") {
			return nil
		}
		if left := d.left.Add(-1); left == -1 || left < -1 && d.stays {
			d.hit.Store(true)
			return errorfs.ErrInjected
		}
		return nil
	}))
	return d
}

// stored is a state whose records are all on the disk, with history and a compaction.
func stored(t *testing.T) *vfs.MemFS {
	w := newWorld(t, vfs.NewCrashableMem(), mvcc.Options{})
	lines := []string{"grant 1 60", "grant 2 60"}
	for round := range 3 {
		for i := range 40 {
			lines = append(lines, fmt.Sprintf("put key-%02d %s lease=%d", i, strings.Repeat(fmt.Sprint(round), 2000+i), i%3))
		}
	}
	for _, line := range append(lines, "del key-07", "compact 50") {
		w.one(newScript(t, line).op())
	}
	w.must(w.engine.Close())
	return w.fs.(*vfs.MemFS)
}

// busy are commands that read all that commands can read, two groups of them.
var busy = [...]string{`
put key-01 x prev
put key-02 ignore_value lease=2
put key-03 y ignore_lease prev
put key-04 z ignore_value
put key-99 n ignore_value
del key-05 key-09 prev
txn
  if value key-10 key-15 > 1
  if mod key-16 < 1000
  if value key-99 = x
  then put wrong 1
  else range key-20 key-25
  else range key-20 key-23 rev=60
  else range key-2 key-3 rev=80 limit=3
  else range key-30 key-36 sort=2 by=4 limit=2
  else put key-39 w prev
  else range key-39
  else del key-26 key-28 prev
  else txn
    if value key-38 > 1
    then put key-38 ignore_value prev
    then range key-2 key-3 count rev=70`, `
revoke 2
txn
  if value key-01 = x
  then range key \0 keys
  then range key \0 rev=55 minmod=52 limit=4
  then range key \0 rev=100
del key-1 key-2 prev
compact 100`}

// beBusy applies the busy groups until one fails; it returns what was answered and how far it came.
func (w *world) beBusy(t *testing.T) (told []string, err error) {
	for i, text := range busy {
		w.m.Begin()
		for s := newScript(t, text[1:]); len(s.lines) > 0; {
			r, err := w.m.Apply(s.op())
			if err != nil {
				if isVerdict(err) || !strings.Contains(err.Error(), "injected") || r != (Result{}) {
					t.Fatalf("a broken disk became %+v, %v", r, err)
				}
				return told, err
			}
			var out strings.Builder
			tell(&out, r)
			told = append(told, out.String())
		}
		if err := w.m.Commit(Position{Index: w.m.Applied().Index + 1, Term: 9}); err != nil {
			return told, err
		}
		if w.m.Applied().Index == origin.Index+uint64(i) {
			t.Fatal("a commit did not move the position")
		}
	}
	return told, nil
}

// TestEveryReadFailsOnce lets the n-th read of a table fail, alone or with all later ones, while commands
// are applied: each command is answered as on a good disk or fails as this member's own failure, and after
// a failure readers see the last group that was committed.
func TestEveryReadFailsOnce(t *testing.T) {
	base := stored(t)
	good := &world{t: t, fs: base.CrashClone(vfs.CrashCloneCfg{}), mem: 64 << 10}
	good.openEngine()
	good.openMachine()
	start := good.m.Applied()
	want, err := good.beBusy(t)
	good.must(err)
	whole := good.whole()
	good.must(good.engine.Close())
	failed := 0
	for n := int64(0); ; n++ {
		hits := 0
		for _, stays := range []bool{false, true} {
			d := newDisk(base.CrashClone(vfs.CrashCloneCfg{}), errorfs.OpIsRead, n, stays)
			w := &world{t: t, fs: d, mem: 64 << 10, cache: 1} // nothing is remembered from opening
			w.openEngine()
			w.openMachine()
			rev := w.m.KV().Stats().Rev
			d.armed.Store(true)
			told, err := w.beBusy(t)
			d.armed.Store(false)
			for i := range told {
				if told[i] != want[i] {
					t.Fatalf("with read %d failing (error %v) command %d was answered\n%s\nand on a good disk\n%s", n, err, i, told[i], want[i])
				}
			}
			switch now := w.m.KV().Stats().Rev; {
			case err == nil && (len(told) != len(want) || w.whole() != whole):
				t.Fatalf("with read %d failing, unnoticed: %s", n, firstDifference(w.whole(), whole))
			case err != nil && w.m.Applied() == start && now != rev:
				t.Fatalf("with read %d failing (%v) revision %d of a group that was not committed is visible", n, err, now)
			case err != nil:
				failed++
			}
			if d.hit.Load() {
				hits++
			}
			_ = w.engine.Close()
		}
		if hits == 0 {
			t.Logf("%d reads, %d failures", n, failed)
			if failed < 20 {
				t.Fatalf("only %d runs failed: the commands no longer read from the disk", failed)
			}
			return
		}
	}
}

// TestOpeningFailsOrIsWhole lets the n-th read of a table fail while the state is opened.
func TestOpeningFailsOrIsWhole(t *testing.T) {
	base := stored(t)
	want, failed := "", 0
	for n := int64(-1); ; n++ {
		d := newDisk(base.CrashClone(vfs.CrashCloneCfg{}), errorfs.OpIsRead, n, false)
		w := &world{t: t, fs: d, mem: 64 << 10}
		w.openEngine()
		d.armed.Store(n >= 0)
		m, err := Open(w.engine, w.opts)
		d.armed.Store(false)
		if err == nil {
			w.m = m
			if want == "" {
				want = w.whole()
			}
			if got := w.whole(); got != want {
				t.Fatalf("with read %d failing the state is another one: %s", n, firstDifference(got, want))
			}
		} else if failed++; !strings.Contains(err.Error(), "injected") {
			t.Fatalf("with read %d failing: %v", n, err)
		}
		_ = w.engine.Close()
		if n >= 0 && !d.hit.Load() {
			t.Logf("%d reads, %d failures", n, failed)
			if failed == 0 {
				t.Fatal("opening does not read from the disk")
			}
			return
		}
	}
}

// TestEveryTableWriteFailsOnce lets the n-th write of a table fail while groups are applied. The failure ends
// the machine by an error of Commit; a new one on the same disk brings the log to its end.
func TestEveryTableWriteFailsOnce(t *testing.T) {
	var log [][]byte
	maker := &world{t: t}
	for i := range 60 {
		maker.append(newScript(t, fmt.Sprintf("put key-%d %s", i%20, strings.Repeat("v", 3000+i))).op())
	}
	log = maker.log
	whole := func(w *world) string { return w.contents() + fmt.Sprint(w.m.Applied()) }
	play := func(fs vfs.FS) (*world, error) {
		w := newWorld(t, fs, mvcc.Options{HistoryEvents: 1})
		w.log = log
		if d, ok := fs.(*disk); ok {
			d.armed.Store(true)
		}
		err := w.replay(func() int { return 3 })
		if err == nil {
			err = w.engine.Flush()
		}
		return w, err
	}
	good, err := play(vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	want, failed := whole(good), 0
	for n := int64(0); ; n++ {
		d := newDisk(vfs.NewCrashableMem(), errorfs.OpIsWrite, n, false)
		w, err := play(d)
		d.armed.Store(false)
		if err != nil {
			failed++
			if isVerdict(err) || !strings.Contains(err.Error(), "injected") {
				t.Fatalf("with write %d failing: %v", n, err)
			}
			// What readers see is what the last good commit left.
			done := int(w.m.Applied().Index - origin.Index)
			if rev := w.m.KV().Stats().Rev; rev != mvcc.FirstRev+mvcc.Rev(done) {
				t.Fatalf("with write %d failing %d commands are applied and revision %d is visible", n, done, rev)
			}
		} else if got := whole(w); got != want {
			t.Fatalf("with write %d failing, unnoticed: %s", n, firstDifference(got, want))
		}
		after := &world{t: t, fs: d.mem.CrashClone(vfs.CrashCloneCfg{}), mem: 64 << 10, log: log}
		after.openEngine()
		after.openMachine()
		after.must(after.replay(func() int { return 5 }))
		if got := whole(after); got != want {
			t.Fatalf("after write %d failed, the same disk ends with another state: %s", n, firstDifference(got, want))
		}
		_ = after.engine.Close()
		if !d.hit.Load() {
			t.Logf("%d writes, %d failures", n, failed)
			if failed < 3 {
				t.Fatalf("only %d runs failed: the groups no longer reach the disk", failed)
			}
			return
		}
	}
}
