package watch

import (
	"math/rand/v2"
	"strings"
)

// upper is the end of a range; open means that it has none.
type upper struct {
	key  string
	open bool
}

func (u upper) compare(v upper) int {
	switch {
	case u.open && v.open:
		return 0
	case u.open:
		return 1
	case v.open:
		return -1
	}
	return strings.Compare(u.key, v.key)
}

// covers reports whether key lies before the end.
func (u upper) covers(key string) bool { return u.open || key < u.key }

// group is all watchers of one and the same range.
type group struct {
	from    string
	to      upper
	point   bool // a single key: from is the key and to is unused
	members []*watcher

	// The rest places the group in the treap of ranges: ordered by (from, to), heap-ordered by rank, with
	// the largest end below each node so that a search leaves out what ends too early.
	rank        uint64
	left, right *group
	reach       upper
}

// ranges finds the groups that want a key: single keys by a map, ranges by an
// interval tree. The tree is a treap, because it needs no rebalancing cases
// and the order of inserts, which clients choose, cannot degrade it.
type ranges struct {
	points map[string]*group
	root   *group
	rng    *rand.Rand
}

func newRanges(rng *rand.Rand) *ranges {
	return &ranges{points: make(map[string]*group), rng: rng}
}

// add puts the watcher into the group of its range. The watcher's seat belongs to one ranges at a time.
func (r *ranges) add(w *watcher) {
	g := r.find(w)
	if g == nil {
		g = r.insert(w)
	}
	w.group, w.slot = g, len(g.members)
	g.members = append(g.members, w)
}

// remove takes the watcher out and drops its group when it was the last.
func (r *ranges) remove(w *watcher) {
	g, last := w.group, len(w.group.members)-1
	moved := g.members[last]
	g.members[w.slot] = moved
	moved.slot = w.slot
	g.members[last] = nil
	g.members = g.members[:last]
	w.group = nil
	if last > 0 {
		return
	}
	if g.point {
		delete(r.points, g.from)
		return
	}
	r.root = remove(r.root, g)
}

// match appends the groups that want key to buf.
func (r *ranges) match(key string, buf []*group) []*group {
	if g := r.points[key]; g != nil {
		buf = append(buf, g)
	}
	return stab(r.root, key, buf)
}

func (r *ranges) find(w *watcher) *group {
	if w.point {
		return r.points[w.from]
	}
	n := r.root
	for n != nil {
		c := n.compare(w.from, w.to)
		if c == 0 {
			return n
		}
		if c > 0 {
			n = n.left
		} else {
			n = n.right
		}
	}
	return nil
}

func (r *ranges) insert(w *watcher) *group {
	g := &group{from: w.from, to: w.to, point: w.point, reach: w.to}
	if g.point {
		r.points[g.from] = g
		return g
	}
	g.rank = r.rng.Uint64()
	r.root = insert(r.root, g)
	return g
}

// compare orders the node against the range (from, to).
func (g *group) compare(from string, to upper) int {
	if c := strings.Compare(g.from, from); c != 0 {
		return c
	}
	return g.to.compare(to)
}

// measure recomputes the largest end below the node from its children.
func (g *group) measure() {
	g.reach = g.to
	if g.left != nil && g.left.reach.compare(g.reach) > 0 {
		g.reach = g.left.reach
	}
	if g.right != nil && g.right.reach.compare(g.reach) > 0 {
		g.reach = g.right.reach
	}
}

func insert(n, g *group) *group {
	if n == nil {
		return g
	}
	if g.rank > n.rank {
		g.left, g.right = split(n, g)
		g.measure()
		return g
	}
	if n.compare(g.from, g.to) > 0 {
		n.left = insert(n.left, g)
	} else {
		n.right = insert(n.right, g)
	}
	n.measure()
	return n
}

// split divides the subtree into what comes before and what comes after the range of g.
func split(n, g *group) (before, after *group) {
	if n == nil {
		return nil, nil
	}
	if n.compare(g.from, g.to) > 0 {
		before, n.left = split(n.left, g)
		n.measure()
		return before, n
	}
	n.right, after = split(n.right, g)
	n.measure()
	return n, after
}

func remove(n, g *group) *group {
	if n == g {
		return join(n.left, n.right)
	}
	if n.compare(g.from, g.to) > 0 {
		n.left = remove(n.left, g)
	} else {
		n.right = remove(n.right, g)
	}
	n.measure()
	return n
}

// join makes one subtree of two, where all of a comes before all of b.
func join(a, b *group) *group {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	if a.rank > b.rank {
		a.right = join(a.right, b)
		a.measure()
		return a
	}
	b.left = join(a, b.left)
	b.measure()
	return b
}

// stab collects the ranges that contain key.
func stab(n *group, key string, buf []*group) []*group {
	for n != nil && n.reach.covers(key) {
		buf = stab(n.left, key, buf)
		if n.from > key {
			return buf // everything to the right begins later still
		}
		if n.to.covers(key) {
			buf = append(buf, n)
		}
		n = n.right
	}
	return buf
}
