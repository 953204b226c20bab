package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/storage"
)

// The member whose state the copies of these tests become, and its log.
const (
	copyLocal = 4
	copyLog   = 55
)

// copyOf makes a copy of the state of a world, stopping and going on after every few rows.
func copyOf(w *world, rng *rand.Rand) *world {
	w.t.Helper()
	o, err := w.m.Original()
	w.must(err)
	c := &world{t: w.t, fs: vfs.NewCrashableMem(), opts: w.opts, mem: w.mem, log: slices.Clone(w.log)}
	c.openEngine()
	w.t.Cleanup(func() { _ = c.engine.Close() })
	target, err := NewCopy(c.engine)
	w.must(err)
	var last []byte
	for more := true; more; {
		more = false
		rows, err := o.Rows(last)
		w.must(err)
		for n := 1 + rng.IntN(20); n > 0 && rows.Next(); n-- {
			w.must(target.Add(rows.Key(), rows.Value()))
			last, more = append(last[:0], rows.Key()...), true
		}
		w.must(rows.Close())
	}
	p, err := target.Finish(copyLocal, w.m.Members().ClusterID(), copyLog)
	w.must(err)
	if p != o.Applied || target.Rows() == 0 || target.Bytes() == 0 {
		w.t.Fatalf("a copy at %+v, %d rows, %d bytes; the original is at %+v", p, target.Rows(), target.Bytes(), o.Applied)
	}
	w.must(o.Close())
	// Finish has made it durable: a crash now takes nothing.
	c.fs = c.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
	_ = c.engine.Close()
	c.openEngine()
	c.openMachine()
	return c
}

// shared is everything that must be equal on two members of a cluster.
func (w *world) shared() string {
	w.t.Helper()
	var out strings.Builder
	for line := range strings.Lines(w.whole()) {
		if !strings.HasPrefix(line, `"m`+storage.MetaLog+`"`) && !strings.HasPrefix(line, `"m`+storage.MetaCluster+`"`) {
			out.WriteString(line)
		}
	}
	fmt.Fprintf(&out, "bytes %d, voters %v, alarms %v, users %v, downgrade %q\n", w.m.KV().Bytes(), w.m.ConfState(), w.m.Alarms(), w.m.Auth().View().Users(), w.m.DowngradeTarget())
	view := w.m.KV().View()
	defer view.Close()
	for rev := max(view.CompactRev()+1, 1); rev <= view.Rev(); rev++ {
		h, _, err := w.m.KV().HashKV(w.t.Context(), rev)
		w.must(err)
		fmt.Fprintf(&out, "hash %+v\n", h)
	}
	return out.String()
}

// beginSweep compacts, and sweeps a part of it. It returns 1 if that leaves something to do.
func (p *pair) beginSweep() int {
	p.t.Helper()
	op := &pb.CompactionRequest{Revision: p.dice.m.rev}
	_, refused := p.dice.m.apply(op)
	if r := p.one(op); !sameError(r.Err, refused) {
		p.t.Fatalf("compact: %v, model %v", r.Err, refused)
	}
	removed, done, err := p.m.KV().Sweep(p.t.Context(), 5)
	p.must(err)
	if removed == 0 || done {
		return 0
	}
	return 1
}

func mustShare(t *testing.T, w, c *world, when string) {
	t.Helper()
	if a, b := w.shared(), c.shared(); a != b {
		t.Fatalf("%s the copy differs from its original: %s", when, firstDifference(a, b))
	}
}

// TestACopyIsItsOriginalForEver copies states between any two groups, most often with a sweep half done, and feeds both
// the same log from then on.
func TestACopyIsItsOriginalForEver(t *testing.T) {
	halves := 0
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 3))
		p := newPair(t, vfs.NewMem(), &dice{rng: rng}, mvcc.Options{})
		for range 20 + rng.IntN(60) {
			p.group()
			if rng.IntN(3) == 0 {
				p.sweep()
			}
			if rng.IntN(9) == 0 {
				p.must(p.engine.Flush())
			}
		}
		if seed%4 > 0 {
			halves += p.beginSweep()
		}
		c := copyOf(p.world, rng)
		mustShare(t, p.world, c, "at once")
		for range 40 {
			p.group()
			c.log = p.log
			c.must(c.replay(func() int { return 1 + rng.IntN(5) }))
			if rng.IntN(4) == 0 {
				_, _, err := c.m.KV().Sweep(t.Context(), 1+rng.IntN(20))
				c.must(err)
				p.sweep()
			}
		}
		for _, w := range []*world{p.world, c} {
			for done := false; !done; {
				var err error
				_, done, err = w.m.KV().Sweep(t.Context(), 100)
				w.must(err)
			}
		}
		mustShare(t, p.world, c, "after the same commands and all sweeps")
	}
	if halves < 3 {
		t.Errorf("only %d copies came into a sweep", halves)
	}
}

func TestACopyHasUsersAlarmsAndEverythingElse(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), mvcc.Options{})
	s := newScript(t, strings.Join([]string{
		"grant 1 60", "put a 1 lease=1", "put b 2", "del b", "checkpoint 1=20", "publish 4 four http://four:2",
		"user add root hash", "role add root", "user grant root root", "role add r", "role grant r readwrite a b",
		"alarm on 9 nospace", "downgrade 3.6.0", "auth on key",
	}, "\n"))
	for len(s.lines) > 0 {
		if r := w.one(s.op()); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	c := copyOf(w, rand.New(rand.NewPCG(1, 1)))
	mustShare(t, w, c, "at once")
	if c.m.Members().Local() != copyLocal || c.m.Log() != copyLog || c.m.Members().ClusterID() != 77 {
		t.Fatalf("member %d of cluster %d with log %d", c.m.Members().Local(), c.m.Members().ClusterID(), c.m.Log())
	}
	w.must(c.engine.Close())
	files := func() []string {
		names, err := c.fs.List("state")
		w.must(err)
		slices.Sort(names)
		return names
	}
	before := files()
	b, err := PeekAt(storage.Options{FS: c.fs, Dir: "state"})
	w.must(err)
	if b.Applied != w.m.Applied() || b.Level != w.m.Level() || b.Log != copyLog || !proto.Equal(b.ConfState, w.m.ConfState()) ||
		b.Members.Local() != copyLocal || len(b.Members.List()) != 2 {
		t.Fatalf("the brief is %+v", b)
	}
	if after := files(); !slices.Equal(before, after) {
		t.Errorf("looking at %q left %q", before, after)
	}
}

// TestAnOriginalStaysWhatItWas takes an original, changes everything, and copies then.
func TestAnOriginalStaysWhatItWas(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), mvcc.Options{})
	s := newScript(t, "grant 1 60\nput a 1 lease=1\nput b 2\nrevoke 1\nput b 3\ncompact 4\npublish 4 four")
	for range 3 {
		w.one(s.op())
	}
	want := w.m.Applied()
	o, err := w.m.Original()
	w.must(err)
	keys := func() string {
		rows, err := o.Rows(nil)
		w.must(err)
		var out strings.Builder
		for rows.Next() {
			fmt.Fprintf(&out, "%q %q\n", rows.Key(), rows.Value())
		}
		w.must(rows.Close())
		return out.String()
	}
	before := keys()
	for len(s.lines) > 0 {
		w.one(s.op())
	}
	_, _, err = w.m.KV().Sweep(t.Context(), 100)
	w.must(err)
	w.must(w.engine.Flush())
	if after := keys(); after != before || o.Applied != want || strings.Count(before, "\n") < 8 {
		t.Fatalf("the original has changed: %s", firstDifference(before, after))
	}
	w.must(o.Close())
}

// TestWhatIsNoCopyIsRefused gives a copy rows that no original hands out, or too few.
func TestWhatIsNoCopyIsRefused(t *testing.T) {
	begin := func() (*world, *Copy) {
		w := &world{t: t, fs: vfs.NewMem()}
		w.openEngine()
		t.Cleanup(func() { _ = w.engine.Close() })
		c, err := NewCopy(w.engine)
		w.must(err)
		return w, c
	}
	_, c := begin()
	for _, key := range []string{"", "k", "x1", "m" + storage.MetaCluster, "m" + storage.MetaLog} {
		if err := c.Add([]byte(key), nil); !errors.Is(err, ErrNoCopy) {
			t.Errorf("the key %q: %v", key, err)
		}
	}
	for name, rows := range map[string][][2]string{
		"nothing":             nil,
		"no position":         {{"m" + storage.MetaConfState, ""}, {"m" + storage.MetaFormat, "\x02"}},
		"no voters":           {{"m" + storage.MetaApplied, "1234567812345678"}, {"m" + storage.MetaFormat, "\x02"}},
		"another format":      {{"m" + storage.MetaApplied, "1234567812345678"}, {"m" + storage.MetaConfState, ""}, {"m" + storage.MetaFormat, "\x03"}},
		"a level of tomorrow": {{"m" + storage.MetaApplied, "1234567812345678"}, {"m" + storage.MetaConfState, ""}, {"m" + storage.MetaFormat, "\x02"}, {"m" + storage.MetaLevel, "\x7f"}},
		"odd members":         {{"m" + storage.MetaApplied, "1234567812345678"}, {"m" + storage.MetaConfState, ""}, {"m" + storage.MetaFormat, "\x02"}, {"n12345678", "?"}},
	} {
		w, c := begin()
		for _, r := range rows {
			w.must(c.Add([]byte(r[0]), []byte(r[1])))
		}
		if _, err := c.Finish(copyLocal, 1, copyLog); !errors.Is(err, ErrNoCopy) {
			t.Errorf("%s: %v", name, err)
		}
		w.must(c.Abort())
	}
}
