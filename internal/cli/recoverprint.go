package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/rebuild"
)

// surveyed is what a recovery has found, and what it would do.
type surveyed struct {
	now      time.Time
	clusters []*rebuild.Cluster
	useless  []*rebuild.Facts

	cluster *rebuild.Cluster
	chosen  *rebuild.Facts // nil if none
	verdict rebuild.Verdict
}

// rebuilt is what a recovery has done.
type rebuilt struct {
	chosen  *rebuild.Facts
	place   rebuild.Place
	removed []member.Member
	backup  string // empty if there is none
}

func callMember(m member.Member) string {
	if m.Name == "" {
		return fmt.Sprintf("%x", uint64(m.ID))
	}
	return m.Name
}

func callMembers(list []member.Member) string {
	var all []string
	for _, m := range list {
		all = append(all, callMember(m))
	}
	return strings.Join(all, ", ")
}

func factsKind(f *rebuild.Facts) string {
	switch {
	case f.Removed:
		return "removed"
	case f.Learner:
		return "learner"
	}
	return "voter"
}

func (p *simplePrinter) survey(s *surveyed) error {
	var b strings.Builder
	for _, c := range s.clusters {
		fmt.Fprintf(&b, "Cluster %x\n", c.ID)
		t := table(&b)
		fmt.Fprintln(t, "  NAME\tID\tKIND\tLAST ENTRY\tCOMMITTED\tAPPLIED\tREVISION\tLAST WRITTEN\tFOUND IN")
		for _, f := range c.Found {
			last, written := "unknown", "-"
			if f.Last.Index > 0 {
				last = fmt.Sprintf("%d of term %d", f.Last.Index, f.Last.Term)
			}
			if !f.Written.IsZero() {
				written = f.Written.Local().Format("2006-01-02 15:04:05")
			}
			where := f.Source
			if f.Running {
				written, where = "it runs", "(asked) "+f.Source
			}
			fmt.Fprintf(t, "  %s\t%x\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", f.Call(), uint64(f.ID), factsKind(f), last, f.Commit, f.Applied, f.Revision, written, where)
		}
		for _, m := range c.Missing {
			kind := "voter"
			if m.Learner {
				kind = "learner"
			}
			fmt.Fprintf(t, "  %s\t%x\t%s\tunknown\t-\t-\t-\t-\tnowhere\n", callMember(m), uint64(m.ID), kind)
		}
		_ = t.Flush() // it writes into memory
		for _, f := range c.Found {
			if f.Problem != nil {
				fmt.Fprintf(&b, "  %s: %v\n", f.Source, f.Problem)
			}
		}
		b.WriteString("\n")
	}
	for _, f := range s.useless {
		fmt.Fprintf(&b, "%s cannot be used: %v\n", f.Source, f.Problem)
	}
	if s.chosen != nil && s.chosen.Whole() {
		for _, line := range sentences(s) {
			fmt.Fprintf(&b, "%s\n", line)
		}
	}
	return p.flush(&b)
}

// sentences say what it means to rebuild from the chosen member.
func sentences(s *surveyed) []string {
	f, v := s.chosen, s.verdict
	lines := []string{fmt.Sprintf("The cluster would be rebuilt from %s, in %s:", f.Call(), f.Source)}
	add := func(format string, args ...any) { lines = append(lines, "  - "+fmt.Sprintf(format, args...)) }
	if f == s.cluster.Found[0] && len(s.cluster.Found) > 1 {
		add("no log that was found ends later than its own")
	}
	switch {
	case v.Safe && len(v.Unknown) == 0:
		add("nothing that was acknowledged is lost: the logs of all %d voters are known", v.Voters)
	case v.Safe:
		add("nothing that was acknowledged is lost: %d of %d voters did not have to be asked, because a write is acknowledged by %d", len(v.Unknown), v.Voters, v.Quorum)
	case !v.Covered:
		add("acknowledged writes may be lost: the logs of %s are not known, and without %s they may have acknowledged what comes after entry %d", callMembers(v.Unknown), f.Call(), f.Last.Index)
	default:
		add("acknowledged writes may be lost: there is a later log")
	}
	for _, l := range v.Losses {
		if v.Safe {
			add("%s has %d entries that are not in its log; they never counted, a later leader has overwritten them", l.Of.Call(), l.Entries)
		} else {
			add("%s has at least %d entries that are not in its log, and they would be lost", l.Of.Call(), l.Entries)
		}
	}
	if v.Open > 0 {
		add("its last %d entries may not have been acknowledged; nobody can tell, so they take effect", v.Open)
	}
	return lines
}

func (p *simplePrinter) rebuilt(r *rebuilt) error {
	var b strings.Builder
	self, address := r.chosen, "its peer address"
	for _, m := range self.Members {
		if m.ID == self.ID && len(m.PeerURLs) > 0 {
			address = m.PeerURLs[0]
		}
	}
	fmt.Fprintf(&b, "\nDone. %s is the only member of cluster %x.\n", self.Call(), self.Cluster)
	if r.backup != "" {
		fmt.Fprintf(&b, "What its directory was before is in %s.\n", r.backup)
	}
	b.WriteString("Now:\n")
	if len(r.removed) > 0 {
		fmt.Fprintf(&b, "  - put the old directories of %s away, and never start them again\n", callMembers(r.removed))
	}
	fmt.Fprintf(&b, "  - start %s with the flags that it always had: keelson --name %s --data-dir %s", self.Call(), self.Call(), r.place.Data)
	if r.place.WAL != "" {
		fmt.Fprintf(&b, " --wal-dir %s", r.place.WAL)
	}
	fmt.Fprintf(&b, " ...\n  - on each other machine, with an empty directory: keelson join %s --name NAME ...\n", address)
	return p.flush(&b)
}
