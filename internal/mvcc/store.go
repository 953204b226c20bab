package mvcc

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/keelson-db/keelson/internal/storage"
)

// Options bound the ring of recent events and the records that are kept ready
// to be sent; zero means the named defaults.
type Options struct {
	HistoryBytes  int64
	HistoryEvents int
	WarmBytes     int64
	// HashCompactions computes the hash of every compaction when it has ended,
	// however many keys there are.
	HashCompactions bool
}

func (o Options) withDefaults() Options {
	if o.HistoryBytes <= 0 {
		o.HistoryBytes = DefaultHistoryBytes
	}
	if o.HistoryEvents <= 0 {
		o.HistoryEvents = DefaultHistoryEvents
	}
	if o.WarmBytes <= 0 {
		o.WarmBytes = DefaultWarmBytes
	}
	return o
}

// published is a state of the store as readers see it. It is immutable, and
// all of it becomes visible at once.
type published struct {
	root     *node
	keyBytes int64
	rev      Rev
	compact  Rev
	written  int64 // bytes of all versions ever written
	hist     history
	changes  int64         // published since the store was opened
	changed  chan struct{} // closed by the next publication
	due      []compaction  // asked for and maybe not swept; replaced and never changed
}

// Store is the multi-version store.
type Store struct {
	engine *storage.Engine
	opts   Options

	pub atomic.Pointer[published]
	gen atomic.Pointer[generation]

	writer Writer // one group at a time
	sweep  sweeper
	hashes hashes
	joiner func() *storage.Joiner // made at first use

	chunks sync.Pool // of *chunk
	warm   warmth
	pasts  pasts

	// prevBytes is what frames with previous records add to the ring.
	prevBytes atomic.Int64
	// gone marks an evicted event's withPrev, so that nothing is accounted to
	// the ring for it any more.
	gone *[]byte
}

// Changed returns a channel that is closed at the next Publish that changed
// the revision or the compact revision. Take it before looking at the state
// that it speaks of.
func (s *Store) Changed() <-chan struct{} { return s.pub.Load().changed }

// Stats are figures of the store.
type Stats struct {
	Keys, IndexBytes            int64 // live keys, and an estimate of the index's memory
	HistoryEvents, HistoryBytes int64 // the ring
	Rev, CompactRev, SweptRev   Rev
	// Bytes is the size of everything that is kept, live keys and history, as it counts for the quota. It
	// follows from the commands and the sweeps alone and not from how the engine stores them.
	Bytes int64
}

// Stats returns the published state's figures.
func (s *Store) Stats() Stats {
	p := s.pub.Load()
	keys := int64(p.root.size())
	return Stats{
		Keys: keys, IndexBytes: keys*itemBytes + p.keyBytes,
		HistoryEvents: int64(p.hist.events), HistoryBytes: p.hist.bytes + s.prevBytes.Load(),
		Rev: p.rev, CompactRev: p.compact, SweptRev: Rev(s.sweep.swept.Load()),
		Bytes: s.Bytes(),
	}
}

// Bytes is the size of everything that is kept; see Stats. It is cheap enough for every put.
func (s *Store) Bytes() int64 { return max(s.pub.Load().written-s.sweep.removed.Load(), 0) }

// Leased yields the published live keys that have a lease, in key order.
func (s *Store) Leased(yield func(key string, lease int64) bool) {
	var c cursor
	for c.seek(s.pub.Load().root, ""); c.item() != nil; c.next() {
		if it := c.item(); it.Lease != 0 && !yield(it.Key, it.Lease) {
			return
		}
	}
}

// bytes returns the newest record of an item, from memory or the engine. The
// caller must not change it.
func (s *Store) bytes(it *Item) ([]byte, error) {
	if e := it.event.Load(); e != nil {
		return e.KV, nil
	}
	kv, ok, err := s.stored(it.Key, it.Pos(), 0)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, missing(it.Key)
	}
	return kv, nil
}

// stored reads the record at a position from the engine, behind pad free
// bytes. An empty record, a tombstone, counts as none.
func (s *Store) stored(key string, at Pos, pad int) (buf []byte, ok bool, err error) {
	var space [128]byte
	k := storage.AppendRecordKey(space[:0], key, int64(at.Rev), at.Sub)
	buf, ok, err = s.engine.GetPadded(k, pad)
	if err != nil {
		return nil, false, fmt.Errorf("read record: %w", err)
	}
	return buf, ok && len(buf) > pad, nil
}

// missing says that the index names a record that the engine does not have.
func missing(key string) error {
	return &storage.DamagedError{Table: "records", Key: []byte(key), Why: "the index names a record that is not there"}
}
