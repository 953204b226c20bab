package harness

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is a file system of its own under a directory, whose syncs can be made slow and whose space can be used up
// while a server works on it. It is a FUSE mount that passes everything through to a directory beneath, so every
// server can be put on it, whatever language it is written in.
type Disk struct {
	Dir string // where servers put their data

	mu    sync.Mutex
	delay time.Duration // how long a sync takes in addition
	stuck chan struct{} // not nil while syncs hang; closed when they may go on
	full  bool          // writes that need space fail
	syncs int           // how many syncs have been asked for
}

// NewDisk mounts a disk; it is unmounted with the test. Where mounting is not allowed, the test is skipped.
func NewDisk(t testing.TB) *Disk {
	t.Helper()
	d := &Disk{Dir: t.TempDir()}
	if err := d.mount(t, t.TempDir()); err != nil {
		t.Skipf("NOT TESTED HERE: a disk that can be slow needs root and /dev/fuse: %v", err)
	}
	return d
}

// DelaySync makes every sync from now on take this much longer; 0 heals it.
func (d *Disk) DelaySync(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.delay = by
}

// Hang lets no sync return any more, until Resume.
func (d *Disk) Hang() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stuck == nil {
		d.stuck = make(chan struct{})
	}
}

// Resume ends a Hang.
func (d *Disk) Resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stuck != nil {
		close(d.stuck)
		d.stuck = nil
	}
}

// Fill says whether the disk has no space left: what would need more of it fails with ENOSPC.
func (d *Disk) Fill(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// Syncs is the number of syncs that have been asked for.
func (d *Disk) Syncs() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs
}

// Path is a place on the disk.
func (d *Disk) Path(name string) string { return filepath.Join(d.Dir, name) }

// sync waits as long as the disk's faults want it.
func (d *Disk) sync() {
	d.mu.Lock()
	d.syncs++
	delay, stuck := d.delay, d.stuck
	d.mu.Unlock()
	if delay > 0 {
		<-time.After(delay)
	}
	if stuck != nil {
		<-stuck
	}
}

// space is the error of an operation that needs space.
func (d *Disk) space() unix.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return unix.ENOSPC
	}
	return 0
}
