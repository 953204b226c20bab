package rebuild

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/state"
)

// survivors are members that are left of a cluster, and what is to become of them.
func survivors() map[string]struct {
	dir  directory
	want string
} {
	learner := append(three(), member.Member{ID: 4, PeerURLs: []string{"http://m4:2380"}, Learner: true})
	lines := slices.Concat(puts(2, "a", "b", "c"), puts(3, "d", "e"))
	type story = struct {
		dir  directory
		want string
	}
	return map[string]story{
		"a voter": {
			directory{local: 1, members: three(), lines: lines, applied: 2, commit: 3},
			"cluster c1, member 1, 5 keys, revision 6, voter 1, voters [1], learners [], removed [2 3]",
		},
		"a voter whose state has everything": {
			directory{local: 1, members: three(), lines: lines, applied: 5, commit: 5, forget: 3},
			"cluster c1, member 1, 5 keys, revision 6, voter 1, voters [1], learners [], removed [2 3]",
		},
		"a learner": {
			directory{local: 4, members: learner, lines: lines, applied: 1, commit: 2},
			"cluster c1, member 4, 5 keys, revision 6, voter 4, voters [4], learners [], removed [1 2 3]",
		},
		"changes in the log": {
			directory{local: 1, members: three(), applied: 1, commit: 2, lines: slices.Concat(
				puts(2, "a"), []line{change(2, command.AddLearner, 5), change(2, command.RemoveMember, 3), change(2, command.AddVoter, 2)}, puts(2, "b"))},
			"cluster c1, member 1, 2 keys, revision 3, voter 1, voters [1], learners [], removed [2 3 5]",
		},
		"removed by entries that it has not applied": {
			directory{local: 1, members: three(), applied: 1, commit: 2, lines: slices.Concat(
				puts(2, "a"), []line{change(2, command.RemoveMember, 1)}, puts(2, "b"), []line{change(3, command.RemoveMember, 1)}, puts(3, "c"))},
			"cluster c1, member 1, 3 keys, revision 4, voter 1, voters [1], learners [], removed [2 3]",
		},
		"promoted in the log": {
			directory{local: 4, members: learner, applied: 1, commit: 1, lines: slices.Concat(
				puts(2, "a"), []line{change(2, command.PromoteMember, 4), change(2, command.RemoveMember, 2)})},
			"cluster c1, member 4, 1 keys, revision 2, voter 4, voters [4], learners [], removed [1 2 3]",
		},
		"the others removed, but not for certain": {
			directory{local: 1, members: three(), applied: 1, commit: 1, lines: slices.Concat(
				puts(2, "a"), []line{change(2, command.RemoveMember, 3), change(2, command.RemoveMember, 2)})},
			"cluster c1, member 1, 1 keys, revision 2, voter 1, voters [1], learners [], removed [2 3]",
		},
	}
}

// TestASurvivorServesAlone makes each kind of survivor the only one of its cluster, and starts it: it serves with all that
// its log held. Doing it once more changes nothing.
func TestASurvivorServesAlone(t *testing.T) {
	for name, s := range survivors() {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			p := s.dir.make(t, fs, "d")
			before := Look(p)
			removed, err := Rebuild(p, before, quiet())
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(name, "for certain") && len(removed)+1 != len(before.Members) {
				t.Errorf("removed %v of %v", removed, before.Members)
			}
			once := Look(p)
			if once.Last.Index > before.Last.Index && once.Last.Term <= before.Last.Term {
				t.Errorf("its own entries have term %d, and a leader's had term %d", once.Last.Term, before.Last.Term)
			}
			if again, err := Rebuild(p, once, quiet()); err != nil || len(again) > 0 {
				t.Fatalf("once more it removes %v: %v", again, err)
			}
			if twice := Look(p); twice.Last != once.Last || twice.Commit != once.Commit || once.Commit != once.Last.Index || once.Applied != once.Commit {
				t.Errorf("it was %+v, and once more made it %+v", once, twice)
			}
			for range 2 { // the second start is one like any other
				if got, err := run(t, p); err != nil || got != s.want {
					t.Fatalf("got  %s, %v\nwant %s", got, err, s.want)
				}
			}
		})
	}
}

// TestACrashWhileForcingLeavesTheOldOrTheNew takes, before operations of the disk, what a crash might leave. That is the
// member as it was, or one that serves alone with everything; and doing it again leads there from both.
func TestACrashWhileForcingLeavesTheOldOrTheNew(t *testing.T) {
	for name, s := range survivors() {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait for elections most of the time
			seen := crashWhileForcing(t, s.dir, s.want)
			if seen["old"] < 2 || seen["new"] < 2 {
				t.Errorf("crashes left %v: they were not where they matter", seen)
			}
		})
	}
}

func crashWhileForcing(t *testing.T, d directory, want string) map[string]int {
	mem := vfs.NewCrashableMem()
	var mu sync.Mutex // the engine works in the background too
	rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
	seen := map[string]int{}
	begun := false
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead || !begun || t.Failed() {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		// All or nothing of what is unsynced: the engine counts on a disk that keeps the order of new names.
		p := Place{FS: mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100 * rng.IntN(2), RNG: rng}), Data: "d"}
		which, err := oldOrNew(t, d, p, want, rng.IntN(4) == 0)
		if err != nil {
			t.Error(err)
		}
		seen[which]++
		return nil
	}))
	p := d.make(t, fs, "d")
	before := Look(p)
	begun = true
	if _, err := Rebuild(p, before, quiet()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return seen
}

// oldOrNew says which of the two a crash has left, and demands that it is one of them. A member that starts is much
// slower than one that is looked at.
func oldOrNew(t *testing.T, d directory, p Place, want string, start bool) (which string, err error) {
	t.Helper()
	f := Look(p)
	if f.Problem != nil {
		return "", fmt.Errorf("a crash left a directory that cannot be read: %w", f.Problem)
	}
	which = "new"
	if f.Commit < f.Last.Index || names(f.Members) != fmt.Sprintf("voter %d", d.local) {
		which = "old"
		if f.Last != (state.Position{Index: uint64(len(d.lines)) + 1, Term: d.lines[len(d.lines)-1].term}) || f.Commit > max(uint64(d.commit), uint64(d.applied))+1 {
			return "", fmt.Errorf("a crash left neither the old nor the new: %+v", f)
		}
		if _, err := Rebuild(p, f, quiet()); err != nil {
			return "", fmt.Errorf("a second try: %w", err)
		}
	}
	if !start {
		return which, nil
	}
	if got, err := run(t, p); err != nil || got != want {
		return "", fmt.Errorf("a crash that left the %s led to\n%s, %w\nwant\n%s", which, got, err, want)
	}
	return which, nil
}

// TestWhoCannotBeForcedIsLeftAlone: refusals, and nothing is changed.
func TestWhoCannotBeForcedIsLeftAlone(t *testing.T) {
	fs := vfs.NewMem()
	gone := directory{local: 1, members: three(), applied: 2, commit: 2, lines: append(puts(2, "a"), change(2, command.RemoveMember, 1))}.make(t, fs, "gone")
	f := Look(gone)
	if !f.Removed {
		t.Errorf("a removed member is shown as %+v", f)
	}
	if _, err := Rebuild(gone, f, quiet()); !errors.Is(err, ErrGone) {
		t.Errorf("a removed member: %v", err)
	}
	if got := Look(gone); !got.same(f) {
		t.Errorf("a removed member was changed: %+v", got)
	}
	busy := directory{local: 1, members: three(), applied: 1, commit: 1, lines: puts(2, "a")}.make(t, fs, "busy")
	f = Look(busy)
	l, err := raftlog.Open(raftlog.Options{FS: fs, Dir: busy.log()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Rebuild(busy, f, quiet()); err == nil || !strings.Contains(err.Error(), "--endpoints") {
		t.Errorf("a member that runs: %v", err)
	}
	appendTo(t, l, []*raftpb.Entry{puts(2, "x")[0].entry(t, 3)}, nil)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Rebuild(busy, f, quiet()); !errors.Is(err, ErrChanged) {
		t.Errorf("a member that ran meanwhile: %v", err)
	}
}
