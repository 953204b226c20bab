package mvcc

import (
	"errors"
	"fmt"
	"testing"

	"github.com/keelson-db/keelson/internal/storage"
)

// verify looks at everything, a few rows at a time.
func (d *desk) verify() (rows int, err error) {
	d.t.Helper()
	for from, done := (Pos{}), false; !done; rows++ {
		if from, _, done, err = d.store.Verify(from, 1<<62, 1); err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// spoil changes the engine behind the store's back.
func (d *desk) spoil(change func(b *storage.Batch)) {
	d.t.Helper()
	b := d.engine.NewBatch()
	defer b.Close()
	change(b)
	if err := d.engine.Commit(b); err != nil {
		d.t.Fatal(err)
	}
}

func TestEveryRecordThatIsNotWhatWasWrittenIsFound(t *testing.T) {
	build := func() *desk {
		d := newDesk(t, Options{})
		for i := range 50 {
			d.put(fmt.Sprintf("key-%d", i%7), fmt.Sprint("value ", i))
		}
		d.group(func(w *Writer) {
			tx := w.NewTx()
			_, _ = tx.Delete([]byte("key-3"), nil)
			tx.End()
		})
		d.compact(20)
		return d
	}
	d := build()
	if rows, err := d.verify(); err != nil || rows < 51 {
		t.Fatalf("%d rows are sound, then %v", rows, err)
	}
	if _, _, err := d.store.Sweep(t.Context(), 1000); err != nil {
		t.Fatal(err)
	}
	if rows, err := d.verify(); err != nil || rows > 40 {
		t.Fatalf("after a sweep %d rows are sound, then %v", rows, err)
	}
	view := d.store.View()
	it, _ := view.Get([]byte("key-5"))
	view.Close()
	good, _ := d.store.bytes(it)
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)-1] ^= 1
	for what, change := range map[string]func(b *storage.Batch){
		"a bit is flipped":           func(b *storage.Batch) { b.SetRecord("key-5", int64(it.Mod), it.Sub, flipped) },
		"the end is cut off":         func(b *storage.Batch) { b.SetRecord("key-5", int64(it.Mod), it.Sub, good[:len(good)-1]) },
		"a tombstone took its place": func(b *storage.Batch) { b.SetRecord("key-5", int64(it.Mod), it.Sub, nil) },
		"it is gone":                 func(b *storage.Batch) { b.DeleteRecord("key-5", int64(it.Mod), it.Sub) },
		"an old version is gone":     func(b *storage.Batch) { b.DeleteRecord("key-5", 42, 0) },
		"a deleted key came back":    func(b *storage.Batch) { b.SetRecord("key-3", 52, 0, good) },
	} {
		d := build()
		d.spoil(change)
		_, err := d.verify()
		if damaged, ok := errors.AsType[*storage.DamagedError](err); !ok || len(damaged.Key) != 5 {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// BenchmarkVerify looks at 100,000 records that are not in memory.
func BenchmarkVerify(b *testing.B) {
	const n = 100_000
	w := newBench(b, n)
	w.cold()
	for b.Loop() {
		for from, done := (Pos{}), false; !done; {
			var err error
			if from, _, done, err = w.store.Verify(from, 1<<62, 256<<10); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
}
