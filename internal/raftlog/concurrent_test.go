package raftlog

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sync/errgroup"
)

// TestReadersSeeOnlyWholeEntriesWhileOthersWork runs an appender, a compactor, Run
// and a reader beside each other. Run it with the race detector.
func TestReadersSeeOnlyWholeEntriesWhileOthersWork(t *testing.T) {
	l, err := Create(Options{FS: vfs.NewMem(), Dir: "log", SegmentSize: 4 * minStep, CacheBytes: 3000}, Origin{Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	const last = 3000
	ctx, cancel := context.WithCancel(context.Background())
	var appended atomic.Uint64
	appended.Store(1)
	g, _ := errgroup.WithContext(ctx)
	running := make(chan error, 1)
	go func() { running <- l.Run(ctx) }()
	g.Go(func() error {
		rng := rand.New(rand.NewPCG(1, 9))
		for i := uint64(2); i <= last; i++ {
			e := entry(i, i/100+1, "")
			e.Data = []byte{byte(i)}
			e.Data = append(e.Data, make([]byte, rng.IntN(500))...)
			if _, err := l.Append(Batch{Entries: []*raftpb.Entry{e}, HardState: state(i/100+1, 0, i), Sync: i%3 == 0}); err != nil {
				return err
			}
			appended.Store(i)
		}
		return nil
	})
	g.Go(func() error {
		for at := uint64(1); at < last; at = appended.Load() {
			if at > 200 {
				if err := l.Compact(at - 150); err != nil {
					return err
				}
			}
		}
		return nil
	})
	g.Go(func() error { return readAll(l, &appended, last) })
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-running; err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(l.opts); err != nil {
		t.Fatal(err)
	}
	if got, _ := l.LastIndex(); got != last {
		t.Fatalf("last entry is %d, want %d", got, last)
	}
}

func readAll(l *Log, appended *atomic.Uint64, last uint64) error {
	for appended.Load() < last {
		first, _ := l.FirstIndex()
		hi := appended.Load() + 1
		entries, err := l.Entries(first, hi, math.MaxUint64)
		if errors.Is(err, raft.ErrCompacted) || first >= hi {
			continue
		}
		if err != nil {
			return err
		}
		for i, e := range entries {
			want := first + uint64(i)
			if e.GetIndex() != want || e.GetTerm() != want/100+1 || e.GetData()[0] != byte(want) {
				return errors.New("an entry is not what was appended")
			}
		}
	}
	return nil
}

// TestRunPreparesTheNextSegmentAndAppendsOnlyTakeIt counts what an append that moves
// to the next segment asks of the disk: one sync, as any other.
func TestRunPreparesTheNextSegmentAndAppendsOnlyTakeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int64
		o := Options{Dir: "log", SegmentSize: 4 * minStep, FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
				syncs.Add(1)
			}
			return nil
		}))}
		l, err := Create(o, Origin{Index: 1, Term: 1})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		for i := uint64(2); i < 200; i++ {
			before := syncs.Load()
			e := entry(i, 1, string(make([]byte, 1000)))
			if _, err := l.Append(Batch{Entries: []*raftpb.Entry{e}, HardState: state(1, 0, i), Sync: true}); err != nil {
				t.Fatal(err)
			}
			if n := syncs.Load() - before; n != 1 && l.tail.off > headerBlock+2000 {
				t.Fatalf("append %d synced %d times", i, n)
			}
			if err := l.Compact(i - 1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // virtual: Run gets through its pauses
			synctest.Wait()
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		names, _ := o.FS.List("log")
		if len(names) > 2+MaxSpares {
			t.Fatalf("files pile up: %v", names)
		}
	})
}

// TestAFullDiskForSparesDoesNotStopTheLog lets every new file fail: the log goes on
// in its segment, and Run tries again later.
func TestAFullDiskForSparesDoesNotStopTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpCreate {
				return errors.New("no space left on device")
			}
			return nil
		})}
		l, err := Create(Options{Dir: "log", SegmentSize: 16 * minStep, FS: errorfs.Wrap(vfs.NewMem(), full)}, Origin{Index: 1, Term: 1})
		if err != nil {
			t.Fatal(err)
		}
		full.On()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		for i := uint64(2); i < 30; i++ {
			if _, err := l.Append(Batch{Entries: []*raftpb.Entry{entry(i, 1, string(make([]byte, 1000)))}, Sync: true}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		full.Off()
		time.Sleep(2 * fillRetry)
		synctest.Wait()
		l.mu.Lock()
		prepared := l.next != nil
		l.mu.Unlock()
		if !prepared {
			t.Error("no segment was prepared after space came back")
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestABatchAboveTheLimitIsRefusedAndTheLogGoesOn(t *testing.T) {
	l, err := Create(Options{FS: vfs.NewMem(), Dir: "log", SegmentSize: MinSegmentSize}, Origin{Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	// The same 256 MiB four times, never touched: the size alone is too much.
	huge := make([]byte, MaxBatchBytes/4)
	var entries []*raftpb.Entry
	for i := range uint64(4) {
		e := entry(2+i, 1, "")
		e.Data = huge
		entries = append(entries, e)
	}
	if _, err := l.Append(Batch{Entries: entries, Sync: true}); !errors.Is(err, ErrBatchTooLarge) {
		t.Fatalf("append: %v, want %v", err, ErrBatchTooLarge)
	}
	if _, err := l.Append(Batch{Entries: []*raftpb.Entry{entry(2, 1, "small")}, Sync: true}); err != nil {
		t.Fatal(err)
	}
}

func TestAnEmptyRangeIsNoError(t *testing.T) {
	l, err := Create(Options{FS: vfs.NewMem(), Dir: "log", SegmentSize: MinSegmentSize}, Origin{Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := l.Entries(2, 2, math.MaxUint64); err != nil || len(entries) != 0 {
		t.Fatalf("got %v, %v", entries, err)
	}
	if _, err := l.Entries(2, 3, math.MaxUint64); !errors.Is(err, raft.ErrUnavailable) {
		t.Fatalf("behind the end: %v", err)
	}
}

func TestSnapshotIsWhatTheCallerSaid(t *testing.T) {
	l, err := Create(Options{FS: vfs.NewMem(), Dir: "log", SegmentSize: MinSegmentSize}, Origin{Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Snapshot(); !errors.Is(err, raft.ErrSnapshotTemporarilyUnavailable) {
		t.Fatalf("snapshot: %v", err)
	}
	if _, cs, _ := l.InitialState(); cs == nil || len(cs.GetVoters()) != 0 {
		t.Fatalf("initial configuration is %v, want an empty one", cs)
	}
	if err := l.SetSnapshot(1, 1, &raftpb.ConfState{Voters: []uint64{8}}); err != nil {
		t.Fatal(err)
	}
	s, err := l.Snapshot()
	if err != nil || s.GetMetadata().GetIndex() != 1 || s.GetMetadata().GetTerm() != 1 || len(s.GetMetadata().GetConfState().GetVoters()) != 1 {
		t.Fatalf("snapshot is %v, %v", s, err)
	}
	if _, cs, _ := l.InitialState(); len(cs.GetVoters()) != 1 {
		t.Fatalf("initial configuration is %v", cs)
	}
	if err := l.SetSnapshot(0, 0, nil); !errors.Is(err, raft.ErrSnapOutOfDate) {
		t.Fatalf("older snapshot: %v", err)
	}
}
