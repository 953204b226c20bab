package mvcc

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/keelson-db/keelson/internal/storage"
)

// A client that reads a large range in pages pins the revision of the first
// page and comes back to it for every other one. For it the index of that
// revision is made again: the present index, of which the copy shares all that
// is the same, with the history since then undone. From there on a page of the
// past costs what a page of the present costs. What a revision's index looks
// like never changes, so it serves every later reader.

const (
	// maxPastRoots is the number of older revisions whose index is kept.
	maxPastRoots = 4
	// maxPastChanges bounds the changes that are undone to make the index of an
	// older revision, and the changes that may follow before it is dropped:
	// each may keep a leaf of a few hundred bytes and an item from being freed.
	maxPastChanges = 1 << 15
	// maxPastAsked is the number of older revisions of which it is remembered
	// that they were asked for.
	maxPastAsked = 8
	// pastAskRevs says how often a revision has to be asked for until its index
	// is made: once more for so many revisions since. Undoing a change costs
	// about forty times of what a page pays for counting it.
	pastAskRevs = 1 << 10
	// pastGroup marks the nodes of older revisions' indexes: no writer owns
	// them.
	pastGroup = 1 << 63
)

// pastRoot is the index of an older revision.
type pastRoot struct {
	rev     Rev
	root    *node
	changes int64 // published.changes up to which it was counted
	far     int64 // changes undone to make it
}

// pastAsk counts how often an older revision was asked for.
type pastAsk struct {
	rev   Rev
	times int64
	never bool // it is too far behind
}

// pasts are the indexes of older revisions that are in use.
type pasts struct {
	kept atomic.Int32 // length of list

	mu       sync.Mutex // guards the rest
	list     []pastRoot // the one used last comes last
	asked    []pastAsk  // without an index so far, the newest comes last
	building bool       // one is being made; others do without meanwhile
	group    uint64     // of the last one
}

// find returns the index of a revision that lies far revisions back. If there
// is none yet, toMake says that it was asked for often enough and the caller is
// to make it, if mayMake allows that; the caller then calls made.
func (p *pasts) find(rev, far Rev, mayMake bool) (root *node, ok, toMake bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.IndexFunc(p.list, func(r pastRoot) bool { return r.rev == rev }); i >= 0 {
		r := p.list[i]
		p.list = append(slices.Delete(p.list, i, i+1), r)
		return r.root, true, false
	}
	if !mayMake {
		return nil, false, false
	}
	i := slices.IndexFunc(p.asked, func(a pastAsk) bool { return a.rev == rev })
	if i < 0 {
		if len(p.asked) == maxPastAsked {
			p.asked = slices.Delete(p.asked, 0, 1)
		}
		p.asked = append(p.asked, pastAsk{rev: rev, times: 1})
		return nil, false, false
	}
	a := &p.asked[i]
	if a.times++; a.never || p.building || a.times < 2+int64(far)/pastAskRevs {
		return nil, false, false
	}
	p.building = true
	return nil, false, true
}

// made ends what find began. It takes over the index, unless there is none;
// tooFar says that there never will be.
func (p *pasts) made(rev Rev, r *pastRoot, tooFar bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.building = false
	if i := slices.IndexFunc(p.asked, func(a pastAsk) bool { return a.rev == rev }); i >= 0 {
		if p.asked[i].never = tooFar; !tooFar {
			p.asked = slices.Delete(p.asked, i, i+1)
		}
	}
	if r == nil {
		return
	}
	if len(p.list) == maxPastRoots {
		p.list = slices.Delete(p.list, 0, 1)
	}
	p.list = append(p.list, *r)
	p.kept.Store(int32(len(p.list)))
}

// trim drops the indexes that are compacted or too far behind.
func (p *pasts) trim(now *published) {
	if p.kept.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = slices.DeleteFunc(p.list, func(r pastRoot) bool {
		return r.rev < now.compact || r.far+now.changes-r.changes > maxPastChanges
	})
	p.kept.Store(int32(len(p.list)))
}

// pastRoot returns the index of an older revision if it is there or worth
// making.
func (r *reader) pastRoot(ctx context.Context, sp span, rev Rev) (root *node, ok bool, err error) {
	if rev >= r.base {
		return nil, false, nil // of the unpublished group
	}
	p := &r.s.pasts
	worth := r.frozen && sp.kind != spanOne && int64(r.base-rev) <= maxPastChanges
	if !worth && p.kept.Load() == 0 {
		return nil, false, nil
	}
	root, ok, toMake := p.find(rev, r.base-rev, worth)
	if !toMake {
		return root, ok, nil
	}
	var made *pastRoot
	tooFar := false
	defer func() { p.made(rev, made, tooFar) }()
	past, err := r.undo(ctx, rev)
	if tooFar = err == nil && past.far > maxPastChanges; err != nil || tooFar {
		return nil, false, err
	}
	made = &past
	return past.root, true, nil
}

// undo makes the index of an older revision. It gives up where more than
// maxPastChanges have to be undone.
func (r *reader) undo(ctx context.Context, rev Rev) (past pastRoot, err error) {
	p := &r.s.pasts
	p.mu.Lock()
	p.group++
	t := tree{root: r.root, group: pastGroup | p.group}
	p.mu.Unlock()
	past = pastRoot{rev: rev, changes: r.changes}
	var bad error
	err = r.eachChange(ctx, rev, func(c *Event) bool {
		if past.far++; past.far > maxPastChanges {
			return false
		}
		bad = r.undoOne(&t, rev, c)
		return bad == nil
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return pastRoot{}, fmt.Errorf("undo history: %w", err)
	}
	past.root = t.root
	return past, nil
}

// undoOne brings a key back to how it was at rev. The changes come in order:
// the first one after rev names the version that was there; a key that was not
// is removed, unless it was brought back before.
func (r *reader) undoOne(t *tree, rev Rev, c *Event) error {
	switch {
	case c.Prev == Pos{}:
		if it := t.root.get(c.Key); it != nil && it.Mod > rev {
			t.remove(c.Key)
		}
		return nil
	case c.Prev.Rev > rev:
		return nil // not the first change
	}
	kv, ok, err := r.s.stored(c.Key, c.Prev, 0)
	if err != nil {
		return err
	}
	rec, good := parseRecord(kv)
	if !ok || !good || rec.mod != c.Prev.Rev {
		return missing(c.Key)
	}
	t.put(c.Key, func(old *Item) *Item {
		it := &Item{Key: c.Key, Create: rec.create, Mod: rec.mod, Sub: c.Prev.Sub, Version: rec.version, Lease: rec.lease}
		if old != nil {
			it.Key = old.Key
		}
		return it
	})
	return nil
}

// eachChange yields the published changes after a revision, in order. Of what
// is not in the ring only the fields Pos, Delete, Key and Prev are set, and
// they are valid during the call.
func (r *reader) eachChange(ctx context.Context, rev Rev, yield func(c *Event) bool) error {
	if rev >= r.hist.floor {
		r.hist.after(rev, yield)
		return nil
	}
	seen := 0
	var stop error
	var c Event
	err := r.s.eachRevision(rev, r.base, func(at Pos, row storage.Revision) bool {
		if seen++; seen%checkEvery == 0 && ctx.Err() != nil {
			stop = context.Cause(ctx)
			return false
		}
		c.Pos, c.Delete, c.Key, c.Prev = at, row.Delete, row.User, Pos{Rev(row.PrevRev), row.PrevSub}
		return yield(&c)
	})
	if err == nil {
		err = stop
	}
	return err
}
