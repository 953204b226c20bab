// Package mvcc keeps revisions, ranges, history and compaction of the keys.
package mvcc

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/keelson-db/keelson/internal/storage"
)

// Rev is a revision of the store.
type Rev int64

// Pos is the place of one change: a revision and its place within it.
type Pos struct {
	Rev Rev
	Sub int32
}

// FirstRev is the revision of an empty store; the first write gets 2.
const FirstRev Rev = 1

// NeverCompacted is what CompactRev returns before the first compaction.
const NeverCompacted Rev = -1

// Item is a live key's metadata in the index.
type Item struct {
	Key         string
	Create, Mod Rev
	Sub         int32
	Version     int64
	Lease       int64
	event       atomic.Pointer[Event]
}

// Event is one change.
type Event struct {
	Pos    Pos
	Delete bool
	Key    string
	KV     []byte
	Prev   Pos
}

// Create reports whether the event is a put that created its key.
func (e *Event) Create() bool { panic("not built") }

// Errors of reads and compactions.
var (
	ErrCompacted = errors.New("required revision has been compacted")
	ErrFutureRev = errors.New("required revision is a future revision")
)

// Sort is the order of a range's result.
type Sort int32

// Sort orders, numbered as on the wire.
const (
	SortNone Sort = iota
	SortAscend
	SortDescend
)

// Target is what a range is sorted by.
type Target int32

// Sort targets, numbered as on the wire.
const (
	ByKey Target = iota
	ByVersion
	ByCreate
	ByMod
	ByValue
)

// RangeQuery asks for records.
type RangeQuery struct {
	Key, End                             []byte
	Rev                                  Rev
	Limit                                int64
	Sort                                 Sort
	Target                               Target
	KeysOnly, CountOnly                  bool
	MinMod, MaxMod, MinCreate, MaxCreate Rev
	MaxBytes                             int64
}

// RangeResult is the answer to a RangeQuery.
type RangeResult struct {
	Frames  [][]byte
	N       int
	Bytes   int64
	LastKey []byte
	More    bool
	Count   int64
	Rev     Rev
}

// Release returns pooled memory.
func (r *RangeResult) Release() { panic("not built") }

// Options bound the ring of recent events; zero means the named defaults.
type Options struct {
	HistoryBytes  int64
	HistoryEvents int
}

// Stats are figures of the store.
type Stats struct {
	Keys, IndexBytes            int64
	HistoryEvents, HistoryBytes int64
	Rev, CompactRev, SweptRev   Rev
}

// Store is the multi-version store.
type Store struct{}

// Open loads the index from the engine.
func Open(e *storage.Engine, o Options) (*Store, error) { panic("not built") }

// Frame returns the event as field 11 of a WatchResponse.
func (s *Store) Frame(e *Event, prev bool) ([]byte, error) { panic("not built") }

// PrevKV returns the record that the event replaced.
func (s *Store) PrevKV(e *Event) (kv []byte, ok bool, err error) { panic("not built") }

// Leased yields all live keys with a lease.
func (s *Store) Leased(yield func(key string, lease int64) bool) { panic("not built") }

// Changed is closed at the next Publish that changed something.
func (s *Store) Changed() <-chan struct{} { panic("not built") }

// Since returns events after a revision.
func (s *Store) Since(after Rev, max int, buf []*Event) (events []*Event, upTo Rev, err error) {
	panic("not built")
}

// Sweep removes one bounded batch of compacted records.
func (s *Store) Sweep(ctx context.Context, maxKeys int) (removed int, done bool, err error) {
	panic("not built")
}

// SweepPending reports whether Sweep has work.
func (s *Store) SweepPending() bool { panic("not built") }

// Swept waits until physical compaction reached rev.
func (s *Store) Swept(ctx context.Context, rev Rev) error { panic("not built") }

// Stats returns figures of the store.
func (s *Store) Stats() Stats { panic("not built") }

// View pins the published state.
func (s *Store) View() *View { panic("not built") }

// View is a consistent state of the store.
type View struct{}

// Close ends the view.
func (v *View) Close() { panic("not built") }

// Rev is the view's revision.
func (v *View) Rev() Rev { panic("not built") }

// CompactRev is the view's compact revision.
func (v *View) CompactRev() Rev { panic("not built") }

// Range answers a query.
func (v *View) Range(ctx context.Context, q RangeQuery) (*RangeResult, error) { panic("not built") }

// Get returns a live key's metadata.
func (v *View) Get(key []byte) (*Item, bool) { panic("not built") }

// Record returns the encoded KeyValue of an item.
func (v *View) Record(it *Item) ([]byte, error) { panic("not built") }

// Keys is the number of live keys.
func (v *View) Keys() int64 { panic("not built") }

// Begin starts an apply group.
func (s *Store) Begin(b *storage.Batch) *Writer { panic("not built") }

// Writer is one apply group.
type Writer struct{}

// Rev includes uncommitted changes of this group.
func (w *Writer) Rev() Rev { panic("not built") }

// CompactRev includes uncommitted changes of this group.
func (w *Writer) CompactRev() Rev { panic("not built") }

// NewTx starts one command.
func (w *Writer) NewTx() *Tx { panic("not built") }

// Compact records a compaction.
func (w *Writer) Compact(rev Rev) error { panic("not built") }

// Finish puts the metadata into the batch.
func (w *Writer) Finish() error { panic("not built") }

// Publish makes the group visible.
func (w *Writer) Publish() { panic("not built") }

// Tx is one command.
type Tx struct{}

// Get returns a key's metadata.
func (t *Tx) Get(key []byte) (*Item, bool) { panic("not built") }

// Record returns the encoded KeyValue of an item.
func (t *Tx) Record(it *Item) ([]byte, error) { panic("not built") }

// Items yields the live keys of a range.
func (t *Tx) Items(key, end []byte, yield func(*Item) bool) { panic("not built") }

// Put writes a key.
func (t *Tx) Put(key, value []byte, lease int64) (prev *Item, err error) { panic("not built") }

// Delete removes the keys of a range.
func (t *Tx) Delete(key, end []byte) (deleted []*Item, err error) { panic("not built") }

// Range answers a query within the command.
func (t *Tx) Range(q RangeQuery) (*RangeResult, error) { panic("not built") }

// StartRev is the revision at the command's start.
func (t *Tx) StartRev() Rev { panic("not built") }

// Changed reports whether the command wrote.
func (t *Tx) Changed() bool { panic("not built") }

// End closes the command and returns its header revision.
func (t *Tx) End() Rev { panic("not built") }

// Abort ends a command that wrote nothing.
func (t *Tx) Abort() { panic("not built") }
