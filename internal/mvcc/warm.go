package mvcc

import (
	"encoding/binary"
	"sort"
	"sync"
	"sync/atomic"
)

// The records of a leaf that ranges keep coming back to are held ready to be
// sent: one piece of memory with the whole leaf's frames, hung on the leaf. A
// leaf never changes once it was published, so the piece is right as long as
// the leaf is reachable, and a write that replaces the leaf needs to tell
// nobody. A range over warm leaves hands out parts of these pieces and copies
// nothing. The road not taken is a larger block cache: finding, checking and
// copying a record of a cached block costs many times what sending it does.

const (
	// DefaultWarmBytes bounds the warm leaves of a store, in bytes.
	DefaultWarmBytes = 64 << 20
	// warmLeafBytes is the length up to which a leaf's frames are kept, in
	// bytes. Above it the values are so large that finding them is cheap
	// beside sending them.
	warmLeafBytes = 256 << 10
	// warmSlack is what a warm leaf costs beside its frames, in bytes.
	warmSlack = 1 << 10
	// warmOneIn is the share of leaves that a full cache takes, one in so many:
	// ranges over more than it can hold then find a part of it each time
	// instead of pushing out what they come back to later.
	warmOneIn = 8
)

// Heat of a leaf: what is known about reading it.
const (
	heatNone  = iota // not yet read by a range
	heatOnce         // read before: the next range makes it warm
	heatLarge        // too large to be kept
)

// warmLeaf is a leaf's records, ready to be sent.
type warmLeaf struct {
	frames []byte   // the records as fields "kvs" of a RangeResponse
	ends   []uint32 // where each item's frame ends
	used   atomic.Bool
}

// from is where the frame of item i begins.
func (w *warmLeaf) from(i int) int {
	if i == 0 {
		return 0
	}
	return int(w.ends[i-1])
}

func (w *warmLeaf) size() int64 { return int64(len(w.frames)) + warmSlack }

// part returns the frames from item from on, up to item to, or until they
// passed the given number of bytes, and how many they are.
func (w *warmLeaf) part(from, to int, bytes int64) (frames []byte, n int) {
	start := w.from(from)
	n = to - from
	if bytes < int64(int(w.ends[to-1])-start) {
		n = 1 + sort.Search(n-1, func(i int) bool { return int64(int(w.ends[from+i])-start) >= bytes })
	}
	end := int(w.ends[from+n-1])
	return w.frames[start:end:end], n
}

// warmth bounds the warm leaves of a store. When it is full, leaves that a
// writer replaced go first, then those that were not read since the hand last
// passed them.
type warmth struct {
	max  int64
	dead atomic.Int64 // bytes of leaves that were replaced and are still listed

	mu     sync.Mutex // guards the rest
	leaves []warmPlace
	hand   int
	bytes  int64
	passed int // leaves that were not taken while it was full
}

// warmPlace is a leaf and what it was given.
type warmPlace struct {
	n *node
	w *warmLeaf
}

// takes reports whether a leaf that asks to become warm shall. Asking has to
// come first, because reading a whole leaf in vain costs more than it saves.
func (h *warmth) takes() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bytes-h.dead.Load() < h.max*(warmOneIn-1)/warmOneIn {
		return true
	}
	h.passed++
	return h.passed%warmOneIn == 0
}

// add hangs w on a leaf, unless another reader was faster or it cannot have
// room.
func (h *warmth) add(n *node, w *warmLeaf) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.size() > h.max || !n.warm.CompareAndSwap(nil, w) {
		return
	}
	// It is listed before room is made, because it may be dead already, and
	// evict looks for the dead until it finds them.
	h.leaves = append(h.leaves, warmPlace{n, w})
	h.bytes += w.size()
	for h.bytes > h.max {
		h.evict()
	}
}

// evict moves the hand on to a leaf that may go, and takes its records away.
func (h *warmth) evict() {
	for {
		h.hand %= len(h.leaves)
		at := h.leaves[h.hand]
		gone := at.n.warm.Load() != at.w
		if !gone && (h.dead.Load() > 0 || at.w.used.Swap(false)) {
			h.hand++
			continue
		}
		if gone || !at.n.warm.CompareAndSwap(at.w, nil) {
			h.dead.Add(-at.w.size()) // replaced, maybe just now
		}
		h.bytes -= at.w.size()
		last := len(h.leaves) - 1
		h.leaves[h.hand] = h.leaves[last]
		h.leaves[last] = warmPlace{}
		h.leaves = h.leaves[:last]
		return
	}
}

// cool takes the records of a leaf that the writer replaces. Who still reads
// the leaf itself finds them in the engine.
func (h *warmth) cool(n *node) {
	if n.warm.Load() == nil {
		return
	}
	if w := n.warm.Swap(nil); w != nil {
		h.dead.Add(w.size())
	}
}

func (h *warmth) size() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bytes
}

// warmed returns the records of a leaf that is to be read. They are nil unless
// the leaf is warm or, where fill is set, was read by a range before.
func (f *fetcher) warmed(n *node, fill bool) (*warmLeaf, error) {
	if w := n.warm.Load(); w != nil {
		if !w.used.Load() {
			w.used.Store(true)
		}
		return w, nil
	}
	if !fill {
		return nil, nil
	}
	if heat := n.heat.Load(); heat != heatOnce {
		if heat == heatNone {
			n.heat.Store(heatOnce)
		}
		return nil, nil
	}
	if !f.s.warm.takes() {
		return nil, nil
	}
	w := &warmLeaf{ends: make([]uint32, 0, len(n.items))}
	w.used.Store(true)
	f.scratch = f.scratch[:0]
	for _, it := range n.items {
		if e := it.event.Load(); e != nil {
			f.scratch = append(f.scratch, e.rangeFrame()...)
		} else {
			kv, err := f.seek(it)
			if err != nil {
				return nil, err
			}
			f.scratch = binary.AppendUvarint(append(f.scratch, tagEventKV), uint64(len(kv)))
			f.scratch = append(f.scratch, kv...)
		}
		if len(f.scratch) > warmLeafBytes {
			n.heat.Store(heatLarge)
			f.placed = false
			return nil, nil
		}
		w.ends = append(w.ends, uint32(len(f.scratch)))
	}
	w.frames = append(make([]byte, 0, len(f.scratch)), f.scratch...)
	f.s.warm.add(n, w)
	return w, nil
}
