package rebuild

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/state"
)

// describe is a cluster as it was found, and what it means to rebuild it from each member.
func describe(c *Cluster) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster %x", c.ID)
	for _, m := range c.Missing {
		fmt.Fprintf(&b, ", %s is missing", call(m.ID, m.Name))
	}
	for _, f := range c.Found {
		v := c.Weigh(f)
		fmt.Fprintf(&b, "\n%s", f.Call())
		if f.Whole() {
			fmt.Fprintf(&b, " ends with %d/%d", f.Last.Term, f.Last.Index)
		}
		if v.Safe {
			b.WriteString(" safe")
		}
		fmt.Fprintf(&b, " open %d of %d/%d", v.Open, v.Quorum, v.Voters)
		for _, l := range v.Losses {
			fmt.Fprintf(&b, ", %s has %d more", l.Of.Call(), l.Entries)
		}
		for _, m := range v.Unknown {
			fmt.Fprintf(&b, ", %s unknown", call(m.ID, m.Name))
		}
	}
	return b.String()
}

// long are so many entries of one term.
func long(term uint64, n int) []line { return puts(term, make([]string, n)...) }

// TestASurveyWeighsWhatWasFound looks at directories of one cluster and weighs them.
func TestASurveyWeighsWhatWasFound(t *testing.T) {
	for _, c := range []struct {
		name string
		dirs []directory
		want string
	}{
		{"two of three", []directory{
			{local: 1, members: three(), lines: long(2, 6), applied: 3, commit: 4},
			{local: 2, members: three(), lines: long(2, 8), applied: 3, commit: 6},
		}, "cluster c1, m3 is missing\nm2 ends with 2/9 safe open 2 of 2/3, m3 unknown\nm1 ends with 2/7 open 2 of 2/3, m2 has 2 more, m3 unknown"},
		{"one of three", []directory{
			{local: 1, members: three(), lines: long(2, 6), applied: 6, commit: 6},
		}, "cluster c1, m2 is missing, m3 is missing\nm1 ends with 2/7 open 0 of 2/3, m2 unknown, m3 unknown"},
		{"a later leader has overwritten the longer log", []directory{
			{local: 1, members: three(), lines: long(2, 9), applied: 1, commit: 4},
			{local: 3, members: three(), lines: slices.Concat(long(2, 4), long(3, 1)), applied: 5, commit: 5},
		}, "cluster c1, m2 is missing\nm3 ends with 3/6 safe open 0 of 2/3, m1 has 5 more, m2 unknown\nm1 ends with 2/10 open 5 of 2/3, m3 has 1 more, m2 unknown"},
		{"a log that has forgotten more than another ever had", []directory{
			{local: 1, members: three(), lines: long(2, 3), applied: 1, commit: 3},
			{local: 2, members: three(), lines: long(2, 9), applied: 9, commit: 9, forget: 7},
		}, "cluster c1, m3 is missing\nm2 ends with 2/10 safe open 0 of 2/3, m3 unknown\nm1 ends with 2/4 open 0 of 2/3, m2 has 6 more, m3 unknown"},
		{"a voter more, but not for certain", []directory{
			{local: 1, members: three(), lines: append(long(2, 3), change(2, command.AddVoter, 4)), applied: 1, commit: 3},
			{local: 2, members: three(), lines: long(2, 3), applied: 1, commit: 3},
		}, "cluster c1, m3 is missing, 4 is missing\nm1 ends with 2/5 safe open 1 of 3/4, m3 unknown, 4 unknown\nm2 ends with 2/4 open 0 of 2/3, m1 has 1 more, m3 unknown"},
		{"two voters less, but not for certain", []directory{
			{local: 1, members: three(), lines: append(long(2, 3), change(2, command.RemoveMember, 2), change(2, command.RemoveMember, 3)), applied: 1, commit: 3},
		}, "cluster c1\nm1 ends with 2/6 open 2 of 1/1"},
		{"one that was removed", []directory{
			{local: 3, members: three(), lines: append(long(2, 3), change(2, command.RemoveMember, 3)), applied: 4, commit: 4},
			{local: 1, members: three(), lines: long(2, 2), applied: 1, commit: 1},
		}, "cluster c1, m2 is missing\nm1 ends with 2/3 open 1 of 2/3, 3 has 2 more, m2 unknown\n3 ends with 2/5 open 0 of 2/2, m2 unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			var found []*Facts
			for i, d := range c.dirs {
				f := Look(d.make(t, fs, fmt.Sprint(i)))
				if f.Problem != nil {
					t.Fatal(f.Problem)
				}
				found = append(found, f)
			}
			clusters, useless := Survey(found)
			if len(clusters) != 1 || len(useless) > 0 {
				t.Fatalf("%d clusters, %v", len(clusters), useless)
			}
			if got := describe(clusters[0]); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// TestASurveyKeepsClustersAndCopiesApart is about what else may be found.
func TestASurveyKeepsClustersAndCopiesApart(t *testing.T) {
	whole := func(cluster uint64, id member.ID, source string, last uint64) *Facts {
		f := &Facts{Source: source, Cluster: cluster, ID: id, Last: state.Position{Index: last, Term: 2}, Members: three(), voters: [][]member.ID{{1, 2, 3}}}
		f.terms.add(0, 1)
		f.terms.reigns = append(f.terms.reigns, reign{2, last})
		return f
	}
	running := &Facts{Source: "http://m2", Running: true, Cluster: 7, ID: 2, Commit: 12, Members: three()}
	found := []*Facts{
		whole(9, 1, "other", 5), whole(7, 1, "copy", 8), whole(7, 1, "best", 9), whole(7, 2, "old backup", 20),
		running, {Source: "empty", Problem: errors.New("nothing there")}, {Source: "damaged", Cluster: 7, ID: 3, Problem: errors.New("damaged")},
	}
	clusters, useless := Survey(found)
	var got []string
	for _, c := range clusters {
		got = append(got, describe(c))
	}
	for _, f := range useless {
		got = append(got, fmt.Sprintf("%s: %v", f.Source, f.Problem))
	}
	want := []string{
		"cluster 7\n1 ends with 2/9 open 9 of 2/3, 2 has 3 more, m2 unknown, m3 unknown\n2 open 0 of 0/0\n3 open 0 of 0/0",
		"cluster 9, m2 is missing, m3 is missing\n1 ends with 2/5 open 5 of 2/3, m2 unknown, m3 unknown",
		"empty: nothing there",
		"old backup: it is a copy of 2, which is to be found at http://m2",
		"copy: it is a copy of 1, which is to be found at best",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestWhatIsCalledSafeIsSafe lets clusters elect and replicate at random, some members far behind, with leaders that are
// cut off and come back, and remembers which entries a quorum ever had. Then any members are lost. Where a verdict says
// that nothing is lost, every such entry is in the chosen log.
func TestWhatIsCalledSafeIsSafe(t *testing.T) {
	safe, lost := 0, 0
	for seed := range uint64(1500) {
		g := newGame(seed)
		for range 60 {
			g.step()
		}
		asked := g.rng.IntN(1<<len(g.logs)-1) + 1
		var found []*Facts
		for i := range g.logs {
			if asked&(1<<i) != 0 {
				found = append(found, g.facts(i))
			}
		}
		clusters, _ := Survey(found)
		for _, f := range clusters[0].Found {
			v := clusters[0].Weigh(f)
			if v.Safe {
				safe++
			}
			for index, term := range g.committed {
				if f.terms.at(index) == term {
					continue
				}
				lost++
				if v.Safe {
					t.Fatalf("seed %d: entry %d/%d was acknowledged, and %s is called safe:\n%s", seed, term, index, f.Call(), describe(clusters[0]))
				}
			}
		}
	}
	if safe < 300 || lost < 300 {
		t.Fatalf("%d were safe and %d entries lost: the game does not play what matters", safe, lost)
	}
}

// game is a cluster that elects and replicates as raft does, and no more.
type game struct {
	rng       *rand.Rand
	terms     []uint64   // that each member has seen
	logs      [][]uint64 // terms of each member's entries, the first of which is entry 1
	leads     []uint64   // the term in which each member leads; 0 for none
	committed map[uint64]uint64
}

func newGame(seed uint64) *game {
	g := &game{rng: rand.New(rand.NewPCG(seed, 8)), committed: map[uint64]uint64{}}
	n := 1 + g.rng.IntN(5)
	g.terms, g.logs, g.leads = make([]uint64, n), make([][]uint64, n), make([]uint64, n)
	return g
}

func (g *game) step() {
	i := g.rng.IntN(len(g.logs))
	switch {
	case g.rng.IntN(6) == 0:
		g.elect(i)
	case g.leads[i] > 0:
		g.lead(i)
	}
}

func (g *game) elect(i int) {
	term := g.terms[i] + 1
	g.terms[i], g.leads[i] = term, 0
	votes := 1
	for j := range g.logs {
		if j == i || g.terms[j] >= term || g.rng.IntN(3) == 0 {
			continue
		}
		g.terms[j], g.leads[j] = term, 0
		if !laterLog(g.logs[j], g.logs[i]) {
			votes++
		}
	}
	if votes > len(g.logs)/2 {
		g.leads[i] = term
	}
}

func laterLog(a, than []uint64) bool {
	last := func(l []uint64) state.Position {
		if len(l) == 0 {
			return state.Position{}
		}
		return state.Position{Index: uint64(len(l)), Term: l[len(l)-1]}
	}
	return later(&Facts{Last: last(a)}, &Facts{Last: last(than)})
}

// lead appends an entry and sends the log to somebody, possibly not all of it.
func (g *game) lead(i int) {
	term := g.leads[i]
	if g.rng.IntN(2) == 0 {
		g.logs[i] = append(slices.Clone(g.logs[i]), term)
	}
	j := g.rng.IntN(len(g.logs))
	if j != i && g.terms[j] <= term {
		g.terms[j] = term
		sent := g.logs[i][:g.rng.IntN(len(g.logs[i])+1)]
		if have := g.logs[j]; len(sent) > len(have) || !slices.Equal(sent, have[:len(sent)]) {
			g.logs[j] = slices.Clone(sent)
		}
	}
	for n := len(g.logs[i]); n > 0 && g.logs[i][n-1] == term; n-- {
		have := 0
		for j, l := range g.logs {
			// It counts what was acknowledged in its own term.
			if g.terms[j] == term && len(l) >= n && slices.Equal(l[:n], g.logs[i][:n]) {
				have++
			}
		}
		if have > len(g.logs)/2 {
			for k, t := range g.logs[i][:n] {
				g.committed[uint64(k)+1] = t
			}
			return
		}
	}
}

func (g *game) facts(i int) *Facts {
	f := &Facts{Cluster: 1, ID: member.ID(i + 1), voters: [][]member.ID{nil}}
	for j := range g.logs {
		f.voters[0] = append(f.voters[0], member.ID(j+1))
		f.Members = append(f.Members, member.Member{ID: member.ID(j + 1)})
	}
	f.terms.add(0, 0)
	for k, term := range g.logs[i] {
		f.terms.add(uint64(k)+1, term)
	}
	f.Last = f.terms.last()
	return f
}

// TestAHistoryKnowsItsTerms compares histories with the lists of terms that they stand for.
func TestAHistoryKnowsItsTerms(t *testing.T) {
	list := []uint64{1, 2, 2, 2, 5, 9, 9}
	h := history{first: 3}
	for i, term := range list {
		h.add(uint64(i)+3, term)
	}
	for i := range uint64(12) {
		want := uint64(0)
		if i >= 3 && i < 10 {
			want = list[i-3]
		}
		if got := h.at(i); got != want {
			t.Errorf("entry %d has term %d, want %d", i, got, want)
		}
	}
	if h.last() != (state.Position{Index: 9, Term: 9}) || len(h.reigns) != 4 || (history{}).last() != (state.Position{}) {
		t.Errorf("%+v", h)
	}
}
