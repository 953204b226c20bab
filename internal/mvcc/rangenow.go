package mvcc

import (
	"context"
	"slices"
)

// checkEvery is the number of records between looks at the context.
const checkEvery = 512

// reader answers queries over a root and what belongs to it.
type reader struct {
	s       *Store
	root    *node
	hist    *history // the ring at base
	base    Rev      // newest revision in the engine and the ring
	pending []*Event // changes after base, of an unpublished group
	start   Rev      // newest revision that may be asked for
	seen    Rev      // revision of root
	compact Rev
	changes int64 // published.changes at base
	frozen  bool  // root is published: its leaves do not change any more
}

// query answers a range query.
func (r *reader) query(ctx context.Context, q RangeQuery) (*RangeResult, error) {
	if q.Rev > r.start {
		return nil, ErrFutureRev
	}
	if q.Rev > 0 && q.Rev < r.compact {
		return nil, ErrCompacted
	}
	res := &RangeResult{Rev: r.seen}
	sp := spanOf(q.Key, q.End)
	p := q.plan()
	now, err := true, error(nil)
	if q.Rev > 0 && q.Rev < r.seen && sp.kind != spanEmpty {
		var past *node
		if past, now, err = r.pastRoot(ctx, sp, q.Rev); now {
			r.root = past
		}
	}
	switch {
	case err != nil, sp.kind == spanEmpty:
	case !now:
		err = r.past(ctx, p, sp, res)
	case q.CountOnly:
		res.Count = int64(r.root.count(sp))
	case sp.kind == spanOne && !p.filtered():
		err = r.single(p, sp, res)
	case p.stream:
		err = r.streamNow(ctx, p, sp, res)
	default:
		err = r.sortNow(ctx, p, sp, res)
	}
	if err != nil {
		res.Release()
		return nil, err
	}
	return res, nil
}

// single answers for one key, the most frequent query.
func (r *reader) single(p plan, sp span, res *RangeResult) error {
	it := r.root.get(sp.lo)
	if it == nil {
		return nil
	}
	res.Count = 1
	res.LastKey = p.Key
	f := frames{s: r.s, res: res, few: true}
	if p.KeysOnly {
		return f.bare(p, it)
	}
	if e := it.event.Load(); e != nil {
		f.whole(e.rangeFrame())
		return nil
	}
	frame, err := r.s.storedFrame(it)
	if err == nil {
		f.whole(frame)
	}
	return err
}

// bare adds an item without its value, as a query for keys only is answered:
// from the index and without the lease, but with it when values decide the
// order.
func (f *frames) bare(p plan, it *Item) error {
	lease := int64(0)
	if p.Target == ByValue {
		lease = it.Lease
	}
	f.meta(it.Key, it.Create, it.Mod, it.Version, lease)
	f.cut()
	return nil
}

// streamNow walks the index and the engine side by side.
func (r *reader) streamNow(ctx context.Context, p plan, sp span, res *RangeResult) (err error) {
	total := r.root.count(sp)
	res.Count = int64(total)
	limit := total
	if p.Limit > 0 && p.Limit < int64(total) {
		limit = int(p.Limit)
	}
	if limit == 0 {
		return nil
	}
	f := r.s.newFrames(res, limit)
	var c cursor
	c.seek(r.root, sp.lo)
	// Whole leaves are read where they become warm, so the engine's bounds are
	// those of leaves.
	fetch := r.s.newFetcher(span{lo: c.leaf.items[0].Key, kind: spanFrom}, limit)
	defer func() {
		if cerr := fetch.close(); err == nil {
			err = cerr
		}
	}()
	for res.N < limit && !f.full(&p.RangeQuery) {
		from, before := c.at, res.N
		leaf, to := c.leaf, min(len(c.leaf.items), from+limit-res.N)
		if err := r.addLeaf(p, &f, &fetch, leaf, from, to); err != nil {
			return err
		}
		if res.N/checkEvery != before/checkEvery && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := res.N - before
		if res.N == limit || f.full(&p.RangeQuery) {
			res.LastKey = []byte(leaf.items[from+n-1].Key)
		}
		c.skip(n)
	}
	f.cut()
	res.More = res.N < total
	return nil
}

// addLeaf adds the items from from up to to of a leaf, or fewer if the result
// is full before.
func (r *reader) addLeaf(p plan, f *frames, fetch *fetcher, leaf *node, from, to int) error {
	if p.KeysOnly {
		for _, it := range leaf.items[from:to] {
			if f.meta(it.Key, it.Create, it.Mod, it.Version, 0); f.full(&p.RangeQuery) {
				break
			}
		}
		return nil
	}
	w, err := fetch.warmed(leaf, r.frozen && !fetch.single)
	if err != nil {
		return err
	}
	if w != nil {
		f.shared(w.part(from, to, f.left(&p.RangeQuery)))
		return nil
	}
	for _, it := range leaf.items[from:to] {
		if err := fetch.add(f, it); err != nil {
			return err
		}
		if f.full(&p.RangeQuery) {
			break
		}
	}
	return nil
}

// sortNow gathers items, drops, sorts and cuts them, and fetches what is left.
func (r *reader) sortNow(ctx context.Context, p plan, sp span, res *RangeResult) (err error) {
	total := r.root.count(sp)
	res.Count = int64(total)
	items := r.gather(p, sp, total)
	fetch := r.s.newFetcher(sp, len(items))
	defer func() {
		if cerr := fetch.close(); err == nil {
			err = cerr
		}
	}()
	if p.order != SortNone {
		if items, err = sortItems(ctx, p, items, &fetch); err != nil {
			return err
		}
	}
	if p.Limit > 0 && int64(len(items)) > p.Limit {
		items = items[:p.Limit]
		res.More = true
	}
	f := r.s.newFrames(res, len(items))
	for i, it := range items {
		if i%checkEvery == checkEvery-1 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if p.KeysOnly {
			if err := f.bare(p, it); err != nil {
				return err
			}
		} else if err := fetch.add(&f, it); err != nil {
			return err
		}
		res.LastKey = []byte(it.Key)
	}
	f.cut()
	return nil
}

// gather returns the items that take part in sorting.
func (r *reader) gather(p plan, sp span, total int) []*Item {
	var c cursor
	c.seek(r.root, sp.lo)
	left := total
	switch {
	case p.fetch >= 0:
		left = int(min(p.fetch, int64(total)))
	case p.Target == ByKey && !p.filtered() && p.Limit > 0 && p.Limit < int64(total):
		// In falling key order the last ones are the first: only they are needed.
		left = int(p.Limit) + 1
		c.seekIndex(r.root, r.root.rank(sp.lo)+total-left)
	}
	var items []*Item
	for ; left > 0; left-- {
		if it := c.item(); p.keeps(it.Create, it.Mod) {
			items = append(items, it)
		}
		c.next()
	}
	return items
}

// sortItems sorts by the plan's target; only values have to be fetched.
func sortItems(ctx context.Context, p plan, items []*Item, fetch *fetcher) ([]*Item, error) {
	if p.Target == ByKey {
		if p.order == SortDescend {
			slices.Reverse(items)
		}
		return items, nil
	}
	type keyed struct {
		key sortKey
		it  *Item
	}
	list := make([]keyed, len(items))
	for i, it := range items {
		list[i].it = it
		switch p.Target {
		case ByVersion:
			list[i].key.number = it.Version
		case ByCreate:
			list[i].key.number = int64(it.Create)
		case ByMod:
			list[i].key.number = int64(it.Mod)
		case ByValue:
			if i%checkEvery == 0 && ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			kv, err := fetch.copy(it)
			if err != nil {
				return nil, err
			}
			rec, ok := parseRecord(kv)
			if !ok {
				return nil, missing(it.Key)
			}
			list[i].key.text = borrow(rec.value)
		}
	}
	slices.SortStableFunc(list, func(a, b keyed) int {
		if p.order == SortDescend {
			return b.key.compare(a.key)
		}
		return a.key.compare(b.key)
	})
	for i := range list {
		items[i] = list[i].it
	}
	return items, nil
}
