package raftlog

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

// content is what a log should hold after some append: every entry ever written and
// not replaced, from index 2 on, and the hard state.
type content struct {
	entries []*raftpb.Entry
	hard    hardState
}

func (c content) last() uint64 { return uint64(len(c.entries)) + 1 }

// model remembers what a log may hold after a crash: the content after any append
// from the last one that was acknowledged as durable to the one under way.
type model struct {
	contents  []content
	durable   int    // index of the last content that must survive
	compacted uint64 // the highest index that was given to Compact
}

func newModel() *model {
	return &model{contents: []content{{hard: hardState{term: 1, commit: 1}}}, compacted: 1}
}

func (m *model) now() content { return m.contents[len(m.contents)-1] }

// attempt adds the content that an append would leave.
func (m *model) attempt(b Batch) {
	c := m.now()
	if len(b.Entries) > 0 {
		keep := b.Entries[0].GetIndex() - 2
		c.entries = append(c.entries[:keep:keep], b.Entries...)
	}
	if b.HardState != nil {
		c.hard = hardState{b.HardState.GetTerm(), b.HardState.GetVote(), b.HardState.GetCommit()}
	}
	m.contents = append(m.contents, c)
}

// acknowledge says that the newest content must survive.
func (m *model) acknowledge() { m.durable = len(m.contents) - 1 }

// reset says that the log was found to hold c durably.
func (m *model) reset(c content) { m.contents, m.durable = []content{c}, 0 }

// check finds the content that an opened log holds, or says why it is none.
func (m *model) check(l *Log) (content, error) {
	var why error
	for i := len(m.contents) - 1; i >= m.durable; i-- {
		if why = m.contents[i].same(l, m.compacted); why == nil {
			return m.contents[i], nil
		}
	}
	return content{}, fmt.Errorf("the log holds none of %d possible contents; the oldest differs: %w", len(m.contents)-m.durable, why)
}

// same compares all that a log shows with a content. The prefix may be any up to
// compacted: forgetting is promised to nobody.
func (c content) same(l *Log, compacted uint64) error {
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	hs, _, _ := l.InitialState()
	want := c.hard
	want.commit = max(want.commit, first-1)
	if first-1 > compacted {
		return fmt.Errorf("entries up to %d are forgotten, only up to %d was asked for", first-1, compacted)
	}
	if last != c.last() {
		return fmt.Errorf("last entry is %d, want %d", last, c.last())
	}
	if got := (hardState{hs.GetTerm(), hs.GetVote(), hs.GetCommit()}); got != want {
		return fmt.Errorf("hard state is %v, want %v", got, want)
	}
	entries, err := l.Entries(first, last+1, math.MaxUint64)
	if err != nil && first <= last {
		return err
	}
	for i, e := range entries {
		w := c.entries[first-2+uint64(i)]
		term, err := l.Term(e.GetIndex())
		if err != nil || term != w.GetTerm() || e.GetIndex() != w.GetIndex() || e.GetTerm() != w.GetTerm() ||
			e.GetType() != w.GetType() || !bytes.Equal(e.GetData(), w.GetData()) {
			return fmt.Errorf("entry %d is %v (term %d, %v), want %v", first+uint64(i), e, term, err, w)
		}
	}
	if uint64(len(entries)) != last+1-first {
		return fmt.Errorf("got %d entries, want %d", len(entries), last+1-first)
	}
	return nil
}

// workload makes a seeded series of appends and compactions.
type workload struct {
	rng *rand.Rand
	m   *model
}

// batch draws the next append. Entries behind the commit index may be replaced.
func (w *workload) batch() Batch {
	c := w.m.now()
	b := Batch{Sync: w.rng.IntN(3) > 0}
	term := c.hard.term
	if w.rng.IntN(8) == 0 {
		term++
	}
	commit := c.hard.commit
	if w.rng.IntN(5) > 0 {
		first := c.last() + 1
		low := max(commit, w.m.compacted) + 1
		if w.rng.IntN(4) == 0 && first > low {
			first = low + w.rng.Uint64N(first-low)
		}
		for i := range 1 + w.rng.Uint64N(4) {
			b.Entries = append(b.Entries, w.entry(first+i, term))
		}
		c.entries = append(c.entries[:first-2:first-2], b.Entries...)
	}
	if top := c.last(); top > commit && w.rng.IntN(2) == 0 {
		commit += w.rng.Uint64N(top - commit + 1)
	}
	if w.rng.IntN(2) == 0 || term != c.hard.term {
		b.HardState = state(term, w.rng.Uint64N(3), commit)
	}
	return b
}

func (w *workload) entry(index, term uint64) *raftpb.Entry {
	size := w.rng.IntN(300)
	if w.rng.IntN(6) == 0 {
		size = w.rng.IntN(6000)
	}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(w.rng.Uint32())
	}
	e := entry(index, term, string(data))
	e.Type = raftpb.EntryType(w.rng.IntN(3)).Enum()
	return e
}

// append does one append and tells the model. It returns the append's error.
func (w *workload) append(l *Log) error {
	b := w.batch()
	w.m.attempt(b)
	if _, err := l.Append(b); err != nil {
		return err
	}
	if b.Sync {
		w.m.acknowledge()
	}
	return nil
}

// compact forgets some of what is committed.
func (w *workload) compact(l *Log) error {
	commit := w.m.now().hard.commit
	if commit <= w.m.compacted {
		return nil
	}
	w.m.compacted += w.rng.Uint64N(commit - w.m.compacted + 1)
	return l.Compact(w.m.compacted)
}

// mustReopen opens a log, checks it against the model, writes to it, and opens it
// again: what the first open found must not change, and nothing that it cut may come
// back. It returns the log still open.
func (m *model) mustReopen(t *testing.T, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	c, err := m.check(l)
	if err != nil {
		t.Fatal(err)
	}
	after := &model{compacted: m.compacted}
	after.reset(c)
	l.die(t)
	if l, err = Open(o); err != nil {
		t.Fatalf("open again: %v", err)
	}
	if _, err := after.check(l); err != nil {
		t.Fatalf("open again: %v", err)
	}
	b := Batch{Entries: []*raftpb.Entry{entry(c.last()+1, c.hard.term+1, "after the crash")}, Sync: true}
	after.attempt(b)
	after.acknowledge()
	if _, err := l.Append(b); err != nil {
		t.Fatalf("append after a crash: %v", err)
	}
	l.die(t)
	if mem, ok := o.FS.(*vfs.MemFS); ok {
		o.FS = mem.CrashClone(vfs.CrashCloneCfg{})
	}
	if l, err = Open(o); err != nil {
		t.Fatalf("open after the next crash: %v", err)
	}
	if _, err := after.check(l); err != nil {
		t.Fatalf("open after the next crash: %v", err)
	}
	return l
}
