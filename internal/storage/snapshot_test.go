package storage

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestASnapshotStaysAtItsMoment(t *testing.T) {
	e := mustOpen(t, Options{FS: vfs.NewMem()})
	if err := commit(e, func(b *Batch) { b.Set([]byte("ma"), []byte("1")); b.SetMetaInt("n", 5) }); err != nil {
		t.Fatal(err)
	}
	s, err := e.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := commit(e, func(b *Batch) { b.Delete([]byte("ma")); b.Set([]byte("mb"), nil); b.SetMetaInt("n", 6) }); err != nil {
		t.Fatal(err)
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	if v, ok, err := s.Get([]byte("ma"), []byte("x")); string(v) != "x1" || !ok || err != nil {
		t.Errorf("what was deleted later: %q %v %v", v, ok, err)
	}
	if _, ok, err := s.Get([]byte("mb"), nil); ok || err != nil {
		t.Errorf("what was written later: %v %v", ok, err)
	}
	if n, ok, err := MetaInt(s, "n"); n != 5 || !ok || err != nil {
		t.Errorf("what was replaced later: %v %v %v", n, ok, err)
	}
	it, err := s.Iter([]byte("m"), []byte("n"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if err := errors.Join(it.Close(), s.Close()); n != 2 || err != nil {
		t.Errorf("%d keys, %v", n, err)
	}
}
