package rebuild

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/keelson-db/keelson/internal/member"
)

// Cluster is what was found of one cluster.
type Cluster struct {
	ID uint64
	// Found are the members that were found, each once, the one to rebuild from first.
	Found []*Facts
	// Missing are members that are in the cluster, as the first of those who were found knows it, and were not found.
	Missing []member.Member
}

// Survey sorts what was found by clusters. What cannot be used at all comes back by itself.
func Survey(found []*Facts) (clusters []*Cluster, useless []*Facts) {
	for _, f := range found {
		if f.ID == 0 {
			useless = append(useless, f)
			continue
		}
		i := slices.IndexFunc(clusters, func(c *Cluster) bool { return c.ID == f.Cluster })
		if i < 0 {
			i = len(clusters)
			clusters = append(clusters, &Cluster{ID: f.Cluster})
		}
		clusters[i].Found = append(clusters[i].Found, f)
	}
	for _, c := range clusters {
		useless = append(useless, c.sort()...)
	}
	slices.SortFunc(clusters, func(a, b *Cluster) int { return cmp.Compare(a.ID, b.ID) })
	return clusters, useless
}

// sort puts the best first, and takes out copies of members: those of which more is there, and those who run.
func (c *Cluster) sort() (copies []*Facts) {
	slices.SortStableFunc(c.Found, better)
	seen := make(map[member.ID]*Facts)
	for _, f := range c.Found {
		if old := seen[f.ID]; old == nil || f.Running && !old.Running {
			seen[f.ID] = f
		}
	}
	c.Found = slices.DeleteFunc(c.Found, func(f *Facts) bool {
		original := seen[f.ID]
		if original == f {
			return false
		}
		f.Problem = fmt.Errorf("it is a copy of %s, which is to be found at %s", f.Call(), original.Source)
		copies = append(copies, f)
		return true
	})
	for _, m := range c.Found[0].Members {
		if seen[m.ID] == nil {
			c.Missing = append(c.Missing, m)
		}
	}
	return copies
}

// better orders members by how much is lost with them, the least first.
func better(a, b *Facts) int {
	return cmp.Or(
		-compareBool(a.Whole() && !a.Removed, b.Whole() && !b.Removed),
		-cmp.Compare(a.Last.Term, b.Last.Term),
		-cmp.Compare(a.Last.Index, b.Last.Index),
		-cmp.Compare(a.Commit, b.Commit),
		compareBool(a.Learner, b.Learner),
		-cmp.Compare(a.Applied, b.Applied),
		cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.ID, b.ID),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// Verdict is what rebuilding from one member means.
type Verdict struct {
	// Safe says that every write that was ever acknowledged is there. Then what others have beyond it never counted:
	// a later leader has overwritten it.
	Safe bool
	// Covered says that every acknowledged write is in the log of somebody who is known, if not in this one.
	Covered bool
	// Open is how many of its last entries may never have been acknowledged. They take effect all the same.
	Open uint64
	// Losses are those who have entries that the member has not. If the verdict is not Safe, they may have been
	// acknowledged.
	Losses []Loss
	// Unknown are voters of whose logs nothing is known, or not all.
	Unknown []member.Member
	// Voters and Quorum are the cluster's, by the member's own log.
	Voters, Quorum int
}

// Loss is what another member has and the chosen one has not.
type Loss struct {
	Of      *Facts
	Entries uint64 // at least
}

// Weigh says what rebuilding the cluster from one of those who were found means: nothing, if its log is not known whole.
//
// An acknowledged write is on a quorum of voters, so if less than a quorum is unknown, somebody who is known has it, and
// so has the latest log among them: elections rest on the same argument. Where more are unknown, or a later log is
// known, nothing is certain.
func (c *Cluster) Weigh(chosen *Facts) (v Verdict) {
	if !chosen.Whole() {
		return v
	}
	v.Open = chosen.Last.Index - chosen.Commit
	latest := !chosen.Removed
	known := make(map[member.ID]bool)
	for _, f := range c.Found {
		if f.Whole() {
			known[f.ID] = true
		}
		loss := Loss{Of: f}
		switch {
		case f == chosen:
			continue
		case f.Whole():
			loss.Entries = chosen.terms.beyond(f.terms)
			latest = latest && !later(f, chosen)
		case f.Commit > chosen.Last.Index:
			// What it knows to be committed, though not what else it has.
			loss.Entries = f.Commit - chosen.Last.Index
			latest = false
		}
		if loss.Entries > 0 {
			v.Losses = append(v.Losses, loss)
		}
	}
	v.Covered = true
	for _, voters := range chosen.voters {
		unknown := slices.DeleteFunc(slices.Clone(voters), func(id member.ID) bool { return known[id] })
		v.Voters, v.Quorum = len(voters), len(voters)/2+1
		v.Covered = v.Covered && len(unknown) < v.Quorum
	}
	for _, m := range chosen.Members {
		if !m.Learner && !known[m.ID] {
			v.Unknown = append(v.Unknown, m)
		}
	}
	v.Safe = latest && v.Covered
	return v
}

// later says whether a log ends later than another, in the order by which raft elects.
func later(f, than *Facts) bool {
	return cmp.Or(cmp.Compare(f.Last.Term, than.Last.Term), cmp.Compare(f.Last.Index, than.Last.Index)) > 0
}
