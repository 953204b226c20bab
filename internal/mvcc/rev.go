package mvcc

import (
	"cmp"
	"errors"
)

// Rev is a revision of the store.
type Rev int64

// Pos is the place of one change: a revision and the place within it.
type Pos struct {
	Rev Rev
	Sub int32
}

// Less reports whether p comes before q.
func (p Pos) Less(q Pos) bool {
	return p.Rev < q.Rev || p.Rev == q.Rev && p.Sub < q.Sub
}

func (p Pos) compare(q Pos) int {
	return cmp.Or(cmp.Compare(p.Rev, q.Rev), cmp.Compare(p.Sub, q.Sub))
}

const (
	// FirstRev is the revision of an empty store; the first write gets 2.
	FirstRev Rev = 1
	// NeverCompacted is the compact revision before the first compaction.
	NeverCompacted Rev = -1
)

var (
	// ErrCompacted says that a revision is no longer readable, or is already
	// compacted.
	ErrCompacted = errors.New("required revision has been compacted")
	// ErrFutureRev says that a revision does not exist yet.
	ErrFutureRev = errors.New("required revision is a future revision")
)
