package mvcc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/keelson-db/keelson/internal/storage"
)

// world is a store beside its model.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	fs     *vfs.MemFS
	engine *storage.Engine
	store  *Store
	model  *model
	opts   Options
	cursor Rev // how far history was followed
}

func newWorld(t *testing.T, seed uint64, o Options) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), fs: vfs.NewCrashableMem(), model: newModel(), opts: o, cursor: FirstRev}
	w.open()
	t.Cleanup(func() { _ = w.engine.Close() })
	return w
}

func (w *world) open() {
	e, err := storage.Open(storage.Options{FS: w.fs, Dir: "data", MemTableBytes: 64 << 10})
	w.must(err)
	w.engine = e
	w.store, err = Open(e, w.opts)
	w.must(err)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) key() string {
	return []string{"a", "b", "b\x00", "b\x00c", "c", "ca", "cb", "d", "\xff", "e\x00\xff", "e\x00\x01", "f"}[w.rng.IntN(12)]
}

func (w *world) span() (key, end string) {
	key = w.key()
	switch w.rng.IntN(6) {
	case 0, 1:
		return key, ""
	case 2:
		return key, "\x00"
	case 3:
		return "\x00", "\x00"
	}
	return key, w.key()
}

func (w *world) query(max Rev) RangeQuery {
	key, end := w.span()
	q := RangeQuery{Key: []byte(key), End: []byte(end)}
	if w.rng.IntN(2) == 0 {
		q.Rev = Rev(w.rng.IntN(int(max) + 2))
	}
	if w.rng.IntN(2) == 0 {
		q.Limit = int64(w.rng.IntN(5))
	}
	if w.rng.IntN(3) == 0 {
		q.Sort, q.Target = Sort(w.rng.IntN(3)), Target(w.rng.IntN(5))
	}
	q.KeysOnly, q.CountOnly = w.rng.IntN(4) == 0, w.rng.IntN(6) == 0
	if w.rng.IntN(5) == 0 {
		q.MinMod, q.MaxMod = Rev(w.rng.IntN(int(max)+1)), Rev(w.rng.IntN(int(max)+1))
	}
	if w.rng.IntN(5) == 0 {
		q.MinCreate, q.MaxCreate = Rev(w.rng.IntN(int(max)+1)), Rev(w.rng.IntN(int(max)+1))
	}
	return q
}

// compare checks an answer against the model's. start is the newest revision
// that may be asked for, now the state of revision 0.
func (w *world) compare(q RangeQuery, start, compact, seen Rev, now map[string]*mvccpb.KeyValue, res *RangeResult, err error) {
	w.t.Helper()
	switch {
	case q.Rev > start:
		if !errors.Is(err, ErrFutureRev) {
			w.t.Fatalf("%+v: want future revision, got %v", q, err)
		}
		return
	case q.Rev > 0 && q.Rev < compact:
		if !errors.Is(err, ErrCompacted) {
			w.t.Fatalf("%+v: want compacted, got %v", q, err)
		}
		return
	}
	if err != nil {
		w.t.Fatalf("%+v: %v", q, err)
	}
	state := now
	if q.Rev > 0 {
		state = w.model.states[q.Rev]
	}
	kvs, more, count := modelRange(state, q)
	got := decode(w.t, res)
	want := &etcdserverpb.RangeResponse{Kvs: kvs}
	if !proto.Equal(got, want) || res.More != more || res.Count != count || res.Rev != seen || res.N != len(kvs) {
		w.t.Fatalf("%q..%q %+v\n got %v more=%v count=%d n=%d rev=%d\nwant %v more=%v count=%d rev=%d", q.Key, q.End, q,
			got, res.More, res.Count, res.N, res.Rev, want, more, count, seen)
	}
	res.Release()
}

func decode(t testing.TB, res *RangeResult) *etcdserverpb.RangeResponse {
	t.Helper()
	var got etcdserverpb.RangeResponse
	all := bytes.Join(res.Frames, nil)
	if int64(len(all)) != res.Bytes {
		t.Fatalf("Bytes is %d, frames have %d", res.Bytes, len(all))
	}
	if err := proto.Unmarshal(all, &got); err != nil {
		t.Fatal(err)
	}
	return &got
}

// group applies one random group to both.
func (w *world) group() {
	b := w.engine.NewBatch()
	defer b.Close()
	g := w.store.Begin(b)
	for range 1 + w.rng.IntN(4) {
		if w.rng.IntN(12) == 0 {
			w.compact(g)
			continue
		}
		w.command(g)
	}
	w.must(g.Finish())
	w.must(w.engine.Commit(b))
	g.Publish()
	w.model.points = append(w.model.points, point{w.model.rev, w.model.compact})
}

func (w *world) compact(g *Writer) {
	rev := Rev(w.rng.IntN(int(w.model.rev)+3)) - 1
	err := g.Compact(rev)
	switch {
	case rev <= w.model.compact:
		if !errors.Is(err, ErrCompacted) {
			w.t.Fatalf("compact %d: %v", rev, err)
		}
	case rev > w.model.rev:
		if !errors.Is(err, ErrFutureRev) {
			w.t.Fatalf("compact %d: %v", rev, err)
		}
	default:
		w.must(err)
		w.model.compact = rev
	}
}

func (w *world) command(g *Writer) {
	tx, mt := g.NewTx(), w.model.tx()
	for range 1 + w.rng.IntN(3) {
		switch w.rng.IntN(5) {
		case 0, 1:
			k, v, l := w.key(), fmt.Sprint("v", w.rng.IntN(1000)), int64(w.rng.IntN(3))
			if w.rng.IntN(5) == 0 {
				v = string(bytes.Repeat([]byte("x"), w.rng.IntN(6000)))
			}
			old := mt.now[k]
			prev, err := tx.Put([]byte(k), []byte(v), l)
			w.must(err)
			if (prev == nil) != (old == nil) || prev != nil && int64(prev.Mod) != old.ModRevision {
				w.t.Fatalf("put %q replaced %+v, want %v", k, prev, old)
			}
			mt.put(k, v, l)
		case 2:
			k, e := w.span()
			deleted, err := tx.Delete([]byte(k), []byte(e))
			w.must(err)
			if n := mt.delete(k, e); n != len(deleted) {
				w.t.Fatalf("deleted %d, want %d", len(deleted), n)
			}
		default:
			seen := w.model.rev
			if mt.sub > 0 {
				seen++
			}
			q := w.query(w.model.rev)
			res, err := tx.Range(q)
			w.compare(q, w.model.rev, w.model.compact, seen, mt.now, res, err)
		}
	}
	if !tx.Changed() {
		tx.Abort()
		return
	}
	mt.end()
	if rev := tx.End(); rev != w.model.rev {
		w.t.Fatalf("command ended at %d, want %d", rev, w.model.rev)
	}
}

func (w *world) look() {
	v := w.store.View()
	defer v.Close()
	if v.Rev() != w.model.rev || v.CompactRev() != w.model.compact || v.Keys() != int64(len(w.model.states[w.model.rev])) {
		w.t.Fatalf("view %d %d %d, model %d %d", v.Rev(), v.CompactRev(), v.Keys(), w.model.rev, w.model.compact)
	}
	for range 6 {
		q := w.query(w.model.rev)
		res, err := v.Range(context.Background(), q)
		w.compare(q, w.model.rev, w.model.compact, w.model.rev, w.model.states[w.model.rev], res, err)
	}
	w.pages(v)
	w.history()
}

// pages reads a range in pieces bounded by bytes and compares the whole.
func (w *world) pages(v *View) {
	low := max(w.model.compact, 1)
	q := RangeQuery{Key: []byte{0}, End: []byte{0}, Rev: low + Rev(w.rng.IntN(int(w.model.rev-low)+1)), MaxBytes: int64(1 + w.rng.IntN(200))}
	want, _, count := modelRange(w.model.states[q.Rev], RangeQuery{Key: q.Key, End: q.End})
	var got []*mvccpb.KeyValue
	for {
		res, err := v.Range(context.Background(), q)
		w.must(err)
		page := decode(w.t, res).Kvs
		if left := count - int64(len(got)); res.Count != left || res.More != (left > int64(len(page))) {
			w.t.Fatalf("page of %d says count %d more %v, want %d", len(page), res.Count, res.More, left)
		}
		got = append(got, page...)
		if !res.More {
			break
		}
		q.Key = append(bytes.Clone(res.LastKey), 0)
	}
	if !proto.Equal(&etcdserverpb.RangeResponse{Kvs: got}, &etcdserverpb.RangeResponse{Kvs: want}) {
		w.t.Fatalf("pages at %d: got %v, want %v", q.Rev, got, want)
	}
}

func (w *world) history() {
	after := Rev(w.rng.IntN(int(w.model.rev) + 1))
	events, upTo, err := w.store.Since(after, 1+w.rng.IntN(20), nil)
	inMemory := after >= w.store.pub.Load().hist.floor
	if after+1 < w.model.compact && !inMemory {
		if !errors.Is(err, ErrCompacted) {
			w.t.Fatalf("since %d: %v", after, err)
		}
		return
	}
	w.must(err) // what is in memory is there for who follows closely, compacted or not
	want := w.model.since(after)
	for i, e := range events {
		w.compareEvent(e, want[i])
	}
	if len(events) < len(want) && want[len(events)].pos.Rev <= upTo || len(events) == len(want) && upTo != w.model.rev {
		w.t.Fatalf("since %d: %d events up to %d, model has %d up to %d", after, len(events), upTo, len(want), w.model.rev)
	}
}

func (w *world) compareEvent(e *Event, c change) {
	if e.Pos != c.pos || e.Delete != c.del || e.Key != string(c.kv.Key) {
		w.t.Fatalf("event %+v, want %+v", e, c)
	}
	for _, prev := range []bool{false, true} {
		f, err := w.store.Frame(e, prev)
		w.must(err)
		var got etcdserverpb.WatchResponse
		w.must(proto.Unmarshal(f, &got))
		want := &mvccpb.Event{Kv: c.kv}
		if c.del {
			want.Type = mvccpb.Event_DELETE
		}
		create := !c.del && c.kv.CreateRevision == c.kv.ModRevision
		if prev && c.prev != nil && !create {
			want.PrevKv = c.prev
		}
		if prev && c.pos.Rev-1 < w.model.compact && len(got.Events) == 1 && got.Events[0].PrevKv == nil {
			want.PrevKv = nil // compacted meanwhile
		}
		if e.Delete && w.madeInOneCommand(e) {
			// Deleted, put and deleted again by one command, which no request can ask for: it is as if the
			// key had been new.
			want.PrevKv, got.Events[0].PrevKv = nil, nil
		}
		if len(got.Events) != 1 || !proto.Equal(got.Events[0], want) {
			w.t.Fatalf("frame with prev=%v: %v, want %v", prev, got.Events, want)
		}
	}
}

// madeInOneCommand says that what an event ended had been created, at first or again, by the same command.
func (w *world) madeInOneCommand(e *Event) bool {
	at := e.Prev
	for at.Rev == e.Pos.Rev {
		val, ok, err := w.engine.Get(storage.AppendRevisionKey(nil, int64(at.Rev), at.Sub), nil)
		w.must(err)
		if !ok {
			return false
		}
		row, err := storage.ParseRevision(val)
		w.must(err)
		if row.PrevRev == 0 {
			return true
		}
		at = Pos{Rev(row.PrevRev), row.PrevSub}
	}
	return false
}

func (w *world) sweep() {
	for {
		_, done, err := w.store.Sweep(context.Background(), 1+w.rng.IntN(10))
		w.must(err)
		if done {
			break
		}
		w.checkSize()
		if w.rng.IntN(4) == 0 {
			return // taken up later
		}
	}
	if w.store.SweepPending() {
		w.t.Fatal("sweep is done and pending")
	}
}

// restart closes and opens, or loses what was not yet durable.
func (w *world) restart() {
	if w.rng.IntN(2) == 0 {
		w.must(w.engine.Close())
		w.open()
	} else {
		if w.rng.IntN(2) == 0 {
			w.must(w.engine.Flush())
		}
		crashed := w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: w.rng.IntN(101), RNG: w.rng})
		_ = w.engine.Close()
		w.fs = crashed
		w.open()
	}
	p := w.store.pub.Load()
	if !w.model.forget(point{p.rev, p.compact}) {
		w.t.Fatalf("after the crash revision is %d and compaction %d, which no group left", p.rev, p.compact)
	}
	w.checkSize()
	w.store.writer.tree.root = p.root
	w.store.writer.tree.verify()
}

func TestRandomHistoriesReadAsTheModel(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			o := Options{}
			if seed%2 == 1 {
				o = Options{HistoryBytes: 64 << 10, HistoryEvents: 300}
			}
			w := newWorld(t, seed, o)
			for i := range 400 {
				w.group()
				w.store.writer.tree.verify()
				w.look()
				if w.rng.IntN(10) == 0 {
					w.sweep()
					w.look()
				}
				if i%67 == 66 {
					w.restart()
					w.look()
				}
			}
		})
	}
}
