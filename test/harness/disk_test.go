package harness

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestADiskHasItsFaults asks a disk for each of its faults and for its healing.
func TestADiskHasItsFaults(t *testing.T) {
	d := NewDisk(t)
	f, err := os.Create(d.Path("file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func() error { _, err := f.WriteString("text"); return err }
	if err := errors.Join(write(), f.Sync()); err != nil {
		t.Fatal(err)
	}
	if d.Syncs() != 1 {
		t.Errorf("%d syncs were seen, not 1", d.Syncs())
	}
	d.DelaySync(50 * time.Millisecond)
	began := time.Now()
	if err := f.Sync(); err != nil || time.Since(began) < 50*time.Millisecond {
		t.Errorf("a slow sync took %v: %v", time.Since(began), err)
	}
	d.DelaySync(0)

	d.Fill(true)
	if err := write(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write on a full disk: %v", err)
	}
	if err := os.Mkdir(d.Path("dir"), 0o755); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a directory on a full disk: %v", err)
	}
	if _, err := os.Create(d.Path("other")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a file on a full disk: %v", err)
	}
	d.Fill(false)
	if err := write(); err != nil {
		t.Error(err)
	}

	d.Hang()
	synced := make(chan error, 1)
	go func() { synced <- f.Sync() }()
	select {
	case err := <-synced:
		t.Errorf("a sync that should hang came back: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	d.Resume()
	if err := <-synced; err != nil {
		t.Error(err)
	}
}
