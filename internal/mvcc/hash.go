package mvcc

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"

	"github.com/keelson-db/keelson/internal/storage"
)

// The hash of the keys, as etcd computes it, is the CRC-32C of the word "key"
// and then, in the order of history, of etcd's own key and value of each
// version up to a revision. Of versions at or below the compact revision
// those count that a compaction at the hash's revision would keep, so that it
// does not matter how far the removal has come. Members of a cluster, and a
// member and an etcd that was restored from its snapshot, have equal hashes.
//
// The rows of the revision index are enough for it: they carry the sums of
// the values, and sums can be joined.

const (
	// keptHashes is the number of newest compactions whose hashes are kept.
	keptHashes = 10
	// hashAtOnce is the number of rows up to which what a compaction has kept
	// is hashed as soon as it has ended. More rows are hashed when somebody
	// asks, unless Options.HashCompactions says otherwise.
	hashAtOnce = 1 << 16
	// hashCheck is the number of rows after which a hash looks whether anybody
	// still waits for it.
	hashCheck = 1 << 12
	// hashName is what every hash begins with.
	hashName = "key"
)

// errTooMany ends a walk over more rows than are hashed at once.
var errTooMany = errors.New("too many rows to be hashed at once")

// Hash is the hash of the keys up to a revision, together with the compact
// revision that it was computed for. Only hashes with the same revisions can
// be compared.
type Hash struct {
	Hash    uint32
	Compact Rev
	Rev     Rev
}

// compaction is one that was asked for, and the one before it.
type compaction struct{ prev, rev Rev }

// hashes is what is known of the hashes of compactions. A compaction's own
// hash counts everything after the compaction before it, which is there only
// until it is removed: the sweep joins it on the way.
type hashes struct {
	mu   sync.Mutex
	kept []Hash // of the newest compactions, oldest first

	// last is the compaction that was swept last; tail the sum of its part.
	last compaction
	tail storage.Sum
}

// hasher computes a hash from rows.
type hasher struct {
	j   *storage.Joiner
	sum storage.Sum
	key [rawKeyLen + 1]byte
}

func (s *Store) newHasher() *hasher { return &hasher{j: s.joiner()} }

func (h *hasher) add(r Row) {
	h.sum.Write(r.AppendRawKey(h.key[:0]))
	h.j.Join(&h.sum, r.Value)
}

func appendRaw(dst []byte, at Pos) []byte {
	dst = append(binary.BigEndian.AppendUint64(dst, uint64(at.Rev)), '_')
	return binary.BigEndian.AppendUint64(dst, uint64(at.Sub))
}

// HashKV returns the hash of the keys up to a revision, 0 being the current
// one, and the current revision. For a revision that was compacted last it is
// the compaction's own hash, which names the compaction before it.
func (s *Store) HashKV(ctx context.Context, rev Rev) (h Hash, current Rev, err error) {
	if h, ok := s.hashes.of(rev); ok {
		return h, s.pub.Load().rev, nil
	}
	v := s.View()
	defer v.Close()
	switch {
	case rev > 0 && rev < v.CompactRev():
		return Hash{}, v.Rev(), ErrCompacted
	case rev > v.Rev():
		return Hash{}, v.Rev(), ErrFutureRev
	}
	if last, tail, ok := s.hashes.newest(); ok && rev == last.rev && rev == v.CompactRev() {
		h, _, err = s.hashCompaction(ctx, last, tail, 0)
		return h, v.Rev(), err
	}
	if rev == 0 {
		rev = v.Rev()
	}
	h, err = v.hash(ctx, rev)
	return h, v.Rev(), err
}

// HashAt returns the hash of the keys up to a revision as it follows from the
// present compact revision, also where HashKV has the compaction's own: members
// know that one only of compactions that they swept since they were started.
func (s *Store) HashAt(ctx context.Context, rev Rev) (Hash, error) {
	v := s.View()
	defer v.Close()
	switch {
	case rev < v.CompactRev():
		return Hash{}, ErrCompacted
	case rev > v.Rev():
		return Hash{}, ErrFutureRev
	}
	return v.hash(ctx, rev)
}

func (h *hashes) of(rev Rev) (Hash, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.kept, func(x Hash) bool { return x.Rev == rev })
	if i < 0 {
		return Hash{}, false
	}
	return h.kept[i], true
}

func (h *hashes) newest() (compaction, storage.Sum, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last, h.tail, h.last.rev > 0
}

// Hashes returns the hashes of the newest compactions, oldest first.
func (s *Store) Hashes() []Hash {
	s.hashes.mu.Lock()
	defer s.hashes.mu.Unlock()
	return slices.Clone(s.hashes.kept)
}

// hash computes the hash of a view at a revision.
func (v *View) hash(ctx context.Context, rev Rev) (Hash, error) {
	compact := v.CompactRev()
	gone, err := v.replaced(ctx, compact, rev)
	if err != nil {
		return Hash{}, err
	}
	h := v.s.newHasher()
	h.sum.Write([]byte(hashName))
	err = eachRow(v.s.engine, -1, rev, patient(ctx, func(r Row) error {
		if r.Pos.Rev > compact {
			h.add(r)
			return nil
		}
		for len(gone) > 0 && gone[0].Less(r.Pos) {
			gone = gone[1:]
		}
		if !r.Delete && (len(gone) == 0 || gone[0] != r.Pos) {
			h.add(r)
		}
		return nil
	}))
	return Hash{h.sum.CRC, compact, rev}, err
}

// replaced returns the positions, in order, of those versions at or below the
// compact revision that do not count because they were replaced later. If no
// key at all lives at the hash's revision, then the rule that a compaction
// there would keep them is off, and it only matters that they were alive at
// the compact revision.
func (v *View) replaced(ctx context.Context, compact, rev Rev) (gone []Pos, err error) {
	if compact <= 0 {
		return nil, nil
	}
	alive := v.Keys()
	err = eachRow(v.s.engine, rev, v.Rev(), patient(ctx, func(r Row) error {
		switch {
		case r.Delete:
			alive++
		case r.Prev == Pos{}:
			alive--
		}
		return nil
	}))
	if err != nil {
		return nil, err
	}
	reborn, err := v.reborn(ctx, rev, alive)
	if err != nil {
		return nil, err
	}
	limit := rev
	if alive == reborn {
		limit = compact
	}
	// Rows that the sweep has passed have removed what they replaced, but for
	// those right at its end, which it looks at again.
	swept := Rev(v.s.sweep.swept.Load())
	err = eachRow(v.s.engine, swept-1, limit, patient(ctx, func(r Row) error {
		if r.Prev.Rev > 0 && r.Prev.Rev <= compact {
			gone = append(gone, r.Prev)
		}
		return nil
	}))
	slices.SortFunc(gone, func(a, b Pos) int {
		if a.Less(b) {
			return -1
		}
		return 1
	})
	return gone, err
}

// reborn counts the keys that a revision has deleted and put again. A
// compaction there ends at their deletion, as etcd sees it, and keeps nothing
// of them. It only matters whether all living keys are such, so it is not
// looked at further when fewer than those have begun to live there.
func (v *View) reborn(ctx context.Context, rev Rev, alive int64) (n int64, err error) {
	born := map[string]bool{} // and whether deleted before
	err = eachRow(v.s.engine, rev-1, rev, patient(ctx, func(r Row) error {
		if !r.Delete && r.Prev == (Pos{}) {
			born[string(r.Key)] = false
		}
		return nil
	}))
	if err != nil || len(born) == 0 || int64(len(born)) < alive {
		return 0, err
	}
	err = eachRow(v.s.engine, rev-1, rev, patient(ctx, func(r Row) error {
		deleted, ok := born[string(r.Key)]
		switch {
		case !ok:
		case r.Delete:
			born[string(r.Key)] = true
		case deleted:
			n++
		}
		return nil
	}))
	return n, err
}

// patient makes a walk end when nobody waits for it any more.
func patient(ctx context.Context, yield func(Row) error) func(Row) error {
	n := 0
	return func(r Row) error {
		if n++; n%hashCheck == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return yield(r)
	}
}

// hashCompaction computes a swept compaction's own hash: over what it has
// kept of the versions up to the compaction before it, and then its tail. If
// most is above 0, it gives up after so many rows. The caller holds back the
// next sweep.
func (s *Store) hashCompaction(ctx context.Context, c compaction, tail storage.Sum, most int) (h Hash, ok bool, err error) {
	w := s.newHasher()
	w.sum.Write([]byte(hashName))
	n := 0
	err = eachRow(s.engine, -1, c.prev, patient(ctx, func(r Row) error {
		if n++; n > most && most > 0 {
			return errTooMany
		}
		w.add(r)
		return nil
	}))
	if errors.Is(err, errTooMany) {
		return Hash{}, false, nil
	}
	if err != nil {
		return Hash{}, false, err
	}
	w.j.Join(&w.sum, tail)
	return Hash{w.sum.CRC, c.prev, c.rev}, true, nil
}

// sweptHash notes a compaction that was just swept, and its hash if that is
// cheap.
func (s *Store) sweptHash(c compaction, tail storage.Sum) error {
	most := hashAtOnce
	if s.opts.HashCompactions {
		most = 0
	}
	h, ok, err := s.hashCompaction(context.Background(), c, tail, most)
	s.hashes.mu.Lock()
	defer s.hashes.mu.Unlock()
	s.hashes.last, s.hashes.tail = c, tail
	if ok {
		s.hashes.kept = append(s.hashes.kept, h)
		s.hashes.kept = s.hashes.kept[max(0, len(s.hashes.kept)-keptHashes):]
	}
	return err
}
