package state

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// TestStories plays the files of testdata. A block "do" applies each command as a group of its own, a block
// "group" all of them as one; commands are written as script says. Lines of "do" that are no commands:
//
//	range ...           the published state
//	leases | members | applied | counts | rights
//	history n           the changes after revision n
//	flush | reopen | crash | replay
//
// A block "read" evaluates transactions on a view.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &teller{world: newWorld(t, vfs.NewCrashableMem(), mvcc.Options{})}
		datadriven.RunTest(t, path, s.play)
	})
}

// teller plays a story.
type teller struct{ *world }

func (s *teller) play(t *testing.T, d *datadriven.TestData) string {
	s.t = t
	var out strings.Builder
	lines := newScript(t, d.Input)
	switch d.Cmd {
	case "do":
		for len(lines.lines) > 0 {
			if !s.look(lines, &out) {
				tell(&out, s.one(lines.op()))
			}
		}
	case "group":
		s.together(lines, &out)
	case "read":
		for len(lines.lines) > 0 {
			s.read(lines, &out)
		}
	default:
		d.Fatalf(t, "unknown block %s", d.Cmd)
	}
	return out.String()
}

func (s *teller) together(lines *script, out *strings.Builder) {
	before := s.m.KV().Stats().Rev
	s.m.Begin()
	for len(lines.lines) > 0 {
		op := lines.op()
		s.append(op)
		r, err := s.m.Apply(op)
		s.must(err)
		tell(out, r)
	}
	if now := s.m.KV().Stats().Rev; now != before {
		s.t.Fatalf("revision %d is visible before the group of it was committed", now)
	}
	s.must(s.m.Commit(s.end()))
}

func (s *teller) read(lines *script, out *strings.Builder) {
	view := s.m.KV().View()
	defer view.Close()
	head := lines.lines[0]
	lines.lines = lines.lines[1:]
	a, err := ReadTxn(s.t.Context(), view, lines.txn(indent(head)))
	if err != nil {
		fmt.Fprintf(out, "error: %v\n", err)
		return
	}
	fmt.Fprintf(out, "revision %d", view.Rev())
	tellTxn(out, a, "  ")
}

// look takes the next line if it is no command, and reports whether it was not.
func (s *teller) look(lines *script, out *strings.Builder) bool {
	f := strings.Fields(lines.lines[0])
	switch f[0] {
	case "range":
		view := s.m.KV().View()
		defer view.Close()
		result, err := view.Range(s.t.Context(), Query(lines.query(parseArgs(f[1:]))))
		if err != nil {
			fmt.Fprintf(out, "error: %v\n", err)
			break
		}
		a, err := rangeResponse(result)
		s.must(err)
		fmt.Fprintf(out, "revision %d", a.Header.Revision)
		tellRange(out, a, "  ")
	case "leases", "members":
		for line := range strings.Lines(s.memory()) {
			if strings.HasPrefix(line, strings.TrimSuffix(f[0], "s")) {
				out.WriteString(line)
			}
		}
	case "applied":
		durable, err := s.m.DurableApplied()
		s.must(err)
		st := s.m.KV().Stats()
		fmt.Fprintf(out, "applied %+v, durable %+v, revision %d, compacted %d\n", s.m.Applied(), durable, st.Rev, st.CompactRev)
	case "rights":
		s.tellRights(out)
	case "counts":
		fmt.Fprintf(out, "%+v\n", s.m.TakeCounts())
	case "history":
		s.history(mvcc.Rev(lines.number(f[1])), out)
	case "flush":
		s.must(s.engine.Flush())
	case "reopen":
		s.restart(s.fs)
	case "crash":
		s.restart(s.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{}))
	case "replay":
		fmt.Fprintf(out, "%d commands again\n", s.missing())
		s.must(s.world.replay(func() int { return 2 }))
	default:
		return false
	}
	lines.lines = lines.lines[1:]
	return true
}

func (s *teller) history(after mvcc.Rev, out *strings.Builder) {
	events, _, err := s.m.KV().Since(after, 1000, nil)
	if err != nil {
		fmt.Fprintf(out, "error: %v\n", err)
		return
	}
	for _, e := range events {
		fmt.Fprintf(out, "%d.%d %s %q\n", e.Pos.Rev, e.Pos.Sub, map[bool]string{false: "put", true: "del"}[e.Delete], e.Key)
	}
}

func show(kv *mvccpb.KeyValue) string {
	text := fmt.Sprintf("%q=%q c%d m%d v%d", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version)
	if kv.Lease != 0 {
		text += fmt.Sprintf(" lease %d", kv.Lease)
	}
	return text
}
