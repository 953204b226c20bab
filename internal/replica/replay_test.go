package replica

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// still is a member that does not run.
type still struct {
	engine  *storage.Engine
	log     *raftlog.Log
	machine *state.Machine
}

func lift(t *testing.T, fs vfs.FS) *still {
	t.Helper()
	s := new(still)
	var err error
	if s.engine, err = storage.Open(storage.Options{FS: fs, Dir: "d/state"}); err != nil {
		t.Fatal(err)
	}
	if s.log, err = raftlog.Open(raftlog.Options{FS: fs, Dir: "d/log"}); err != nil {
		t.Fatal(err)
	}
	if s.machine, err = state.Open(s.engine, mvcc.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.log.Close(), s.engine.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// tell is what a state holds.
func tell(t *testing.T, m *state.Machine) string {
	t.Helper()
	view := m.KV().View()
	defer view.Close()
	var last mvcc.Rev
	if it, ok := view.Get([]byte("59")); ok {
		last = it.Mod
	}
	var members []string
	for _, one := range m.Members().List() {
		members = append(members, fmt.Sprintf("%x learner %v at %v", uint64(one.ID), one.Learner, one.PeerURLs))
	}
	voters := slices.Clone(m.ConfState().GetVoters())
	return fmt.Sprintf("applied %v, revision %d, %d keys, the last at %d, leases %v, members %v, voters %x, learners %x, removed %v",
		m.Applied(), view.Rev(), view.Keys(), last, m.Leases().List(), members, voters, m.ConfState().GetLearners(), m.Members().RemovedIDs())
}

// TestAReplayDoesWhatARunDoes runs a member, takes its disk away before the state has reached it, and applies the log to
// what is there: the same comes out.
func TestAReplayDoesWhatARunDoes(t *testing.T) {
	fs := vfs.NewCrashableMem()
	w := mustStart(t, fs, "d")
	ctx := t.Context()
	for i := range 60 {
		if _, err := w.put(ctx, fmt.Sprint(i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	for _, op := range []command.Op{&pb.LeaseGrantRequest{ID: 5, TTL: 60}, &pb.DeleteRangeRequest{Key: []byte("0")}, &pb.PutRequest{Key: []byte("x"), Lease: 6}} {
		if _, err := w.Propose(ctx, op); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []command.MemberChange{
		{Kind: command.AddLearner, Member: 8, PeerURLs: []string{"http://h:1"}},
		{Kind: command.AddLearner, Member: 9, PeerURLs: []string{"http://h:1"}},
		{Kind: command.RemoveMember, Member: 8},
		{Kind: command.AddLearner, Member: 7, PeerURLs: []string{"http://h:2"}},
	} {
		if _, err := w.Change(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	want := tell(t, w.Machine())
	lost := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	s := lift(t, lost)
	if got := tell(t, s.machine); got == want {
		t.Fatal("the state was written out: there is nothing to replay")
	}
	for range 2 {
		if err := Replay(s.log, s.machine, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		if got := tell(t, s.machine); got != want {
			t.Fatalf("replayed\n%s\nrun\n%s", got, want)
		}
	}
}

// TestAReplayIsRefusedWhereLogAndStateDoNotMeet gives a state a log that begins behind it.
func TestAReplayIsRefusedWhereLogAndStateDoNotMeet(t *testing.T) {
	fs := vfs.NewCrashableMem()
	w := mustStart(t, fs, "d")
	if _, err := w.put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	lost := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	s := lift(t, lost)
	if err := s.log.Reset(100, 7); err != nil {
		t.Fatal(err)
	}
	before := tell(t, s.machine)
	if err := CheckLog(s.log, s.machine); err == nil {
		t.Error("they are said to fit")
	}
	if err := Replay(s.log, s.machine, slog.New(slog.DiscardHandler)); err == nil || tell(t, s.machine) != before {
		t.Errorf("replayed all the same: %v", err)
	}
}

func TestAChangeInAnEntryIsReadAsItWasWritten(t *testing.T) {
	for _, c := range []command.MemberChange{
		{Kind: command.AddVoter, Member: 1 << 63, PeerURLs: []string{"a", "b"}}, {Kind: command.RemoveMember, Member: 7},
	} {
		data, err := EncodeChange(9, c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeChange(data)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(c) {
			t.Errorf("%v came back as %v, %v", c, got, err)
		}
		if _, err := DecodeChange(data[:len(data)-1]); err == nil {
			t.Error("half a change is read")
		}
	}
}
