package watch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// naiveMatch is what the tree must agree with: ask everybody.
func naiveMatch(all []*watcher, key string) []int64 {
	var ids []int64
	for _, w := range all {
		if w.point && w.from == key || !w.point && w.from <= key && w.to.covers(key) {
			ids = append(ids, w.id)
		}
	}
	slices.Sort(ids)
	return ids
}

func treeMatch(r *ranges, key string) []int64 {
	var ids []int64
	for _, g := range r.match(key, nil) {
		for _, w := range g.members {
			ids = append(ids, w.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// checkTree verifies order, rank and reach of every node.
func checkTree(t *testing.T, n *group) {
	t.Helper()
	if n == nil {
		return
	}
	if len(n.members) == 0 {
		t.Fatalf("group [%q,%v) is empty and still in the tree", n.from, n.to)
	}
	reach := n.to
	for _, c := range []*group{n.left, n.right} {
		if c == nil {
			continue
		}
		checkTree(t, c)
		if c.rank > n.rank {
			t.Fatal("a child ranks above its parent")
		}
		if c.reach.compare(reach) > 0 {
			reach = c.reach
		}
	}
	if n.left != nil && n.left.compare(n.from, n.to) >= 0 || n.right != nil && n.right.compare(n.from, n.to) <= 0 {
		t.Fatal("a child stands on the wrong side")
	}
	if reach.compare(n.reach) != 0 {
		t.Fatalf("reach of [%q,%v) is %v, want %v", n.from, n.to, n.reach, reach)
	}
}

// FuzzMatchTreeAgreesWithNaiveList reads the input as a program of adds, removes and questions.
func FuzzMatchTreeAgreesWithNaiveList(f *testing.F) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		prog := make([]byte, 300)
		for i := range prog {
			prog[i] = byte(rng.Uint32())
		}
		f.Add(prog)
	}
	f.Fuzz(func(t *testing.T, prog []byte) {
		r := newRanges(rand.New(rand.NewPCG(1, 2)))
		var all []*watcher
		var id int64
		word := func(b byte) []byte { // few and short words, so that ranges meet
			return []byte("abcabc")[b%3 : b%3+1+b/3%3]
		}
		for ; len(prog) >= 3; prog = prog[3:] {
			op, a, b := prog[0], prog[1], prog[2]
			if op%4 == 0 && len(all) > 0 {
				i := int(a) % len(all)
				r.remove(all[i])
				all = slices.Delete(all, i, i+1)
			} else {
				c := Create{Key: word(a), End: word(b)}
				switch op % 8 {
				case 1:
					c.End = nil
				case 2:
					c.End = []byte{0}
				case 3:
					c.Key = nil
				}
				w, ok := newWatcher(nil, c)
				if !ok {
					continue
				}
				id++
				w.id = id
				r.add(w)
				all = append(all, w)
			}
			checkTree(t, r.root)
			for _, key := range []string{"\x00", "a", "ab", "abc", "b", "bca", "c", "ca", "cab", "d", ""} {
				if got, want := treeMatch(r, key), naiveMatch(all, key); !slices.Equal(got, want) {
					t.Fatalf("key %q: tree says %v, list says %v", key, got, want)
				}
			}
		}
		for _, w := range all {
			r.remove(w)
		}
		if r.root != nil || len(r.points) != 0 {
			t.Fatal("the tree is not empty after everybody left")
		}
	})
}

func BenchmarkMatchAmong10000Ranges(b *testing.B) {
	r := newRanges(rand.New(rand.NewPCG(1, 2)))
	for i := range 10000 {
		w, _ := newWatcher(nil, Create{Key: fmt.Appendf(nil, "/r/%05d/", i), End: fmt.Appendf(nil, "/r/%05d0", i)})
		r.add(w)
	}
	var buf []*group
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprintf("/r/%05d/x", i*7)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		buf = r.match(keys[i%len(keys)], buf[:0])
		if len(buf) != 1 {
			b.Fatal(len(buf))
		}
	}
}
