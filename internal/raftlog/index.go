package raftlog

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/invariant"
)

// entryOverhead is the bytes that a cached entry takes beside its data.
const entryOverhead = 160

// position tells where an entry's record stands.
type position struct {
	term    uint64
	segment uint64
	offset  uint32
	size    uint32 // of the record without its padding
}

// dataLen returns the bytes of the entry's data.
func (p position) dataLen() int { return int(p.size) - recordHeader - entryFixed }

// index knows the place of every entry behind the prefix and holds the newest
// entries themselves. Log.mu guards it.
type index struct {
	prefix      mark
	pos         []position // pos[i] belongs to entry prefix.index+1+i
	cached      []*raftpb.Entry
	cachedBytes int64
	limit       int64 // bytes of cached
}

func (x *index) last() uint64 { return x.prefix.index + uint64(len(x.pos)) }

// firstCached is the index of the oldest cached entry, last()+1 if there is none.
func (x *index) firstCached() uint64 { return x.last() + 1 - uint64(len(x.cached)) }

func (x *index) at(i uint64) position { return x.pos[i-x.prefix.index-1] }

// put adds entries at the end; a first index that is taken replaces the suffix.
func (x *index) put(entries []*raftpb.Entry, pos []position) {
	first := entries[0].GetIndex()
	invariant.Check(first > x.prefix.index, "entries that are replaced were not compacted")
	if first <= x.last() {
		x.truncate(first)
	}
	x.pos = append(x.pos, pos...)
	x.cached = append(x.cached, entries...)
	for _, e := range entries {
		x.cachedBytes += cost(e)
	}
	drop := 0
	for x.cachedBytes > x.limit && drop < len(x.cached) {
		x.cachedBytes -= cost(x.cached[drop])
		drop++
	}
	x.forget(drop)
}

func cost(e *raftpb.Entry) int64 { return int64(len(e.GetData())) + entryOverhead }

// forget removes the n oldest cached entries, whose cost was subtracted already. The
// slice's unused front is released when append moves it to a new array.
func (x *index) forget(n int) {
	clear(x.cached[:n])
	x.cached = x.cached[n:]
}

// truncate removes entry i and all behind it.
func (x *index) truncate(i uint64) {
	keep := 0
	if first := x.firstCached(); i > first {
		keep = int(i - first)
	}
	for _, e := range x.cached[keep:] {
		x.cachedBytes -= cost(e)
	}
	clear(x.cached[keep:])
	x.cached = x.cached[:keep]
	x.pos = x.pos[:i-x.prefix.index-1]
}

// compact forgets entries up to to, which is not above the last.
func (x *index) compact(to uint64) {
	drop := 0
	for first := x.firstCached(); drop < len(x.cached) && first+uint64(drop) <= to; drop++ {
		x.cachedBytes -= cost(x.cached[drop])
	}
	x.forget(drop)
	term := x.at(to).term
	x.pos = x.pos[to-x.prefix.index:]
	x.prefix = mark{to, term}
}

// firstSegment returns the oldest segment that holds a live entry, or active.
func (x *index) firstSegment(active uint64) uint64 {
	if len(x.pos) == 0 {
		return active
	}
	return x.pos[0].segment
}
