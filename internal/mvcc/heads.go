package mvcc

// heads make searching a node cheap for the processor's caches. Keys lie all
// over memory, so a plain binary search waits for memory at each step. A head
// is the four bytes of a key behind the prefix that all keys of the node
// share; the heads of a node are one short array, and usually one whole key
// is left to look at.
type heads struct {
	prefix string   // shared by all keys; not always the longest one
	list   []uint32 // in the order of the keys
	shared bool     // with a node that readers may hold: the list is copied before it is changed
}

// share returns the heads of a copy of a leaf. Most copies only get another version of a key that they have.
func (h *heads) share() heads { return heads{prefix: h.prefix, list: h.list, shared: true} }

// own makes the list one that may be changed, with room for so many.
func (h *heads) own(room int) {
	if h.shared {
		h.list = append(make([]uint32, 0, room), h.list...)
		h.shared = false
	}
}

// headOf returns the first four bytes of s as a number, zeroes behind its end,
// so that a smaller string never has a larger head.
func headOf(s string) uint32 {
	if len(s) >= 4 {
		return uint32(s[0])<<24 | uint32(s[1])<<16 | uint32(s[2])<<8 | uint32(s[3])
	}
	var h uint32
	for i := range len(s) {
		h |= uint32(s[i]) << (24 - 8*i)
	}
	return h
}

// narrow returns the keys that may be equal to key: all before lo are
// smaller, all from hi on are larger.
func (h *heads) narrow(key string) (lo, hi int) {
	n := len(h.prefix)
	if len(key) < n || key[:n] != h.prefix {
		if key < h.prefix {
			return 0, 0
		}
		return len(h.list), len(h.list)
	}
	want := headOf(key[n:])
	lo, hi = 0, len(h.list)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if h.list[m] < want {
			lo = m + 1
		} else {
			hi = m
		}
	}
	for hi = lo; hi < len(h.list) && h.list[hi] == want; hi++ {
	}
	return lo, hi
}

// fits reports whether key shares the prefix.
func (h *heads) fits(key string) bool {
	return len(key) >= len(h.prefix) && key[:len(h.prefix)] == h.prefix
}

func sharedPrefix(a, b string) string {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return a[:i]
		}
	}
	return a[:n]
}

// reheadLeaf computes a leaf's heads anew. Its first and last key share what
// all share.
func (n *node) reheadLeaf() {
	if len(n.items) == 0 {
		n.heads = heads{}
		return
	}
	n.heads.prefix = sharedPrefix(n.items[0].Key, n.items[len(n.items)-1].Key)
	if n.heads.shared || cap(n.heads.list) < len(n.items) || cap(n.heads.list) > leafMax+1 {
		n.heads.list, n.heads.shared = make([]uint32, 0, cap(n.items)), false
	}
	list := n.heads.list[:0]
	for _, it := range n.items {
		list = append(list, headOf(it.Key[len(n.heads.prefix):]))
	}
	n.heads.list = list
}

// headSeps returns the heads of an inner node's separators.
func headSeps(seps []string) heads {
	if len(seps) == 0 {
		return heads{}
	}
	h := heads{prefix: sharedPrefix(seps[0], seps[len(seps)-1]), list: make([]uint32, len(seps))}
	for i, s := range seps {
		h.list[i] = headOf(s[len(h.prefix):])
	}
	return h
}
