package mvcc

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/storage"
)

// teller plays a story: lines of commands in, what happened out.
//
//	put k v [lease=n] | del k [end]     one command each
//	txn                                 its lines are one command
//	range k [end] [rev= limit= sort= by= keys count minmod= ...]
//	compact n | sweep [max=n] | rows    physical rows that are left
//	since n [max=n]                     history with previous records
//	view name | at name range ... | close name
//	flush | reopen | crash
type teller struct {
	desk
	fs    *vfs.MemFS
	views map[string]*View
}

func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &teller{desk: desk{t: t}, fs: vfs.NewCrashableMem(), views: map[string]*View{}}
		s.open()
		datadriven.RunTest(t, path, s.play)
		_ = s.engine.Close()
	})
}

func (s *teller) open() {
	e, err := storage.Open(storage.Options{FS: s.fs, Dir: "data"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.engine = e
	if s.store, err = Open(e, Options{}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *teller) play(t *testing.T, d *datadriven.TestData) string {
	s.t = t
	var out strings.Builder
	switch d.Cmd {
	case "txn":
		s.group(func(w *Writer) { s.tx(w, strings.Split(strings.TrimSpace(d.Input), "\n"), &out) })
	case "do":
		for line := range strings.SplitSeq(strings.TrimSpace(d.Input), "\n") {
			s.line(line, &out)
		}
	default:
		t.Fatalf("unknown command %s", d.Cmd)
	}
	return out.String()
}

// tx runs lines as one command.
func (s *teller) tx(w *Writer, lines []string, out *strings.Builder) {
	tx := w.NewTx()
	for _, line := range lines {
		f := strings.Fields(line)
		switch f[0] {
		case "put":
			prev, err := tx.Put([]byte(word(f[1])), []byte(f[2]), int64(number(f, "lease")))
			if prev != nil {
				fmt.Fprintf(out, "replaced version %d of %q\n", prev.Version, prev.Key)
			}
			s.check(err)
		case "del":
			gone, err := tx.Delete([]byte(word(f[1])), endOf(f))
			fmt.Fprintf(out, "deleted %d\n", len(gone))
			s.check(err)
		case "range":
			res, err := tx.Range(query(f))
			tell(s.t, out, res, err)
		}
	}
	if !tx.Changed() {
		tx.Abort()
	} else {
		fmt.Fprintf(out, "revision %d\n", tx.End())
	}
}

func (s *teller) check(err error) {
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *teller) line(line string, out *strings.Builder) {
	f := strings.Fields(line)
	switch f[0] {
	case "put", "del":
		s.group(func(w *Writer) { s.tx(w, []string{line}, out) })
	case "range":
		v := s.store.View()
		defer v.Close()
		res, err := v.Range(context.Background(), query(f))
		tell(s.t, out, res, err)
	case "view":
		s.views[f[1]] = s.store.View()
	case "at":
		res, err := s.views[f[1]].Range(context.Background(), query(f[2:]))
		tell(s.t, out, res, err)
	case "close":
		s.views[f[1]].Close()
	case "compact":
		s.group(func(w *Writer) { fmt.Fprintln(out, "compact:", w.Compact(Rev(atoi(f[1])))) })
	case "sweep":
		n := number(f, "max")
		if n == 0 {
			n = 1000
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // a story does not wait
		removed, done, err := s.store.Sweep(ctx, n)
		fmt.Fprintf(out, "removed %d, done %v, error %v\n", removed, done, err)
	case "rows":
		fmt.Fprintln(out, s.rows(), "rows")
	case "since":
		s.since(f, out)
	case "leased":
		s.store.Leased(func(key string, lease int64) bool { fmt.Fprintf(out, "%q on %d\n", key, lease); return true })
	case "flush":
		s.check(s.engine.Flush())
	case "reopen", "crash":
		fs := s.fs
		if f[0] == "crash" {
			fs = s.fs.CrashClone(vfs.CrashCloneCfg{})
		}
		_ = s.engine.Close()
		s.fs = fs
		s.open()
		st := s.store.Stats()
		fmt.Fprintf(out, "revision %d, compacted %d, swept %d, keys %d\n", st.Rev, st.CompactRev, st.SweptRev, st.Keys)
	default:
		s.t.Fatalf("unknown line %q", line)
	}
}

func (s *teller) since(f []string, out *strings.Builder) {
	n := number(f, "max")
	if n == 0 {
		n = 1000
	}
	events, upTo, err := s.store.Since(Rev(atoi(f[1])), n, nil)
	if err != nil {
		fmt.Fprintln(out, err)
		return
	}
	for _, e := range events {
		frame, err := s.store.Frame(e, true)
		s.check(err)
		var resp etcdserverpb.WatchResponse
		s.check(proto.Unmarshal(frame, &resp))
		ev := resp.Events[0]
		fmt.Fprintf(out, "%d.%d %s %s", e.Pos.Rev, e.Pos.Sub, ev.Type, show(ev.Kv))
		if e.Create() {
			out.WriteString(" new")
		}
		if ev.PrevKv != nil {
			fmt.Fprintf(out, " was %s", show(ev.PrevKv))
		}
		out.WriteString("\n")
	}
	fmt.Fprintln(out, "up to", upTo)
}

func show(kv *mvccpb.KeyValue) string {
	return fmt.Sprintf("%q=%q c%d m%d v%d l%d", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease)
}

func tell(t testing.TB, out *strings.Builder, res *RangeResult, err error) {
	if err != nil {
		fmt.Fprintln(out, err)
		return
	}
	for _, kv := range decode(t, res).Kvs {
		fmt.Fprintln(out, show(kv))
	}
	fmt.Fprintf(out, "count %d more %v revision %d\n", res.Count, res.More, res.Rev)
}

// word reads \0 as a zero byte.
func word(s string) string { return strings.ReplaceAll(s, `\0`, "\x00") }

func endOf(f []string) []byte {
	if len(f) > 2 && !strings.Contains(f[2], "=") {
		return []byte(word(f[2]))
	}
	return nil
}

func atoi(s string) (n int) {
	_, _ = fmt.Sscan(s, &n)
	return n
}

func number(f []string, name string) int {
	for _, w := range f {
		if v, ok := strings.CutPrefix(w, name+"="); ok {
			return atoi(v)
		}
	}
	return 0
}

func query(f []string) RangeQuery {
	q := RangeQuery{
		Key: []byte(word(f[1])), End: endOf(f), Rev: Rev(number(f, "rev")), Limit: int64(number(f, "limit")),
		Sort: Sort(number(f, "sort")), Target: Target(number(f, "by")), MaxBytes: int64(number(f, "bytes")),
		MinMod: Rev(number(f, "minmod")), MaxMod: Rev(number(f, "maxmod")),
		MinCreate: Rev(number(f, "mincreate")), MaxCreate: Rev(number(f, "maxcreate")),
	}
	q.KeysOnly, q.CountOnly = number(f, "keys") == 1, number(f, "count") == 1
	return q
}
