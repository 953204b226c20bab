package state

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
)

// rest is what a mark would tell of everything but the keys.
func (w *world) rest() uint64 {
	w.t.Helper()
	sum, err := w.m.digestRest()
	w.must(err)
	return sum
}

// TestTheRestIsToldByTheCommandsAlone compares a state, behind each command, with its copy on another member and with
// what a restart makes of it. Every command changes what is told.
func TestTheRestIsToldByTheCommandsAlone(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), mvcc.Options{})
	s := newScript(t, strings.Join([]string{
		"grant 1 60", "grant 2 60", "checkpoint 1=20", "publish 4 four http://four:2", "user add root hash", "role add root",
		"user grant root root", "role add r", "role grant r readwrite a b", "user add ann hash", "user grant ann r", "role del r",
		"alarm on 9 nospace", "downgrade 3.6.0", "auth on key", "revoke 2",
	}, "\n"))
	seen := map[uint64]string{w.rest(): "the beginning"}
	for len(s.lines) > 0 {
		line := s.lines[0]
		op := s.op()
		if p, ok := op.(*command.MemberPublish); ok {
			p.Incarnation, p.Level, p.Version = 7, 2, "1"
		}
		if strings.HasPrefix(line, "revoke") {
			op = command.Signed{By: command.Identity{Member: true}, Op: op}
		}
		if r := w.one(op); r.Err != nil {
			t.Fatalf("%s: %v", line, r.Err)
		}
		sum := w.rest()
		if other, ok := seen[sum]; ok {
			t.Errorf("behind %q the rest is told as behind %q", line, other)
		}
		seen[sum] = line
		if c := copyOf(w, rand.New(rand.NewPCG(1, 1))); c.rest() != sum {
			t.Errorf("behind %q a copy tells something else", line)
		}
		w.restart(w.fs)
		if w.rest() != sum {
			t.Errorf("behind %q a restart tells something else", line)
		}
	}
}

// TestFoundersNeedNotAgreeOnNames: each knows the others only by what its own configuration calls them, until they have
// said it themselves.
func TestFoundersNeedNotAgreeOnNames(t *testing.T) {
	found := func(name string) *world {
		w := &world{t: t, fs: vfs.NewMem()}
		w.openEngine()
		t.Cleanup(func() { _ = w.engine.Close() })
		w.must(Found(w.engine, Founding{Origin: origin, Cluster: 77, Local: 9, Members: []member.Member{
			{ID: 9, PeerURLs: []string{"http://nine:1", "http://nine:2"}}, {ID: 4, Name: name, PeerURLs: []string{"http://four:1"}},
		}}))
		w.openMachine()
		return w
	}
	a, b := found("four"), found("0")
	if a.rest() != b.rest() {
		t.Error("what a configuration calls a member makes a difference")
	}
	a.one(&command.MemberPublish{ID: 4, Name: "four", Incarnation: 7, Level: 2, Version: "1"})
	b.one(&command.MemberPublish{ID: 4, Name: "0", Incarnation: 7, Level: 2, Version: "1"})
	if a.rest() == b.rest() {
		t.Error("what a member calls itself makes no difference")
	}
}

// TestMarksAreToldWithTheirGroup applies marks and reports in one group, in two, and too many.
func TestMarksAreToldWithTheirGroup(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), mvcc.Options{})
	told := func() (text string) {
		marks, _ := w.m.Marks()
		for _, m := range marks {
			text += fmt.Sprintf("%d at %d:", m.ID, m.Rev)
			for id, r := range m.Reports {
				text += fmt.Sprintf(" %d says %d", id, r.Hash)
			}
			text += "\n"
		}
		return text
	}
	put := newScript(t, "put a 1").op()
	_, changed := w.m.Marks()
	w.m.Begin()
	for _, op := range []command.Op{
		put, &command.DigestMark{ID: 1}, put, &command.DigestReport{Mark: 1, Member: 9, Hash: 5}, &command.DigestReport{Mark: 8, Member: 9},
	} {
		_, err := w.m.Apply(op)
		w.must(err)
	}
	select {
	case <-changed:
		t.Error("a mark is told before it is committed")
	default:
	}
	if got := told(); got != "" {
		t.Errorf("told before the commit: %s", got)
	}
	w.append(put)
	w.must(w.m.Commit(w.end()))
	<-changed
	if got := told(); got != "1 at 2: 9 says 5\n" {
		t.Errorf("told: %s", got)
	}
	w.group(&command.DigestMark{ID: 2}, &command.DigestMark{ID: 3}, &command.DigestReport{Mark: 1, Member: 4, Hash: 6}, &command.DigestReport{Mark: 3, Member: 4, Hash: 7})
	if got := told(); got != "2 at 3:\n3 at 3: 4 says 7\n" {
		t.Errorf("told: %s", got)
	}
	_, changed = w.m.Marks()
	w.one(put)
	select {
	case <-changed:
		t.Error("a group without marks is told")
	default:
	}
}

// TestWhatWasFoundAboutAStateStaysWithIt restarts, crashes and copies a state that differs from that of others.
func TestWhatWasFoundAboutAStateStaysWithIt(t *testing.T) {
	fs := vfs.NewCrashableMem()
	w := newWorld(t, fs, mvcc.Options{})
	check := func(w *world, when string, wantRev mvcc.Rev) {
		t.Helper()
		if rev, ok, err := w.m.Diverged(); rev != wantRev || ok != (wantRev > 0) || err != nil {
			t.Errorf("%s: %d, %v, %v", when, rev, ok, err)
		}
	}
	check(w, "at first", 0)
	w.must(w.m.SetDiverged(300))
	w.restart(fs.CrashClone(vfs.CrashCloneCfg{}))
	check(w, "after a crash", 300)
	w.one(newScript(t, "put a 1").op())
	check(copyOf(w, rand.New(rand.NewPCG(1, 1))), "a copy", 0)
	check(w, "still", 300)
	w.must(w.m.ForgetDiverged())
	w.restart(w.fs)
	check(w, "when it is forgotten", 0)
}
