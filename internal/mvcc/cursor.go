package mvcc

import "github.com/keelson-db/keelson/internal/invariant"

// cursor walks the items of a root in key order. It lives on the stack of its
// user and stays valid as long as the root does not change, which for a
// published root is always.
type cursor struct {
	leaf  *node
	at    int
	depth int
	path  [maxHeight]step
}

type step struct {
	n *node
	i int
}

func (c *cursor) push(n *node, i int) {
	invariant.Check(c.depth < maxHeight, "the tree is not higher than its bound")
	c.path[c.depth] = step{n, i}
	c.depth++
}

// seek moves to the first item not below key.
func (c *cursor) seek(root *node, key string) {
	c.leaf, c.depth = nil, 0
	n := root
	if n == nil {
		return
	}
	for !n.leaf() {
		i := n.kid(key)
		c.push(n, i)
		n = n.kids[i]
	}
	c.leaf = n
	c.at, _ = n.find(key)
	c.settle()
}

// seekIndex moves to the item with i items before it.
func (c *cursor) seekIndex(root *node, i int) {
	c.leaf, c.depth = nil, 0
	n := root
	if n == nil {
		return
	}
	for !n.leaf() {
		k := 0
		for k < len(n.kids)-1 && i >= int(n.counts[k]) {
			i -= int(n.counts[k])
			k++
		}
		c.push(n, k)
		n = n.kids[k]
	}
	c.leaf, c.at = n, i
	c.settle()
}

// item returns the item under the cursor, or nil behind the last one.
func (c *cursor) item() *Item {
	if c.leaf == nil {
		return nil
	}
	return c.leaf.items[c.at]
}

func (c *cursor) next() { c.skip(1) }

// skip moves on by n items, at most to the end of the leaf.
func (c *cursor) skip(n int) {
	c.at += n
	c.settle()
}

// settle moves from the end of a leaf to the start of the next.
func (c *cursor) settle() {
	for c.leaf != nil && c.at >= len(c.leaf.items) {
		c.leaf = nil
		for c.depth > 0 {
			top := &c.path[c.depth-1]
			if top.i+1 < len(top.n.kids) {
				top.i++
				n := top.n.kids[top.i]
				for !n.leaf() {
					c.push(n, 0)
					n = n.kids[0]
				}
				c.leaf, c.at = n, 0
				break
			}
			c.depth--
		}
	}
}
