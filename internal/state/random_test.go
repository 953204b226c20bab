package state

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// pair is a machine beside its model.
type pair struct {
	*world
	dice *dice
}

func newPair(t testing.TB, fs vfs.FS, d *dice, o mvcc.Options) *pair {
	d.m = newModel()
	return &pair{world: newWorld(t, fs, o), dice: d}
}

// group applies random commands to both and compares the answers.
func (p *pair) group() {
	p.t.Helper()
	p.m.Begin()
	for range 1 + p.dice.n(4) {
		op := p.dice.op()
		want, refused := p.dice.m.apply(op)
		p.append(op)
		got, err := p.m.Apply(decode(p.t, p.log[len(p.log)-1]))
		p.must(err)
		if !sameError(got.Err, refused) || int64(got.Rev) != p.dice.m.rev || !sameResponse(got.Response, want) {
			p.t.Fatalf("command %d, %T %v:\nmachine: revision %d, error %v, %v\nmodel:   revision %d, error %v, %v",
				len(p.log), op, op, got.Rev, got.Err, got.Response, p.dice.m.rev, refused, want)
		}
	}
	p.must(p.m.Commit(p.end()))
}

func sameResponse(got, want any) bool {
	if want == nil {
		return got == nil
	}
	x, ok := got.(proto.Message)
	return ok && proto.Equal(x, want.(proto.Message))
}

// look compares what readers see.
func (p *pair) look() {
	p.t.Helper()
	view := p.m.KV().View()
	defer view.Close()
	if int64(view.Rev()) != p.dice.m.rev || int64(view.CompactRev()) != p.dice.m.compact {
		p.t.Fatalf("view at %d, compacted %d; model at %d, compacted %d", view.Rev(), view.CompactRev(), p.dice.m.rev, p.dice.m.compact)
	}
	for range 2 {
		r := p.dice.reads()
		want, refused := p.dice.m.read(r)
		got, err := ReadTxn(p.t.Context(), view, r)
		if !sameError(err, refused) || err == nil && !proto.Equal(got, want) {
			p.t.Fatalf("read %v:\nmachine: %v, %v\nmodel:   %v, %v", r, err, got, refused, want)
		}
	}
	for _, l := range p.dice.m.leases {
		got, ok := p.m.Leases().Get(l.ID)
		if keys := p.m.Leases().Keys(l.ID); !ok || got != l || !slices.Equal(keys, p.dice.m.attached(int64(l.ID))) {
			p.t.Fatalf("lease %+v %q, model has %+v %q", got, keys, l, p.dice.m.attached(int64(l.ID)))
		}
	}
	if n := p.m.Leases().Len(); n != len(p.dice.m.leases) {
		p.t.Fatalf("%d leases, model has %d", n, len(p.dice.m.leases))
	}
}

// past compares the contents at every revision that can be read, and the history behind the compaction.
func (p *pair) past() {
	p.t.Helper()
	view := p.m.KV().View()
	defer view.Close()
	m := p.dice.m
	low := max(m.compact, 1)
	for rev := low; rev <= m.rev; rev++ {
		result, err := view.Range(p.t.Context(), mvcc.RangeQuery{Key: []byte{0}, End: []byte{0}, Rev: mvcc.Rev(rev)})
		p.must(err)
		got, err := rangeResponse(result)
		p.must(err)
		state := m.state(rev)
		if len(got.Kvs) != len(state) || got.Count != int64(len(state)) {
			p.t.Fatalf("%d keys at revision %d, model has %d", len(got.Kvs), rev, len(state))
		}
		for _, kv := range got.Kvs {
			if !proto.Equal(kv, state[string(kv.Key)]) {
				p.t.Fatalf("at revision %d: %v, model has %v", rev, kv, state[string(kv.Key)])
			}
		}
	}
	events, upTo, err := p.m.KV().Since(mvcc.Rev(low-1), 1<<20, nil)
	p.must(err)
	want := m.changes
	for len(want) > 0 && want[0].rev < low {
		want = want[1:]
	}
	if int64(upTo) != m.rev || len(events) != len(want) {
		p.t.Fatalf("%d events up to %d, model has %d up to %d", len(events), upTo, len(want), m.rev)
	}
	for i, e := range events {
		if got := (change{int64(e.Pos.Rev), e.Pos.Sub, e.Delete, e.Key}); got != want[i] {
			p.t.Fatalf("event %+v, model has %+v", got, want[i])
		}
	}
}

// sweep removes a part of what was compacted.
func (p *pair) sweep() {
	_, _, err := p.m.KV().Sweep(p.t.Context(), 1+p.dice.n(20))
	p.must(err)
}

// restart ends or crashes the machine and lets the log bring back what was lost.
func (p *pair) restart() {
	p.t.Helper()
	before := p.memory()
	fs := p.fs
	if mem := fs.(*vfs.MemFS); p.dice.n(2) == 0 {
		if p.dice.n(2) == 0 {
			p.must(p.engine.Flush())
		}
		fs = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p.dice.n(101), RNG: rand.New(rand.NewPCG(uint64(p.dice.n(100)), 1))})
	}
	p.world.restart(fs)
	p.must(p.replay(func() int { return 1 + p.dice.n(5) }))
	if after := p.memory(); after != before {
		p.t.Fatalf("the restart changed %s", firstDifference(before, after))
	}
}

// TestRandomCommandsAnswerAsTheModel is a few thousand commands, most of them transactions, with restarts,
// crashes and sweeps between; half of the seeds with a short memory, so that records come from the engine.
func TestRandomCommandsAnswerAsTheModel(t *testing.T) {
	groups := 500
	if testing.Short() {
		groups = 100
	}
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			o := mvcc.Options{}
			if seed%2 == 1 {
				o = mvcc.Options{HistoryBytes: 1, HistoryEvents: 1}
			}
			p := newPair(t, vfs.NewCrashableMem(), &dice{rng: rand.New(rand.NewPCG(seed, 2))}, o)
			for i := range groups {
				p.group()
				p.look()
				switch p.dice.n(20) {
				case 0:
					p.sweep()
				case 1:
					p.past()
				}
				if i%50 == 49 {
					p.restart()
					p.look()
				}
			}
			p.past()
		})
	}
}

// FuzzTxn lets bytes choose the commands.
func FuzzTxn(f *testing.F) {
	f.Add([]byte(nil))
	for seed := range uint64(6) {
		f.Add(seedBytes(seed, 50<<seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newPair(t, vfs.NewMem(), &dice{bytes: b}, mvcc.Options{})
		for range 40 {
			if p.dice.done() {
				break
			}
			p.group()
			p.look()
		}
		p.past()
	})
}

// FuzzRequest gives the machine any transaction that can be read from bytes, after some state to work on:
// it may refuse it, and never panics.
func FuzzRequest(f *testing.F) {
	for seed := range uint64(20) {
		d := &dice{rng: rand.New(rand.NewPCG(seed, 4)), m: newModel()}
		b, err := proto.Marshal(d.txn(3))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := new(pb.TxnRequest)
		if proto.Unmarshal(b, r) != nil {
			return
		}
		w := newWorld(t, vfs.NewMem(), mvcc.Options{})
		w.group(&pb.LeaseGrantRequest{ID: 1, TTL: 9}, &pb.PutRequest{Key: []byte("a"), Value: []byte("1"), Lease: 1},
			&pb.PutRequest{Key: []byte("b")}, &pb.DeleteRangeRequest{Key: []byte("b")}, &pb.CompactionRequest{Revision: 3})
		before := w.contents()
		got := w.one(r)
		if after := w.contents(); got.Err != nil && after != before {
			t.Fatalf("a refused transaction changed %s", firstDifference(before, after))
		}
		for _, key := range w.m.Leases().Keys(1) {
			if kv := w.value(key); kv == nil || kv.Lease != 1 {
				t.Fatalf("lease 1 holds %q, which is %v", key, kv)
			}
		}
	})
}

// value is a live key's record, nil without one.
func (w *world) value(key string) *mvccpb.KeyValue {
	w.t.Helper()
	view := w.m.KV().View()
	defer view.Close()
	it, ok := view.Get([]byte(key))
	if !ok {
		return nil
	}
	kv, err := keyValue(view, it)
	w.must(err)
	if !bytes.Equal(kv.Key, []byte(key)) {
		w.t.Fatalf("the record of %q is that of %q", key, kv.Key)
	}
	return kv
}
