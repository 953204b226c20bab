package mvcc

import (
	"bytes"
	"context"
	"math"
	"slices"
	"strings"

	"github.com/keelson-db/keelson/internal/storage"
)

// countByScan is how many more revisions than keys must lie between the asked
// revision and now before counting by history costs more than by scanning.
const countByScan = 4096

// row is a record as it was at an older revision.
type row struct {
	key string
	kv  []byte
	rec record
}

// past answers for a revision below the root's. The index knows only the
// present, so the records come from a scan that chooses the newest version of
// each key that is not too new; the number of keys is today's number less what
// history changed since, so that a page does not pay for the whole range.
func (r *reader) past(ctx context.Context, p plan, sp span, res *RangeResult) error {
	if p.CountOnly {
		n, err := r.countPast(ctx, sp, p.Rev)
		res.Count = n
		return err
	}
	if p.stream {
		return r.streamPast(ctx, p, sp, res)
	}
	return r.sortPast(ctx, p, sp, res)
}

func (r *reader) streamPast(ctx context.Context, p plan, sp span, res *RangeResult) error {
	expected := math.MaxInt32
	if sp.kind == spanOne {
		expected = 1
	} else if p.Limit > 0 {
		expected = int(min(p.Limit, math.MaxInt32))
	}
	f := r.s.newFrames(res, expected)
	var bad error
	var last []byte
	err := r.scan(ctx, sp, p.Rev, func(key string, kv []byte) bool {
		if res.More = p.Limit > 0 && int64(res.N) == p.Limit || f.full(&p.RangeQuery); res.More {
			return false
		}
		if p.KeysOnly {
			rec, ok := parseRecord(kv)
			if !ok {
				bad = missing(strings.Clone(key))
				return false
			}
			f.meta(key, rec.create, rec.mod, rec.version, 0)
		} else {
			f.kv(kv)
		}
		last = append(last[:0], key...)
		return true
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return err
	}
	f.cut()
	res.LastKey = last
	res.Count = int64(res.N)
	if res.More {
		res.Count, err = r.countPast(ctx, sp, p.Rev)
	}
	return err
}

func (r *reader) sortPast(ctx context.Context, p plan, sp span, res *RangeResult) error {
	var rows []row
	var bad error
	cut := false
	err := r.scan(ctx, sp, p.Rev, func(key string, kv []byte) bool {
		if cut = p.fetch >= 0 && int64(len(rows)) == p.fetch; cut {
			return false
		}
		kv = bytes.Clone(kv)
		rec, ok := parseRecord(kv)
		if !ok {
			bad = missing(strings.Clone(key))
			return false
		}
		res.Count++
		if p.keeps(rec.create, rec.mod) {
			rows = append(rows, row{key: borrow(rec.key), kv: kv, rec: rec})
		}
		return true
	})
	if err == nil {
		err = bad
	}
	if err == nil && cut {
		res.Count, err = r.countPast(ctx, sp, p.Rev)
	}
	if err != nil {
		return err
	}
	sortRows(p, rows)
	if p.Limit > 0 && int64(len(rows)) > p.Limit {
		rows = rows[:p.Limit]
		res.More = true
	}
	f := r.s.newFrames(res, len(rows))
	for _, w := range rows {
		switch {
		case p.KeysOnly && p.Target == ByValue:
			f.meta(w.key, w.rec.create, w.rec.mod, w.rec.version, w.rec.lease)
		case p.KeysOnly:
			f.meta(w.key, w.rec.create, w.rec.mod, w.rec.version, 0)
		default:
			f.kv(w.kv)
		}
		res.LastKey = []byte(w.key)
	}
	f.cut()
	return nil
}

func sortRows(p plan, rows []row) {
	if p.order == SortNone {
		return
	}
	key := func(w *row) sortKey {
		switch p.Target {
		case ByVersion:
			return sortKey{number: w.rec.version}
		case ByCreate:
			return sortKey{number: int64(w.rec.create)}
		case ByMod:
			return sortKey{number: int64(w.rec.mod)}
		case ByValue:
			return sortKey{text: borrow(w.rec.value)}
		}
		return sortKey{text: w.key}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		if p.order == SortDescend {
			return key(&b).compare(key(&a))
		}
		return key(&a).compare(key(&b))
	})
}

// countPast returns the number of live keys of a span at an older revision.
func (r *reader) countPast(ctx context.Context, sp span, rev Rev) (int64, error) {
	now := int64(r.root.count(sp))
	if int64(r.seen-rev) > 2*now+countByScan {
		var n int64
		err := r.scan(ctx, sp, rev, func(string, []byte) bool { n++; return true })
		return n, err
	}
	for _, e := range r.pending {
		if e.Pos.Rev > rev && sp.contains(e.Key) {
			now -= e.delta()
		}
	}
	if rev >= r.base {
		return now, nil
	}
	err := r.eachChange(ctx, rev, func(c *Event) bool {
		if sp.contains(c.Key) {
			now -= c.delta()
		}
		return true
	})
	return now, err
}

// scan yields the live keys of a span at an older revision with their
// records, in key order. Both are valid during the call only.
func (r *reader) scan(ctx context.Context, sp span, rev Rev, yield func(key string, kv []byte) bool) error {
	over := r.overlay(sp, rev)
	// flush yields what the group changed before key, and reports whether it
	// changed key itself.
	flush := func(key string, all bool) (same, goOn bool) {
		for len(over) > 0 && (all || over[0].Key <= key) {
			e := over[0]
			over = over[1:]
			same = e.Key == key && !all
			if !e.Delete && !yield(e.Key, e.KV) {
				return same, false
			}
		}
		return same, true
	}
	stopped := false
	err := r.s.scanStored(ctx, sp, rev, func(key string, kv []byte) bool {
		same, goOn := flush(key, false)
		if goOn && !same {
			goOn = yield(key, kv)
		}
		stopped = !goOn
		return goOn
	})
	if err == nil && !stopped {
		flush("", true)
	}
	return err
}

// overlay returns the newest unpublished change up to rev of each key of a
// span, in key order.
func (r *reader) overlay(sp span, rev Rev) []*Event {
	var over []*Event
	for _, e := range slices.Backward(r.pending) {
		if e.Pos.Rev <= rev && sp.contains(e.Key) {
			over = append(over, e)
		}
	}
	slices.SortStableFunc(over, func(a, b *Event) int { return strings.Compare(a.Key, b.Key) })
	return slices.CompactFunc(over, func(a, b *Event) bool { return a.Key == b.Key })
}

// scanStored is scan over what the engine holds.
func (s *Store) scanStored(ctx context.Context, sp span, rev Rev, yield func(key string, kv []byte) bool) (err error) {
	it, err := s.engine.Iter(sp.bounds())
	if err != nil {
		return err
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	var shared, user, want []byte
	it.First()
	for rows := 0; it.Valid(); rows++ {
		if rows%checkEvery == checkEvery-1 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		part, at, _, ok := storage.SplitRecordKey(it.Key())
		if !ok {
			return &storage.DamagedError{Table: "records", Key: bytes.Clone(it.Key()), Why: "the key has no position"}
		}
		if Rev(at) > rev {
			// Too new: the wanted version is further down, maybe far.
			shared = append(shared[:0], part...)
			want = stepTo(it, shared, rev, want)
			continue
		}
		if kv := it.Value(); len(kv) > 0 {
			key, ok := storage.UserKey(part, user[:0])
			if !ok {
				return &storage.DamagedError{Table: "records", Key: bytes.Clone(it.Key()), Why: "the key is not escaped"}
			}
			if !yield(borrow(key), kv) {
				return nil
			}
		}
		shared = append(shared[:0], part...)
		skipVersions(it, shared)
	}
	return nil
}

// stepTo moves from a version that is too new to the first row of the same key
// that is not, or to the next key.
func stepTo(it *storage.Iter, shared []byte, rev Rev, want []byte) []byte {
	for range nearby {
		if !it.Next() {
			return want
		}
		part, at, _, ok := storage.SplitRecordKey(it.Key())
		if !ok || Rev(at) <= rev || !bytes.Equal(part, shared) {
			return want
		}
	}
	want = storage.AppendPosition(append(want[:0], shared...), int64(rev), math.MaxInt32)
	it.SeekGE(want)
	return want
}
