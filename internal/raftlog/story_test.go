package raftlog

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

// story runs one file of testdata against a log on crashable memory.
type story struct {
	t    *testing.T
	fs   *vfs.MemFS
	opts Options
	log  *Log
}

func TestStories(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			s := &story{t: t, fs: vfs.NewCrashableMem()}
			s.opts = Options{FS: s.fs, Dir: "log", SegmentSize: MinSegmentSize}
			datadriven.RunTest(t, path, s.run)
		})
	}
}

func (s *story) run(t *testing.T, d *datadriven.TestData) string {
	s.t = t
	var err error
	var out string
	switch d.Cmd {
	case "create":
		s.end()
		s.log, err = Create(s.opts, Origin{ID: 7, Index: arg(t, d, "index", 1), Term: arg(t, d, "term", 1)})
	case "open":
		s.end()
		s.opts.CacheBytes = int64(arg(t, d, "cache", DefaultCacheBytes))
		s.log, err = Open(s.opts)
	case "close":
		err = s.log.Close()
	case "crash":
		s.crash(int(arg(t, d, "keep", 0)), arg(t, d, "seed", 1))
	case "append":
		var timing Timing
		timing, err = s.log.Append(parseBatch(t, d))
		out = fmt.Sprintf("%d bytes\n", timing.Bytes)
	case "fill":
		s.fill(arg(t, d, "from", 0), arg(t, d, "to", 0), arg(t, d, "term", 1), int(arg(t, d, "size", 0)))
	case "compact":
		err = s.log.Compact(arg(t, d, "to", 0))
	case "upkeep":
		err = s.log.upkeep(context.Background(), 0)
	case "entries":
		return s.entries(arg(t, d, "lo", 0), arg(t, d, "hi", 0), arg(t, d, "max", math.MaxUint64))
	case "term":
		var term uint64
		term, err = s.log.Term(arg(t, d, "index", 0))
		out = fmt.Sprintln(term)
	case "files":
		return s.files()
	case "dump":
		return s.dump()
	case "flip", "zero":
		s.damage(d.Cmd, d.CmdArgs[0].Key, int64(arg(t, d, "at", 0)), int(arg(t, d, "bytes", 1)))
		return ""
	case "remove":
		err = s.fs.Remove(s.fs.PathJoin("log", d.CmdArgs[0].Key))
	default:
		t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
	}
	if err != nil {
		return err.Error() + "\n"
	}
	if out != "" {
		return out
	}
	return s.summary()
}

// end gives up the log that is still open, if any, as a killed process does.
func (s *story) end() {
	if s.log != nil {
		s.log.die(s.t)
	}
}

func arg(t *testing.T, d *datadriven.TestData, name string, def uint64) uint64 {
	t.Helper()
	if !d.HasArg(name) {
		return def
	}
	var v string
	d.ScanArgs(t, name, &v)
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", d.Pos, err)
	}
	return n
}

// parseBatch reads lines "state term vote commit" and "index.term data".
func parseBatch(t *testing.T, d *datadriven.TestData) Batch {
	b := Batch{Sync: !d.HasArg("nosync")}
	for line := range strings.Lines(d.Input) {
		f := strings.Fields(line)
		if f[0] == "state" {
			var n [3]uint64
			for i := range n {
				n[i], _ = strconv.ParseUint(f[i+1], 10, 64)
			}
			b.HardState = state(n[0], n[1], n[2])
			continue
		}
		var index, term uint64
		if _, err := fmt.Sscanf(f[0], "%d.%d", &index, &term); err != nil {
			t.Fatalf("%s: %q: %v", d.Pos, line, err)
		}
		b.Entries = append(b.Entries, entry(index, term, strings.Join(f[1:], " ")))
	}
	return b
}

func state(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Vote: new(vote), Commit: new(commit)}
}

func entry(index, term uint64, data string) *raftpb.Entry {
	e := &raftpb.Entry{Index: new(index), Term: new(term), Type: raftpb.EntryNormal.Enum()}
	if data != "" {
		e.Data = []byte(data)
	}
	return e
}

// fill appends entries one by one, each with size bytes of data.
func (s *story) fill(from, to, term uint64, size int) {
	for i := from; i <= to; i++ {
		data := strings.Repeat(string(rune('a'+i%26)), size)
		if _, err := s.log.Append(Batch{Entries: []*raftpb.Entry{entry(i, term, data)}, Sync: true}); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *story) crash(keep int, seed uint64) {
	s.fs = s.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rand.New(rand.NewPCG(seed, 0))})
	s.opts.FS = s.fs
	s.log = nil
}

func (s *story) summary() string {
	if s.log == nil {
		return ""
	}
	hs, _, _ := s.log.InitialState()
	first, _ := s.log.FirstIndex()
	last, _ := s.log.LastIndex()
	return fmt.Sprintf("entries [%d, %d] state %d %d %d size %d\n",
		first, last, hs.GetTerm(), hs.GetVote(), hs.GetCommit(), s.log.Size())
}

func (s *story) entries(lo, hi, size uint64) string {
	es, err := s.log.Entries(lo, hi, size)
	var b strings.Builder
	for _, e := range es {
		fmt.Fprintf(&b, "%d.%d %s\n", e.GetIndex(), e.GetTerm(), short(e.GetData()))
	}
	if err != nil {
		fmt.Fprintln(&b, err)
	}
	return b.String()
}

func short(data []byte) string {
	if len(data) > 12 {
		return fmt.Sprintf("%s...(%d)", data[:8], len(data))
	}
	return string(data)
}

func (s *story) files() string {
	names, err := s.fs.List("log")
	if err != nil {
		return err.Error()
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		if name == lockName {
			continue // always there, always empty
		}
		info, err := s.fs.Stat(s.fs.PathJoin("log", name))
		if err != nil {
			s.t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %d\n", name, info.Size())
	}
	return b.String()
}

func (s *story) dump() string {
	var b strings.Builder
	err := Dump(s.fs, "log", func(r RecordInfo) error {
		fmt.Fprintf(&b, "%x:%d %s", r.Segment, r.Offset, r.Kind)
		switch r.Kind {
		case KindBegin:
			fmt.Fprintf(&b, " prefix %d.%d last %d state %d %d %d", r.Index, r.Term, r.Last, r.HardTerm, r.Vote, r.Commit)
		case KindEntry:
			fmt.Fprintf(&b, " %d.%d %s", r.Index, r.Term, short(r.Data))
		case KindState:
			fmt.Fprintf(&b, " %d %d %d", r.HardTerm, r.Vote, r.Commit)
		case KindPrefix:
			fmt.Fprintf(&b, " %d.%d", r.Index, r.Term)
		case KindStop:
			fmt.Fprintf(&b, ": %s", r.Note)
		}
		if r.BatchEnd {
			b.WriteString(" .")
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		fmt.Fprintln(&b, err)
	}
	return b.String()
}

// damage changes bytes of a file behind the log's back.
func (s *story) damage(how, name string, at int64, n int) {
	f, err := s.fs.OpenReadWrite(s.fs.PathJoin("log", name), category)
	if err != nil {
		s.t.Fatal(err)
	}
	b := make([]byte, n)
	if how == "flip" {
		if _, err := f.ReadAt(b, at); err != nil {
			s.t.Fatal(err)
		}
		for i := range b {
			b[i] ^= 0x40
		}
	}
	if _, err := f.WriteAt(b, at); err != nil {
		s.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		s.t.Fatal(err)
	}
}
