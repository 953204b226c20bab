package state

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/storage"
)

// origin is where the logs of these tests begin.
var origin = Position{Index: 5, Term: 1}

// founding is the cluster of these tests.
func founding() Founding {
	return Founding{Origin: origin, Cluster: 77, Local: 9, Members: []member.Member{
		{ID: 9, PeerURLs: []string{"http://nine:1"}}, {ID: 4, PeerURLs: []string{"http://four:1"}, Learner: true},
	}}
}

// world is a machine and the log that it was fed: one entry for each command, kept as bytes, so that what is
// applied again went through the log.
type world struct {
	t      testing.TB
	fs     vfs.FS
	engine *storage.Engine
	m      *Machine
	log    [][]byte
	opts   mvcc.Options
	mem    int64 // bytes of a memtable; 0 is the engine's own choice
	cache  int64 // bytes of the engine's cache; 0 is its own choice
}

// newWorld founds a cluster on a file system.
func newWorld(t testing.TB, fs vfs.FS, o mvcc.Options) *world {
	w := &world{t: t, fs: fs, opts: o, mem: 64 << 10}
	w.openEngine()
	w.must(Found(w.engine, founding()))
	w.openMachine()
	t.Cleanup(func() { _ = w.engine.Close() })
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) openEngine() {
	w.t.Helper()
	var err error
	w.engine, err = storage.Open(storage.Options{FS: w.fs, Dir: "state", MemTableBytes: w.mem, CacheBytes: w.cache})
	w.must(err)
}

func (w *world) openMachine() {
	w.t.Helper()
	var err error
	w.m, err = Open(w.engine, w.opts)
	w.must(err)
}

// restart opens the machine on a file system, that of the world or a copy left by a crash.
func (w *world) restart(fs vfs.FS) {
	w.t.Helper()
	_ = w.engine.Close()
	w.fs = fs
	w.openEngine()
	w.openMachine()
}

// group logs commands and applies them together.
func (w *world) group(ops ...command.Op) []Result {
	w.t.Helper()
	w.append(ops...)
	w.m.Begin()
	results := make([]Result, len(ops))
	for i, op := range ops {
		var err error
		results[i], err = w.m.Apply(op)
		w.must(err)
	}
	w.must(w.m.Commit(w.end()))
	return results
}

// one applies a command as a group of its own.
func (w *world) one(op command.Op) Result {
	w.t.Helper()
	return w.group(op)[0]
}

// append logs commands without applying them.
func (w *world) append(ops ...command.Op) {
	w.t.Helper()
	for _, op := range ops {
		b, err := command.AppendEncoded([]byte{command.FormatV1}, command.Command{Op: op})
		w.must(err)
		w.log = append(w.log, b)
	}
}

// end is the position of the log's last entry.
func (w *world) end() Position { return at(len(w.log)) }

// at is the position of the n-th entry; the term grows now and then.
func at(n int) Position { return Position{Index: origin.Index + uint64(n), Term: 1 + uint64(n)/10} }

// missing is the number of log entries that the machine has not applied.
func (w *world) missing() int {
	return len(w.log) - int(w.m.Applied().Index-origin.Index)
}

// replay applies what the machine is missing of the log, in groups of the sizes that size returns.
func (w *world) replay(size func() int) error {
	for w.missing() > 0 {
		from := len(w.log) - w.missing()
		to := min(from+size(), len(w.log))
		w.m.Begin()
		for _, entry := range w.log[from:to] {
			if _, err := w.m.Apply(decode(w.t, entry)); err != nil {
				return err
			}
		}
		if err := w.m.Commit(at(to)); err != nil {
			return err
		}
	}
	return nil
}

// decode reads the only command of an entry.
func decode(t testing.TB, entry []byte) (op command.Op) {
	t.Helper()
	err := command.Split(entry, func(e command.Encoded) bool {
		var err error
		if op, err = e.Decode(); err != nil {
			t.Fatal(err)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// rows are all rows of the engine, a line each: the whole of what a member knows.
func (w *world) rows() string {
	w.t.Helper()
	it, err := w.engine.Iter([]byte{0}, []byte{0xff})
	w.must(err)
	var out strings.Builder
	for ok := it.First(); ok; ok = it.Next() {
		fmt.Fprintf(&out, "%q %q\n", it.Key(), it.Value())
	}
	w.must(it.Close())
	return out.String()
}

// memory is what the machine holds beside the engine: leases with their keys, and members.
func (w *world) memory() string {
	var out strings.Builder
	for _, l := range w.m.Leases().List() {
		fmt.Fprintf(&out, "lease %d: ttl %d, remaining %d, keys %q\n", l.ID, l.TTL, l.Remaining, w.m.Leases().Keys(l.ID))
	}
	for _, m := range w.m.Members().List() {
		fmt.Fprintf(&out, "member %d: name %q, peers %q, clients %q, learner %v\n", m.ID, m.Name, m.PeerURLs, m.ClientURLs, m.Learner)
	}
	return out.String()
}

// whole is everything that must be equal on two members.
func (w *world) whole() string {
	st := w.m.KV().Stats()
	return fmt.Sprintf("applied %+v, revision %d, compacted %d, keys %d\n%s%s", w.m.Applied(), st.Rev, st.CompactRev, st.Keys, w.memory(), w.rows())
}

// contents are rows and memory, but for the position in the log, which every command moves.
func (w *world) contents() string {
	w.t.Helper()
	var out strings.Builder
	for line := range strings.Lines(w.rows()) {
		if !strings.HasPrefix(line, `"m`+storage.MetaApplied+`"`) {
			out.WriteString(line)
		}
	}
	return out.String() + w.memory()
}

// firstDifference returns the first lines in which two texts differ.
func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(x), len(y)) {
		var l, r string
		if i < len(x) {
			l = x[i]
		}
		if i < len(y) {
			r = y[i]
		}
		if l != r {
			return fmt.Sprintf("line %d:\n%s\n%s", i+1, l, r)
		}
	}
	return "none"
}
