package mvcc

import (
	"sort"
	"sync/atomic"

	"github.com/keelson-db/keelson/internal/invariant"
)

const (
	// leafMax is the number of items in a full leaf. A leaf is copied when it
	// is first changed in a group, so it is a trade of that copy against depth.
	leafMax = 64
	// kidsMax is the number of children of a full inner node.
	kidsMax = 64
	// maxHeight bounds the height of the tree, in nodes from root to leaf. The
	// tree grows only by splitting a full root.
	maxHeight = 16
)

// node is a leaf (items) or an inner node (kids). A node whose owner is not
// the tree's current group is frozen: readers may hold it.
type node struct {
	owner  uint64
	items  []*Item  // leaf: in key order
	kids   []*node  // inner: at least one
	counts []int32  // inner: items under each kid
	seps   []string // inner: seps[i] <= every key under kids[i+1], > every key before; replaced, never changed in place
	heads  heads    // of items or seps; those of seps are replaced with them

	warm atomic.Pointer[warmLeaf] // leaf: its records, if they are in memory; of published nodes only
	heat atomic.Uint32            // leaf: whether it was read
}

// setSeps replaces the separators of an owned inner node.
func (n *node) setSeps(seps []string) { n.seps, n.heads = seps, headSeps(seps) }

func (n *node) leaf() bool { return n.kids == nil }

// width is the number of direct entries.
func (n *node) width() int {
	if n.leaf() {
		return len(n.items)
	}
	return len(n.kids)
}

// size is the number of items under the node; nil is an empty tree.
func (n *node) size() int {
	if n == nil {
		return 0
	}
	if n.leaf() {
		return len(n.items)
	}
	sum := 0
	for _, c := range n.counts {
		sum += int(c)
	}
	return sum
}

// find returns the place of the first item not below key in a leaf.
func (n *node) find(key string) (i int, found bool) {
	lo, hi := n.heads.narrow(key)
	end := hi
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if n.items[m].Key < key {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo, lo < end && n.items[lo].Key == key
}

// kid returns the place of the child that holds key.
func (n *node) kid(key string) int {
	lo, hi := n.heads.narrow(key)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if n.seps[m] <= key {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// get returns the item of a key, or nil.
func (n *node) get(key string) *Item {
	if n == nil {
		return nil
	}
	for !n.leaf() {
		n = n.kids[n.kid(key)]
	}
	if i, ok := n.find(key); ok {
		return n.items[i]
	}
	return nil
}

// rank returns the number of items below key.
func (n *node) rank(key string) int {
	if n == nil {
		return 0
	}
	sum := 0
	for !n.leaf() {
		i := n.kid(key)
		for _, c := range n.counts[:i] {
			sum += int(c)
		}
		n = n.kids[i]
	}
	i, _ := n.find(key)
	return sum + i
}

// count returns the number of items in a span.
func (n *node) count(s span) int {
	switch s.kind {
	case spanOne:
		if n.get(s.lo) != nil {
			return 1
		}
	case spanRange:
		return n.rank(s.hi) - n.rank(s.lo)
	case spanFrom:
		return n.size() - n.rank(s.lo)
	}
	return 0
}

// tree is the writer's view of the index. Nodes that this group already
// copied carry its number and are changed in place; all others are copied
// first, so every root that was published stays as it was.
type tree struct {
	root     *node
	group    uint64
	keyBytes int64 // sum of the keys' lengths
	// warm is told of leaves that are replaced; nil where they live on.
	warm *warmth
}

// own returns n, or a copy of it that this group may change.
func (t *tree) own(n *node) *node {
	if n.owner == t.group {
		return n
	}
	if n.leaf() {
		items := make([]*Item, len(n.items), roomFor(len(n.items)))
		copy(items, n.items)
		c := &node{owner: t.group, items: items, heads: n.heads.share()}
		c.heat.Store(n.heat.Load())
		if t.warm != nil {
			t.warm.cool(n)
		}
		return c
	}
	return &node{
		owner:  t.group,
		kids:   append(make([]*node, 0, len(n.kids)), n.kids...),
		counts: append(make([]int32, 0, len(n.counts)), n.counts...),
		seps:   n.seps,
		heads:  n.heads,
	}
}

// roomFor leaves space for some inserts without wasting a full leaf's memory
// on a part-filled one.
func roomFor(n int) int { return min(leafMax+1, (n+9)&^7) }

// put replaces or inserts the item of a key: fill gets the old item or nil and
// returns the new one, whose key equals key.
func (t *tree) put(key string, fill func(old *Item) *Item) {
	if t.root == nil {
		t.root = &node{owner: t.group}
	}
	t.root = t.own(t.root)
	_, right, sep := t.insert(t.root, key, fill, true)
	if right != nil {
		left := t.root
		t.root = &node{owner: t.group, kids: []*node{left, right}, counts: []int32{int32(left.size()), int32(right.size())}}
		t.root.setSeps([]string{sep})
	}
}

// insert works on an owned node. It returns the new right half if the node
// had to be split, and the bound between the halves. last says that the node
// lies on the right edge of the tree.
func (t *tree) insert(n *node, key string, fill func(*Item) *Item, last bool) (added bool, right *node, sep string) {
	if n.leaf() {
		i, found := n.find(key)
		if found {
			n.items[i] = fill(n.items[i])
			return false, nil, ""
		}
		it := fill(nil)
		t.keyBytes += int64(len(it.Key))
		n.items = insertAt(n.items, i, it)
		if len(n.items) > 1 && n.heads.fits(it.Key) {
			n.heads.own(cap(n.items))
			n.heads.list = insertAt(n.heads.list, i, headOf(it.Key[len(n.heads.prefix):]))
		} else {
			n.reheadLeaf()
		}
		if len(n.items) <= leafMax {
			return true, nil, ""
		}
		right = t.splitLeaf(n, last && i == len(n.items)-1)
		return true, right, right.items[0].Key
	}
	i := n.kid(key)
	kid := t.own(n.kids[i])
	n.kids[i] = kid
	added, half, bound := t.insert(kid, key, fill, last && i == len(n.kids)-1)
	if added {
		n.counts[i]++
	}
	if half == nil {
		return added, nil, ""
	}
	moved := int32(half.size())
	n.counts[i] -= moved
	n.kids = insertAt(n.kids, i+1, half)
	n.counts = insertAt(n.counts, i+1, moved)
	n.setSeps(insertAt(append(make([]string, 0, len(n.seps)+1), n.seps...), i, bound))
	if len(n.kids) <= kidsMax {
		return added, nil, ""
	}
	right, sep = t.splitInner(n)
	return added, right, sep
}

// splitLeaf cuts a leaf in half; when keys arrive in rising order it leaves
// the full leaf alone, so that such a tree is full and not half empty.
func (t *tree) splitLeaf(n *node, rising bool) *node {
	at := len(n.items) / 2
	if rising {
		at = len(n.items) - 1
	}
	right := &node{owner: t.group, items: append(make([]*Item, 0, roomFor(len(n.items)-at)), n.items[at:]...)}
	clear(n.items[at:])
	n.items = n.items[:at]
	n.reheadLeaf()
	right.reheadLeaf()
	return right
}

func (t *tree) splitInner(n *node) (right *node, sep string) {
	at := len(n.kids) / 2
	right = &node{
		owner:  t.group,
		kids:   append([]*node(nil), n.kids[at:]...),
		counts: append([]int32(nil), n.counts[at:]...),
	}
	right.setSeps(append([]string(nil), n.seps[at:]...))
	sep = n.seps[at-1]
	clear(n.kids[at:])
	n.kids, n.counts = n.kids[:at], n.counts[:at]
	n.setSeps(append([]string(nil), n.seps[:at-1]...))
	return right, sep
}

func insertAt[T any](s []T, i int, v T) []T {
	var zero T
	s = append(s, zero)
	copy(s[i+1:], s[i:])
	s[i] = v
	return s
}

// build makes a tree of items that are sorted and distinct.
func build(items func(yield func(*Item) bool)) tree {
	const fill = leafMax * 7 / 8 // room for some inserts before the first split
	var t tree
	var level []*node
	var firsts []string
	var leaf *node
	items(func(it *Item) bool {
		if leaf == nil || len(leaf.items) == fill {
			if leaf != nil {
				leaf.reheadLeaf()
			}
			leaf = &node{items: make([]*Item, 0, leafMax)}
			level = append(level, leaf)
			firsts = append(firsts, it.Key)
		}
		leaf.items = append(leaf.items, it)
		t.keyBytes += int64(len(it.Key))
		return true
	})
	if leaf != nil {
		leaf.reheadLeaf()
	}
	for len(level) > 1 {
		level, firsts = stack(level, firsts)
	}
	if len(level) == 1 {
		t.root = level[0]
	}
	return t
}

// stack builds the level above one.
func stack(level []*node, firsts []string) (above []*node, aboveFirsts []string) {
	const fill = kidsMax * 7 / 8
	for len(level) > 0 {
		k := min(fill, len(level))
		n := &node{
			kids:   append([]*node(nil), level[:k]...),
			counts: make([]int32, k),
		}
		n.setSeps(append([]string(nil), firsts[1:k]...))
		for i, kid := range n.kids {
			n.counts[i] = int32(kid.size())
		}
		above = append(above, n)
		aboveFirsts = append(aboveFirsts, firsts[0])
		level, firsts = level[k:], firsts[k:]
	}
	return above, aboveFirsts
}

// verify checks the tree's whole structure; tests use it.
func (t *tree) verify() {
	var keys []string
	var walk func(n *node, depth int) int
	walk = func(n *node, depth int) int {
		invariant.Check(depth < maxHeight, "the tree is not higher than its bound")
		invariant.Check(n.width() > 0, "no node is empty")
		if n.leaf() {
			invariant.Check(len(n.items) <= leafMax, "a leaf holds at most its maximum")
			invariant.Check(len(n.heads.list) == len(n.items), "a leaf has a head for each item")
			for i, it := range n.items {
				invariant.Check(n.heads.fits(it.Key) && n.heads.list[i] == headOf(it.Key[len(n.heads.prefix):]),
					"a head is the start of its key")
				keys = append(keys, it.Key)
			}
			return len(n.items)
		}
		invariant.Check(len(n.kids) <= kidsMax && len(n.counts) == len(n.kids) && len(n.seps) == len(n.kids)-1 &&
			len(n.heads.list) == len(n.seps),
			"an inner node's parts agree")
		sum := 0
		for i, kid := range n.kids {
			from := len(keys)
			got := walk(kid, depth+1)
			invariant.Check(got == int(n.counts[i]), "a count is the number of items below")
			invariant.Check(i == 0 || keys[from] >= n.seps[i-1], "a bound is not above the keys it bounds")
			invariant.Check(i == len(n.seps) || keys[len(keys)-1] < n.seps[i], "a bound is above the keys before it")
			sum += got
		}
		return sum
	}
	if t.root != nil {
		walk(t.root, 0)
	}
	invariant.Check(sort.StringsAreSorted(keys), "keys are in order")
}
