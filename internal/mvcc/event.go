package mvcc

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/keelson-db/keelson/internal/invariant"
	"github.com/keelson-db/keelson/internal/storage"
)

// Wire tags around a record.
const (
	tagEvents    = 11<<3 | 2 // WatchResponse.events
	tagEventType = 1<<3 | 0  // Event.type
	tagEventKV   = 2<<3 | 2  // Event.kv; RangeResponse.kvs has the same tag
	tagEventPrev = 3<<3 | 2  // Event.prev_kv
	typeDelete   = 1
)

// eventBytes is what an event costs in memory beside its frame, in bytes: the
// struct, its item, its place in the ring and allocation slack.
const eventBytes = 256

// Event is one change. It is shared by history, by watchers, and as cache of
// the newest record by the index; it never changes after it was made.
type Event struct {
	Pos    Pos
	Delete bool
	Key    string
	KV     []byte // encoded mvccpb.KeyValue; of a delete {key, mod_revision}; the end of frame
	Prev   Pos    // position of the version it replaced; zero if the key did not exist

	frame  []byte // the whole wire field without the previous record
	prevKV []byte // record before this revision, if it was in memory when this was made

	// withPrev is the wire field with the previous record, made at first use.
	withPrev atomic.Pointer[[]byte]
	// item is the index entry that points here, for clearing its pointer on
	// eviction. The writer alone reads it.
	item *Item
	// ringed says that the event belongs to the ring, which accounts for it.
	ringed bool
}

// Create reports whether the event is a put that created its key.
func (e *Event) Create() bool { return !e.Delete && e.Prev == Pos{} }

// delta is the change of the number of live keys.
func (e *Event) delta() int64 {
	switch {
	case e.Delete:
		return -1
	case e.Create():
		return 1
	}
	return 0
}

// sum is the sum of the record as etcd stores it: a tombstone holds the key
// and nothing else, which is how the record of a delete begins.
func (e *Event) sum() (s storage.Sum) {
	kv := e.KV
	if e.Delete {
		kv = kv[:bytesLen(len(e.Key))]
	}
	s.Write(kv)
	return s
}

// size is the event's share of the ring's bytes.
func (e *Event) size() int64 { return int64(len(e.frame)) + eventBytes }

// rangeFrame returns the record as a field "kvs" of a RangeResponse, which is
// the end of the event's own encoding.
func (e *Event) rangeFrame() []byte {
	return e.frame[len(e.frame)-len(e.KV)-varintLen(uint64(len(e.KV)))-1:]
}

// newFrame allocates an event's wire field up to where the record goes.
func newFrame(kvLen int, del bool) []byte {
	body := 1 + varintLen(uint64(kvLen)) + kvLen
	if del {
		body += 2
	}
	f := make([]byte, 0, 1+varintLen(uint64(body))+body)
	f = binary.AppendUvarint(append(f, tagEvents), uint64(body))
	if del {
		f = append(f, tagEventType, typeDelete)
	}
	return binary.AppendUvarint(append(f, tagEventKV), uint64(kvLen))
}

// newPut makes the event of a put.
func newPut(it *Item, value []byte, prev Pos) *Event {
	n := recordLen(len(it.Key), len(value), it.Create, it.Mod, it.Version, it.Lease)
	f := newFrame(n, false)
	f = appendRecord(f, it.Key, value, it.Create, it.Mod, it.Version, it.Lease)
	return &Event{Pos: it.Pos(), Key: it.Key, KV: f[len(f)-n:], Prev: prev, frame: f}
}

// newDelete makes the event of a delete.
func newDelete(key string, at, prev Pos) *Event {
	n := recordLen(len(key), 0, 0, at.Rev, 0, 0)
	f := newFrame(n, true)
	f = appendRecord(f, key, nil, 0, at.Rev, 0, 0)
	return &Event{Pos: at, Delete: true, Key: key, KV: f[len(f)-n:], Prev: prev, frame: f}
}

// storedPut makes the event of a put from its stored record.
func storedPut(key string, kv []byte, at, prev Pos) *Event {
	f := append(newFrame(len(kv), false), kv...)
	return &Event{Pos: at, Key: key, KV: f[len(f)-len(kv):], Prev: prev, frame: f}
}

// withPrevFrame encodes the event with its previous record.
func (e *Event) withPrevFrame(prev []byte) []byte {
	body := 1 + varintLen(uint64(len(e.KV))) + len(e.KV) + 1 + varintLen(uint64(len(prev))) + len(prev)
	if e.Delete {
		body += 2
	}
	f := make([]byte, 0, 1+varintLen(uint64(body))+body)
	f = binary.AppendUvarint(append(f, tagEvents), uint64(body))
	if e.Delete {
		f = append(f, tagEventType, typeDelete)
	}
	f = append(f, e.rangeFrame()...)
	f = binary.AppendUvarint(append(f, tagEventPrev), uint64(len(prev)))
	f = append(f, prev...)
	invariant.Check(len(f) == cap(f), "an event's frame has the computed length")
	return f
}
