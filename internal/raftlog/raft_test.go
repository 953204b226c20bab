package raftlog

import (
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// TestRaftRunsOnTheLogAcrossCrashes drives a single voter the way its server does,
// with asynchronous storage writes, and lets the machine crash between rounds.
func TestRaftRunsOnTheLogAcrossCrashes(t *testing.T) {
	mem := vfs.NewCrashableMem()
	o := Options{FS: mem, Dir: "log", SegmentSize: MinSegmentSize, CacheBytes: 2000}
	l, err := Create(o, Origin{ID: 1, Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	v := &voter{t: t, applied: 1}
	for round := range 20 {
		l, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		v.start(l)
		for i := range 15 {
			v.propose(fmt.Sprintf("round %d proposal %d with some bytes to fill the segments", round, i))
		}
		if err := l.Compact(v.applied - 10); err != nil {
			t.Fatal(err)
		}
		// All that was applied had been synced, so the crash takes nothing of it. The
		// voter applies it again from its snapshot, the prefix.
		mem = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 30, RNG: rand.New(rand.NewPCG(uint64(round), 1))})
		o.FS = mem
	}
	if len(v.words) != 20*15 {
		t.Fatalf("applied %d proposals, want %d", len(v.words), 20*15)
	}
}

// voter is a raft node without a network.
type voter struct {
	t       *testing.T
	log     *Log
	node    *raft.RawNode
	applied uint64
	words   []string
}

func (v *voter) start(l *Log) {
	v.t.Helper()
	v.log = l
	term, err := l.Term(v.applied)
	if err != nil {
		v.t.Fatal(err)
	}
	if err := l.SetSnapshot(v.applied, term, &raftpb.ConfState{Voters: []uint64{1}}); err != nil {
		v.t.Fatal(err)
	}
	v.node, err = raft.NewRawNode(&raft.Config{
		ID: 1, ElectionTick: 10, HeartbeatTick: 1, Storage: l, Applied: v.applied,
		MaxSizePerMsg: 4096, MaxInflightMsgs: 8, AsyncStorageWrites: true,
		Logger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
	})
	if err != nil {
		v.t.Fatal(err)
	}
	if err := v.node.Campaign(); err != nil {
		v.t.Fatal(err)
	}
	v.settle()
}

func (v *voter) propose(word string) {
	v.t.Helper()
	if err := v.node.Propose([]byte(word)); err != nil {
		v.t.Fatal(err)
	}
	v.settle()
	if last := v.words[len(v.words)-1]; last != word {
		v.t.Fatalf("applied %q last, want %q", last, word)
	}
}

// settle handles messages until there is nothing more to do.
func (v *voter) settle() {
	v.t.Helper()
	for v.node.HasReady() {
		for _, m := range v.node.Ready().Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				v.append(m)
			case raft.LocalApplyThread:
				v.apply(m)
			}
			for _, r := range m.GetResponses() {
				if err := v.node.Step(r); err != nil {
					v.t.Fatal(err)
				}
			}
		}
	}
}

func (v *voter) append(m *raftpb.Message) {
	v.t.Helper()
	hs := state(m.GetTerm(), m.GetVote(), m.GetCommit())
	if _, err := v.log.Append(Batch{HardState: hs, Entries: m.GetEntries(), Sync: len(m.GetResponses()) > 0}); err != nil {
		v.t.Fatal(err)
	}
}

func (v *voter) apply(m *raftpb.Message) {
	v.t.Helper()
	for _, e := range m.GetEntries() {
		if e.GetIndex() != v.applied+1 {
			v.t.Fatalf("entry %d follows %d", e.GetIndex(), v.applied)
		}
		v.applied = e.GetIndex()
		if len(e.GetData()) > 0 {
			v.words = append(v.words, string(e.GetData()))
		}
	}
}
