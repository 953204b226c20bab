package mvcc

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// naive is the sorted slice that the tree must behave like.
type naive []*Item

func (n naive) find(key string) (int, bool) {
	return slices.BinarySearchFunc(n, key, func(it *Item, k string) int { return strings.Compare(it.Key, k) })
}

// treeKey makes keys with long shared prefixes, zero bytes and short ones.
func treeKey(b byte, c byte) string {
	switch b % 4 {
	case 0:
		return fmt.Sprintf("/registry/pods/default/%03d%c", int(b)<<4|int(c)&15, c)
	case 1:
		return string([]byte{b & 0xf0, 0, c})
	case 2:
		return string([]byte{c})
	}
	return fmt.Sprintf("/registry/%d", int(c)*256+int(b))
}

// play runs steps of three bytes against the tree and a slice, keeping an old
// root to prove that it does not change.
func play(t *testing.T, steps []byte) {
	var tr tree
	var want naive
	var frozen tree
	var before naive
	for ; len(steps) >= 3; steps = steps[3:] {
		key := treeKey(steps[1], steps[2])
		i, found := want.find(key)
		switch op := steps[0] % 16; {
		case op == 0: // publish
			frozen, before = tr, slices.Clone(want)
			tr.group++
		case op < 10:
			it := &Item{Key: key}
			tr.put(key, func(old *Item) *Item {
				if (old != nil) != found || found && old != want[i] {
					t.Fatalf("put %q found %v", key, old)
				}
				return it
			})
			if found {
				want[i] = it
			} else {
				want = slices.Insert(want, i, it)
			}
		default:
			old := tr.remove(key)
			if (old != nil) != found || found && old != want[i] {
				t.Fatalf("remove %q found %v", key, old)
			}
			if found {
				want = slices.Delete(want, i, i+1)
			}
		}
	}
	tr.verify()
	compareTree(t, tr.root, want)
	frozen.verify()
	compareTree(t, frozen.root, before)
}

func compareTree(t *testing.T, root *node, want naive) {
	t.Helper()
	if root.size() != len(want) {
		t.Fatalf("size %d, want %d", root.size(), len(want))
	}
	var c cursor
	i := 0
	for c.seek(root, ""); c.item() != nil; c.next() {
		if c.item() != want[i] {
			t.Fatalf("item %d is %q, want %q", i, c.item().Key, want[i].Key)
		}
		i++
	}
	if i != len(want) {
		t.Fatalf("walked %d items, want %d", i, len(want))
	}
	for i := 0; i < len(want); i += 1 + len(want)/17 {
		key := want[i].Key
		if root.get(key) != want[i] || root.get(key+"\x00nope") != nil {
			t.Fatalf("get %q", key)
		}
		if got := root.count(span{lo: key, kind: spanFrom}); got != len(want)-i {
			t.Fatalf("count from %q is %d, want %d", key, got, len(want)-i)
		}
		c.seek(root, key+"\x00")
		if next := c.item(); next != nil && (i+1 == len(want) || next != want[i+1]) || next == nil && i+1 != len(want) {
			t.Fatalf("seek behind %q", key)
		}
		if c.seekIndex(root, i); c.item() != want[i] {
			t.Fatalf("item at %d is not %q", i, key)
		}
	}
	if c.seekIndex(root, len(want)); c.item() != nil {
		t.Fatal("there is an item behind the last one")
	}
}

func TestTreeIsASortedSlice(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 0))
		steps := make([]byte, 3*20_000)
		for i := range steps {
			steps[i] = byte(rng.Uint32())
		}
		if seed%2 == 1 { // mostly removals at the end
			for i := len(steps) / 2; i < len(steps); i += 3 {
				steps[i] |= 8
			}
		}
		play(t, steps)
	}
}

func TestRisingFallingAndEmptiedTrees(t *testing.T) {
	const n = 20_000
	name := func(i int) string { return fmt.Sprintf("key-%08d", i) }
	for _, order := range []string{"rising", "falling"} {
		var tr tree
		var want naive
		for i := range n {
			k := i
			if order == "falling" {
				k = n - 1 - i
			}
			it := &Item{Key: name(k)}
			tr.put(it.Key, func(*Item) *Item { return it })
			want = append(want, it)
			if i%1000 == 0 {
				tr.group++
			}
		}
		if order == "falling" {
			slices.Reverse(want)
		}
		tr.verify()
		compareTree(t, tr.root, want)
		for i := range n {
			if i%777 == 0 {
				tr.group++
				tr.verify()
			}
			if tr.remove(name((i*7919)%n)) == nil {
				t.Fatalf("%s: key %d is missing", order, (i*7919)%n)
			}
		}
		if tr.root != nil || tr.keyBytes != 0 {
			t.Fatalf("the emptied tree has %d items and %d key bytes", tr.root.size(), tr.keyBytes)
		}
	}
}

func TestBuiltTreeIsFullAndGrows(t *testing.T) {
	for _, n := range []int{0, 1, 2, leafMax, leafMax * kidsMax, 100_000} {
		var want naive
		for i := range n {
			want = append(want, &Item{Key: fmt.Sprintf("key-%08d", 2*i)})
		}
		tr := build(slices.Values(want))
		tr.group++
		tr.verify()
		frozen, before := tr.root, slices.Clone(want)
		for i := 0; i < n; i += 3 {
			it := &Item{Key: fmt.Sprintf("key-%08d", 2*i+1)}
			tr.put(it.Key, func(*Item) *Item { return it })
			j, _ := want.find(it.Key)
			if n < 10_000 {
				want = slices.Insert(want, j, it)
			}
		}
		tr.verify()
		if n < 10_000 {
			compareTree(t, tr.root, want)
		}
		compareTree(t, frozen, before)
	}
}

func FuzzTree(f *testing.F) {
	f.Add([]byte("put some keys and remove them again"))
	f.Add([]byte{1, 0, 0, 1, 0, 1, 0, 0, 0, 12, 0, 0, 12, 0, 1})
	f.Fuzz(func(t *testing.T, steps []byte) { play(t, steps) })
}
