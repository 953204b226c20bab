package mvcc

const (
	// leafMin and kidsMin are the widths below which a node is joined with a
	// neighbour if both fit into one with room to spare.
	leafMin = leafMax / 4
	kidsMin = kidsMax / 4
)

// remove deletes the item of a key and returns it, or nil.
func (t *tree) remove(key string) *Item {
	old := t.root.get(key)
	if old == nil {
		return nil // without copying anything
	}
	t.keyBytes -= int64(len(old.Key))
	t.root = t.own(t.root)
	t.removeIn(t.root, key)
	for !t.root.leaf() && len(t.root.kids) == 1 {
		t.root = t.root.kids[0]
	}
	if t.root.width() == 0 {
		t.root = nil
	}
	return old
}

func (t *tree) removeIn(n *node, key string) {
	if n.leaf() {
		i, _ := n.find(key)
		n.items = removeAt(n.items, i)
		n.heads.own(cap(n.items))
		n.heads.list = removeAt(n.heads.list, i)
		return
	}
	i := n.kid(key)
	kid := t.own(n.kids[i])
	n.kids[i] = kid
	t.removeIn(kid, key)
	n.counts[i]--
	switch {
	case kid.width() == 0:
		n.drop(i)
	case kid.leaf() && len(kid.items) < leafMin || !kid.leaf() && len(kid.kids) < kidsMin:
		t.join(n, i)
	}
}

// drop removes the empty child i. The tree's shape has no minimum width, so
// this may leave the node itself empty, and the level above drops it.
func (n *node) drop(i int) {
	n.kids = removeAt(n.kids, i)
	n.counts = removeAt(n.counts, i)
	if len(n.seps) > 0 {
		n.setSeps(removeAt(append([]string(nil), n.seps...), max(i-1, 0)))
	}
}

// join merges child i with a neighbour, if there is one and both fit into
// three quarters of a node; otherwise the child stays small.
func (t *tree) join(n *node, i int) {
	if i == len(n.kids)-1 {
		i--
	}
	if i < 0 {
		return
	}
	l, r := n.kids[i], n.kids[i+1]
	limit := kidsMax
	if l.leaf() {
		limit = leafMax
	}
	if l.width()+r.width() > limit*3/4 {
		return
	}
	l = t.own(l)
	if l.leaf() {
		l.items = append(l.items, r.items...)
		l.reheadLeaf()
	} else {
		l.kids = append(l.kids, r.kids...)
		l.counts = append(l.counts, r.counts...)
		l.setSeps(append(append(append(make([]string, 0, len(l.kids)-1), l.seps...), n.seps[i]), r.seps...))
	}
	n.kids[i] = l
	n.counts[i] += n.counts[i+1]
	n.kids = removeAt(n.kids, i+1)
	n.counts = removeAt(n.counts, i+1)
	n.setSeps(removeAt(append([]string(nil), n.seps...), i))
}

// removeAt shortens an owned slice in place.
func removeAt[T any](s []T, i int) []T {
	copy(s[i:], s[i+1:])
	var zero T
	s[len(s)-1] = zero
	return s[:len(s)-1]
}
