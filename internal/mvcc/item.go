package mvcc

import (
	"sync/atomic"
	"unsafe"
)

// Item is a live key's metadata in the index. It never changes, but for the
// pointer to its recent event.
type Item struct {
	Key         string
	Create, Mod Rev
	Version     int64
	Lease       int64
	// event holds the newest record's bytes while they are in the ring, nil
	// afterwards. The writer sets it before the item becomes visible and clears
	// it on eviction; readers load it once and keep what they got.
	event atomic.Pointer[Event]
	Sub   int32
}

// Pos is the position of the item's newest version.
func (it *Item) Pos() Pos { return Pos{it.Mod, it.Sub} }

// itemBytes estimates the memory of one item and its place in the tree,
// without its key, in bytes.
const itemBytes = int64(unsafe.Sizeof(Item{})) + 12

// borrow views bytes as a string for the length of a lookup. The index
// compares keys as strings and keeps none that it was only asked for, so the
// bytes need not be copied; they must not change meanwhile.
func borrow(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
