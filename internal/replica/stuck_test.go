package replica

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// stuckDisk is a disk whose syncs of the raft log hang while it is told to.
type stuckDisk struct {
	vfs.FS
	stuck   atomic.Bool
	release chan struct{}
}

func newStuckDisk() *stuckDisk {
	d := &stuckDisk{release: make(chan struct{})}
	d.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if d.stuck.Load() && op.Kind == errorfs.OpFileSyncData && strings.Contains(op.Path, "log") {
			<-d.release
		}
		return nil
	}))
	return d
}

func TestAStuckDiskTimesWritesOutAndLeavesReadsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newStuckDisk()
		w := mustStart(t, disk, "d")
		ctx := t.Context()
		if _, err := w.put(ctx, "k", "before"); err != nil {
			t.Fatal(err)
		}
		disk.stuck.Store(true)
		start := time.Now()
		if _, err := w.put(ctx, "k", "meanwhile"); !errors.Is(err, ErrTimeout) {
			t.Fatalf("a put on a stuck disk: %v", err)
		}
		want := RequestTimeout + 2*w.opts.Election
		if took := time.Since(start); took < want || took > want+time.Second {
			t.Fatalf("it took %v to say so, want about %v", took, want)
		}
		if err := w.Barrier(ctx); err != nil {
			t.Fatalf("a read waits for the disk: %v", err)
		}
		view := w.Machine().KV().View()
		if got := view.Rev(); got != 2 {
			t.Fatalf("revision %d shows what is not durable", got)
		}
		view.Close()
		// The outcome was unknown, not refused: the disk recovers and the write takes effect, once.
		disk.stuck.Store(false)
		close(disk.release)
		if rev, err := w.put(ctx, "k", "after"); err != nil || rev != 4 {
			t.Fatalf("a put after the disk has recovered: revision %d, %v", rev, err)
		}
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
