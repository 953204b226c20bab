package chores

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// spoil gives a version of a key another record, behind the state's back.
func (w *world) spoil(key string, rev int64) {
	w.t.Helper()
	b := w.engine.NewBatch()
	defer b.Close()
	b.SetRecord(key, rev, 0, []byte("something else"))
	if err := w.engine.Commit(b); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) corrupt() bool { return w.machine.Raised(pb.AlarmType_CORRUPT) }

// checking runs a checker in virtual time while tell lets time pass.
func checking(t *testing.T, every, compacted time.Duration, log io.Writer, tell func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := NewChecker(CheckerOptions{
			Every: every, Compacted: compacted, Machine: w.machine, Proposer: w, Logger: slog.New(slog.NewTextHandler(log, nil)),
		})
		w.puts(20)
		stop := running(t, c.Run)
		tell(w)
		stop()
		w.close()
	})
}

func TestAPeriodicCheckFindsDamageAndRaisesTheAlarm(t *testing.T) {
	var log strings.Builder
	checking(t, time.Hour, 0, &log, func(w *world) {
		time.Sleep(90 * time.Minute)
		if w.corrupt() {
			t.Error("sound data raised the alarm")
		}
		w.spoil("1", 6)
		time.Sleep(time.Hour)
		if alarms := w.machine.Alarms(); len(alarms) != 1 || alarms[0].MemberID != 1 || alarms[0].Alarm != pb.AlarmType_CORRUPT {
			t.Errorf("the alarms are %v", alarms)
		}
	})
	if text := log.String(); !strings.Contains(text, "damaged") || !strings.Contains(text, `\"1\"`) || !strings.Contains(text, "restore") {
		t.Errorf("the log names neither key nor way out: %s", text)
	}
}

func TestAnAlarmThatCannotBeRaisedIsTriedAgain(t *testing.T) {
	checking(t, time.Minute, 0, io.Discard, func(w *world) {
		w.spoil("1", 6)
		w.setRefuse(context.DeadlineExceeded)
		time.Sleep(5 * time.Minute)
		w.setRefuse(nil)
		time.Sleep(5 * time.Second)
		if !w.corrupt() {
			t.Error("the alarm is not raised")
		}
	})
}

func TestTheCheckOfCompactionsLooksAtWhatTheyLeft(t *testing.T) {
	checking(t, 0, time.Minute, io.Discard, func(w *world) {
		sweep := running(w.t, w.sweeper().Run)
		w.spoil("2", 19) // alive, and below the compaction to come
		w.spoil("1", 21) // above it
		time.Sleep(10 * time.Minute)
		if w.corrupt() {
			t.Error("it looked without a compaction")
		}
		w.do(&pb.CompactionRequest{Revision: 18})
		time.Sleep(2 * time.Minute)
		if w.corrupt() {
			t.Error("it looked above the compaction")
		}
		w.do(&pb.CompactionRequest{Revision: 20})
		time.Sleep(2 * time.Minute)
		if !w.corrupt() {
			t.Error("the damage below the compaction was not found")
		}
		sweep()
	})
}

func TestDamageEndsTheStartWithAHint(t *testing.T) {
	w := newWorld(t)
	w.puts(20)
	log := slog.New(slog.DiscardHandler)
	if err := CheckAll(t.Context(), w.machine.KV(), log); err != nil {
		t.Fatal(err)
	}
	w.spoil("1", 6)
	err := CheckAll(t.Context(), w.machine.KV(), log)
	if err == nil || !strings.Contains(err.Error(), `"1"`) || !strings.Contains(err.Error(), "restore") {
		t.Errorf("the start goes on with %v", err)
	}
	w.close()
}

// TestAFlippedByteOfATableIsFound damages the files themselves. The engine sums its blocks, so it is the engine
// that notices, whoever reads: the check, or a client. The member then ends; it never answers from such a block.
func TestAFlippedByteOfATableIsFound(t *testing.T) {
	fs := vfs.NewMem()
	open := func() (*storage.Engine, error) { return storage.Open(storage.Options{FS: fs, Dir: "state"}) }
	e, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if err := state.Found(e, state.Founding{Origin: state.Position{Index: 1, Term: 1}, Cluster: 1, Local: 1}); err != nil {
		t.Fatal(err)
	}
	m, err := state.Open(e, mvcc.Options{HistoryBytes: 1, HistoryEvents: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		apply(t, m, &pb.PutRequest{Key: fmt.Appendf(nil, "key-%d", i%10), Value: fmt.Appendf(nil, "some value that can be told from others: %d", i)})
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	flip(t, fs, "from others: 123")
	if e, err = open(); err != nil {
		return // noticed at once
	}
	if m, err = state.Open(e, mvcc.Options{}); err == nil {
		err = CheckAll(t.Context(), m.KV(), slog.New(slog.DiscardHandler))
	}
	if err == nil {
		t.Error("nobody noticed")
	}
	if e.Err() == nil {
		t.Errorf("the engine goes on after %v", err)
	}
	_ = e.Close()
}

// flip changes a byte of the first table file that contains a text.
func flip(t *testing.T, fs vfs.FS, text string) {
	t.Helper()
	names, err := fs.List("state")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := "state/" + name
		f, err := fs.Open(path)
		if err != nil || !strings.HasSuffix(name, ".sst") {
			continue
		}
		all, err := io.ReadAll(f)
		_ = f.Close()
		at := strings.Index(string(all), text)
		if err != nil || at < 0 {
			continue
		}
		all[at] ^= 1
		changed, err := fs.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := changed.Write(all); err != nil {
			t.Fatal(err)
		}
		if err := changed.Close(); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no table of %v holds %q", names, text)
}
