package raftlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.etcd.io/raft/v3/raftpb"
)

// resets are places to begin anew, for a log with the entries 11 to 60 behind a prefix of 10, of which 1 to 30 have
// term 2, the others term 3, and 40 are committed. Its last entries lie in several segments.
var resets = map[string]struct {
	index, term uint64
	want        string // first, last, hard state
}{
	"far behind the end":          {index: 1000, term: 7, want: "[1001, 1000] 7 0 1000"},
	"just behind the end":         {index: 61, term: 3, want: "[62, 61] 4 2 61"},
	"the last entry":              {index: 60, term: 3, want: "[61, 60] 4 2 60"},
	"the last, of another term":   {index: 60, term: 4, want: "[61, 60] 4 2 60"},
	"within, of another term":     {index: 45, term: 9, want: "[46, 45] 9 0 45"},
	"the first uncommitted":       {index: 41, term: 4, want: "[42, 41] 4 2 41"},
	"an entry that is there":      {index: 50, term: 3, want: "[51, 60] 4 2 50"},
	"an entry that is committed":  {index: 20, term: 2, want: "[21, 60] 4 2 40"},
	"where the log begins anyway": {index: 10, term: 2, want: "[11, 60] 4 2 40"},
}

// beforeReset makes the log that is reset.
func beforeReset(t *testing.T, o Options) *Log {
	t.Helper()
	l, err := Create(o, Origin{ID: 9, Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(2); i <= 60; i++ {
		term := uint64(2)
		if i > 30 {
			term = 3
		}
		mustAppend(t, l, Batch{Entries: []*raftpb.Entry{entry(i, term, strings.Repeat(string(rune('a'+i%26)), 400))}, Sync: true})
	}
	if err := l.Compact(10); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, Batch{HardState: state(4, 2, 40), Sync: true})
	return l
}

func mustAppend(t *testing.T, l *Log, b Batch) {
	t.Helper()
	if _, err := l.Append(b); err != nil {
		t.Fatal(err)
	}
}

// whole is all that a log shows.
func whole(t *testing.T, l *Log) string {
	t.Helper()
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	hs, _, _ := l.InitialState()
	term, err := l.Term(first - 1)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[%d, %d] %d %d %d\nbehind %d\n", first, last, hs.GetTerm(), hs.GetVote(), hs.GetCommit(), term)
	entries, err := l.Entries(first, last+1, math.MaxUint64)
	if err != nil || uint64(len(entries)) != last+1-first {
		t.Fatalf("%d entries of [%d, %d]: %v", len(entries), first, last, err)
	}
	for _, e := range entries {
		fmt.Fprintf(&b, "%d.%d %s\n", e.GetIndex(), e.GetTerm(), e.GetData())
	}
	return b.String()
}

// reopened is what a log shows after it was opened, and again after it was opened once more.
func reopened(t *testing.T, o Options) string {
	t.Helper()
	var seen string
	for range 2 {
		l, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		now := whole(t, l)
		if seen != "" && now != seen {
			t.Fatalf("opened again the log is another one:\n%s\n%s", seen, now)
		}
		seen = now
		l.die(t)
	}
	return seen
}

// TestAResetSurvivesACrashAtAnyOperation resets a log and goes on with it until the old segments are used again. Before
// every operation of the disk it takes what a crash might leave: the old log or the new one, and the new one
// once the reset has returned.
func TestAResetSurvivesACrashAtAnyOperation(t *testing.T) {
	for name, c := range resets {
		for _, size := range segmentSizes {
			t.Run(fmt.Sprintf("%s, segments of %d", name, size), func(t *testing.T) {
				crashes := crashAroundReset(t, Options{Dir: "log", SegmentSize: size, CacheBytes: 4096}, c.index, c.term, c.want)
				if crashes < 40 {
					t.Fatalf("only %d crashes: the reset and what follows do not reach the disk", crashes)
				}
			})
		}
	}
}

func crashAroundReset(t *testing.T, o Options, index, term uint64, want string) (crashes int) {
	rng := rand.New(rand.NewPCG(index, term))
	mem := vfs.NewCrashableMem()
	var allowed []string // what a crash may leave now; nothing is tried before it is known
	o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead || allowed == nil {
			return nil
		}
		for _, keep := range []int{0, 50, 100}[rng.IntN(3):] {
			crashes++
			after := o
			after.FS = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rng})
			if got := reopened(t, after); !slices.Contains(allowed, got) {
				t.Fatalf("a crash left\n%s\nallowed is one of\n%s", got, strings.Join(allowed, "\n"))
			}
		}
		return nil
	}))
	l := beforeReset(t, o)
	before := whole(t, l)
	// The log that a reset leaves is known from one that nothing happens to.
	calm := o
	calm.FS = vfs.NewMem()
	still := beforeReset(t, calm)
	if err := still.Reset(index, term); err != nil {
		t.Fatal(err)
	}
	after := whole(t, still)
	if got, _, _ := strings.Cut(after, "\n"); got != want {
		t.Fatalf("reset to %s, want %s", got, want)
	}
	allowed = []string{before, after}
	if err := l.Reset(index, term); err != nil {
		t.Fatal(err)
	}
	if got := whole(t, l); got != after {
		t.Fatalf("the log in memory is\n%s\nwant\n%s", got, after)
	}
	allowed = []string{after}
	goOnAfterReset(t, l, still, &allowed)
	return crashes
}

// goOnAfterReset writes to both logs until the first has used several segments.
func goOnAfterReset(t *testing.T, l, still *Log, allowed *[]string) {
	last, _ := l.LastIndex()
	for i := range uint64(30) {
		b := Batch{Entries: []*raftpb.Entry{entry(last+1+i, 20, strings.Repeat("n", 1500))}, HardState: state(20, 1, last+i), Sync: true}
		// First of all the old segments go, before an entry stands where they had others.
		if i%3 == 0 {
			if err := l.upkeep(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
		}
		mustAppend(t, still, b)
		*allowed = append(*allowed, whole(t, still))
		mustAppend(t, l, b)
		*allowed = (*allowed)[1:]
	}
}

// TestAResetThatTheDiskRefusesIsFinal lets each operation of a reset fail.
func TestAResetThatTheDiskRefusesIsFinal(t *testing.T) {
	for n := int32(0); ; n++ {
		mem := vfs.NewCrashableMem()
		toggle := &errorfs.Toggle{Injector: errorfs.OnIndex(n)}
		o := Options{FS: errorfs.Wrap(mem, toggle), Dir: "log", SegmentSize: MinSegmentSize}
		l := beforeReset(t, o)
		before := whole(t, l)
		toggle.On()
		err := l.Reset(45, 9)
		toggle.Off()
		if err == nil {
			if n < 2 {
				t.Fatalf("a reset of %d operations", n)
			}
			return
		}
		if _, again := l.Append(Batch{Sync: true}); again == nil {
			t.Fatalf("operation %d: the log goes on after %v", n, err)
		}
		l.die(t)
		o.FS = mem
		if got := reopened(t, o); got != before && !strings.HasPrefix(got, "[46, 45] 9 0 45\n") {
			t.Fatalf("operation %d left\n%s", n, got)
		}
	}
}

// TestAResetThatWouldLoseSomethingIsRefused also demands that nothing was changed by asking.
func TestAResetThatWouldLoseSomethingIsRefused(t *testing.T) {
	o := Options{FS: vfs.NewMem(), Dir: "log", SegmentSize: MinSegmentSize}
	l := beforeReset(t, o)
	before := whole(t, l)
	for _, c := range []struct {
		index, term uint64
		want        error
	}{
		{9, 2, ErrOldCopy}, {10, 3, ErrOtherHistory}, {11, 3, ErrOtherHistory}, {40, 4, ErrOtherHistory},
	} {
		if err := l.Reset(c.index, c.term); !errors.Is(err, c.want) {
			t.Errorf("reset to %d.%d: %v, want %v", c.index, c.term, err, c.want)
		}
	}
	if err := l.Reset(70, 0); err == nil {
		t.Error("an entry of term 0 was believed")
	}
	if err := l.Reset(maxIndex+1, 5); err == nil {
		t.Error("an impossible index was believed")
	}
	if got := whole(t, l); got != before {
		t.Fatalf("what was refused changed the log to\n%s", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Reset(70, 5); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed log was reset: %v", err)
	}
}
