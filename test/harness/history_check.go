package harness

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// Event is one change of one key, as the store tells it.
type Event struct {
	Revision int64
	Key      string
	Value    string
	Version  int64
	Deleted  bool
}

// findings collects what is wrong, and stops to write it down when it is enough.
type findings struct{ list []string }

// mostFindings of one kind are worth reading.
const mostFindings = 10

func (f *findings) add(format string, args ...any) {
	if len(f.list) < mostFindings {
		f.list = append(f.list, fmt.Sprintf(format, args...))
	}
}

// CheckRevisions checks that revisions agree with real time over all keys: what was done later has no older revision, a
// change has a newer one than everything that was answered before it began, and no two changes have the same. Etcd numbers
// its changes, so this and CheckAgainst together are strict serializability, without any search.
func CheckRevisions(ops []Op) []string {
	var f findings
	var known []Op
	writers := map[int64]Op{}
	for _, op := range ops {
		if op.Answer.Unknown || op.Call.Kind == GetAnywhere {
			continue
		}
		known = append(known, op)
		if op.changed() {
			if other, twice := writers[op.Answer.Revision]; twice {
				f.add("two changes have one revision:\n  %v\n  %v", other, op)
			}
			writers[op.Answer.Revision] = op
		}
	}
	byEnd := slices.SortedFunc(slices.Values(known), func(a, b Op) int { return cmp.Compare(a.End, b.End) })
	slices.SortFunc(known, func(a, b Op) int { return cmp.Compare(a.Begin, b.Begin) })
	var newest Op // of all that had ended when the present one began
	next := 0
	for _, op := range known {
		for ; next < len(byEnd) && byEnd[next].End < op.Begin; next++ {
			if byEnd[next].Answer.Revision >= newest.Answer.Revision {
				newest = byEnd[next]
			}
		}
		floor := newest.Answer.Revision
		if op.Answer.Revision < floor || op.changed() && op.Answer.Revision == floor {
			f.add("a call is older than one that had ended before it began:\n  %v\n  %v", newest, op)
		}
	}
	return f.list
}

// CheckLog checks a whole history of a store by itself: no revision is missing or out of order, and versions count.
func CheckLog(log []Event, first int64) []string {
	var f findings
	versions := map[string]int64{}
	last := first - 1
	for _, e := range log {
		if e.Revision != last && e.Revision != last+1 {
			f.add("revision %d follows revision %d", e.Revision, last)
		}
		last = e.Revision
		before, seen := versions[e.Key]
		if seen || first <= 2 {
			if want := before + 1; !e.Deleted && e.Version != want {
				f.add("%+v has not version %d", e, want)
			}
		}
		versions[e.Key] = e.Version
		if e.Deleted {
			versions[e.Key] = 0
		}
	}
	return f.list
}

// CheckAgainst checks what clients were told against the store's whole history: every acknowledged change is there
// once and at its revision, nothing is there that nobody wrote, and every read, from wherever it was, shows one moment of it.
func CheckAgainst(log []Event, ops []Op) []string {
	var f findings
	at := map[int64]map[string]Event{}
	keys := map[string][]Event{}
	asked := map[string]map[string]bool{}
	for _, op := range ops {
		if asked[op.Call.Key] == nil {
			asked[op.Call.Key] = map[string]bool{}
		}
		asked[op.Call.Key][op.Call.Value] = true
	}
	values := map[string]Event{}
	for _, e := range log {
		if at[e.Revision] == nil {
			at[e.Revision] = map[string]Event{}
		}
		at[e.Revision][e.Key] = e
		keys[e.Key] = append(keys[e.Key], e)
		if e.Deleted || asked[e.Key] == nil {
			continue
		}
		if other, twice := values[e.Value]; twice {
			f.add("a value was written twice: %+v and %+v", other, e)
		}
		values[e.Value] = e
	}
	for _, op := range ops {
		if op.changed() {
			e, there := at[op.Answer.Revision][op.Call.Key]
			if !there || e.Deleted != (op.Call.Kind == Delete) || !e.Deleted && e.Value != op.Call.Value {
				f.add("an acknowledged change is not in the history, which holds %+v there: %v", at[op.Answer.Revision], op)
			}
		}
		if op.read() {
			checkRead(&f, keys[op.Call.Key], op)
		}
	}
	for _, e := range log {
		if tried := asked[e.Key]; tried != nil && !e.Deleted && !tried[e.Value] {
			f.add("nobody wrote %+v", e)
		}
	}
	return f.list
}

// checkRead compares a read with the key's history.
func checkRead(f *findings, key []Event, op Op) {
	i := sort.Search(len(key), func(i int) bool { return key[i].Revision > op.Answer.Revision })
	if i == 0 || key[i-1].Deleted {
		if op.Answer.Found {
			f.add("the key is not there at the revision that was read: %v", op)
		}
		return
	}
	e := key[i-1]
	if !op.Answer.Found || op.Answer.Value != e.Value || op.Answer.Mod != e.Revision || op.Answer.Version != e.Version {
		f.add("the history holds %+v where a client read: %v", e, op)
	}
}

// CheckWatch checks what a watcher received against the store's whole history: from its first revision on, and up
// to the last one that it can know, it has every event of its keys, once and in order.
func CheckWatch(log, got []Event, wanted func(key string) bool, from, until int64) []string {
	var f findings
	var want []Event
	for _, e := range log {
		if wanted(e.Key) && e.Revision >= from && e.Revision <= until {
			want = append(want, e)
		}
	}
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(got):
			f.add("the watcher did not get %+v", want[i])
		case i >= len(want):
			f.add("the watcher got %+v, which is no event of its keys", got[i])
		case want[i] != got[i]:
			f.add("event %d is %+v for the watcher and %+v in the history", i, got[i], want[i])
			return f.list
		}
	}
	return f.list
}
