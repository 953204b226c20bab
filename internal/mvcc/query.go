package mvcc

import (
	"cmp"
	"sync"
)

// Sort is the order of a range's result, numbered as on the wire.
type Sort int32

// Sort orders.
const (
	SortNone Sort = iota
	SortAscend
	SortDescend
)

// Target is what a range is sorted by, numbered as on the wire.
type Target int32

// Sort targets.
const (
	ByKey Target = iota
	ByVersion
	ByCreate
	ByMod
	ByValue
)

// RangeQuery asks for records.
type RangeQuery struct {
	Key, End            []byte // in wire form: no end is one key, "\0" is everything from the key on
	Rev                 Rev    // 0 or less is the newest
	Limit               int64  // records; 0 or less is none
	Sort                Sort
	Target              Target
	KeysOnly, CountOnly bool
	// Filters on revisions, inclusive; 0 is off.
	MinMod, MaxMod, MinCreate, MaxCreate Rev
	// MaxBytes ends the result after the record that passes it, with More set;
	// 0 is no bound. It applies to results in key order.
	MaxBytes int64
}

// filtered reports whether the query drops records by their revisions.
func (q *RangeQuery) filtered() bool {
	return q.MinMod != 0 || q.MaxMod != 0 || q.MinCreate != 0 || q.MaxCreate != 0
}

func (q *RangeQuery) keeps(create, mod Rev) bool {
	return (q.MinMod == 0 || mod >= q.MinMod) && (q.MaxMod == 0 || mod <= q.MaxMod) &&
		(q.MinCreate == 0 || create >= q.MinCreate) && (q.MaxCreate == 0 || create <= q.MaxCreate)
}

// plan is how a query is carried out.
type plan struct {
	RangeQuery
	// stream: records leave in key order as they are found.
	stream bool
	// fetch bounds the records that are found before sorting; -1 is no bound.
	// Without a given order, a result by another target than the key is cut to
	// one above the limit in key order first and sorted afterwards, a quirk of
	// the API that clients may see.
	fetch int64
	// order is the order to sort in; SortNone is the key order they come in.
	order Sort
}

func (q RangeQuery) plan() plan {
	p := plan{RangeQuery: q, fetch: -1, order: q.Sort}
	if q.Limit < 0 {
		p.Limit = 0
	}
	if p.Sort == SortNone && !p.filtered() && p.Limit > 0 {
		p.fetch = p.Limit + 1
	}
	switch {
	case q.Target == ByKey && q.Sort == SortAscend:
		p.order = SortNone
	case q.Target != ByKey && q.Sort == SortNone:
		p.order = SortAscend
	}
	p.stream = p.order == SortNone && !p.filtered()
	return p
}

// RangeResult is the answer to a RangeQuery.
type RangeResult struct {
	// Frames are protobuf fields "kvs" of a RangeResponse, ready to send one
	// after the other; a frame holds whole records. They must not be changed.
	Frames  [][]byte
	N       int    // records in Frames
	Bytes   int64  // length of Frames
	LastKey []byte // key of the last record in key order; nil if there is none
	More    bool   // the result was cut by Limit or MaxBytes
	Count   int64  // keys in the range at that revision, ignoring limit and filters
	Rev     Rev    // revision of the store that was seen

	one    [1][]byte // room for the frame of a single record
	chunks []*chunk
	pool   *sync.Pool
}

// Release gives pooled memory back. It may be left out; after it nobody
// touches Frames.
func (r *RangeResult) Release() {
	for _, c := range r.chunks {
		r.pool.Put(c)
	}
	r.chunks, r.Frames = nil, nil
}

// sortKey is what a record is sorted by.
type sortKey struct {
	number int64
	text   string
}

func (a sortKey) compare(b sortKey) int {
	return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.text, b.text))
}
