package storage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// damage flips a bit in the middle of every table.
func damage(t *testing.T, fs vfs.FS, dir string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	tables := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		tables++
		f, err := fs.OpenReadWrite(fs.PathJoin(dir, name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, info.Size()/2); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x10
		if _, err := f.WriteAt(b, info.Size()/2); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if tables == 0 {
		t.Fatal("there is no table to damage")
	}
}

func TestADamagedBlockIsAnErrorAndTheEndOfTheEngine(t *testing.T) {
	fs := vfs.NewMem()
	e, err := Open(Options{FS: fs, Dir: "state"})
	if err != nil {
		t.Fatal(err)
	}
	b := e.NewBatch()
	for i := range 5000 {
		b.Set(MetaKey(nil, fmt.Sprintf("%08d", i)), []byte(strings.Repeat("v", 100)))
	}
	if err := e.Commit(b); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, fs, "state")
	if e, err = Open(Options{FS: fs, Dir: "state"}); err != nil {
		return // found at once: even better
	}
	read := make(chan error, 1)
	go func() {
		for i := range 5000 {
			if _, _, err := e.Get(MetaKey(nil, fmt.Sprintf("%08d", i)), nil); err != nil {
				read <- err
				return
			}
		}
		read <- nil
	}()
	select {
	case err := <-read:
		if !pebble.IsCorruptionError(err) {
			t.Errorf("reading everything said: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a reader is stuck in the damaged block")
	}
	if err := e.Err(); err == nil || !strings.Contains(err.Error(), "restore a backup") {
		t.Errorf("the engine goes on, or says: %v", err)
	}
}
