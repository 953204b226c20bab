package mvcc

import (
	"github.com/keelson-db/keelson/internal/storage"
)

// versionBytes is what one version of a key is taken to cost beside its record and its key, which lie in two
// tables, in bytes: positions, kinds, lengths, and a share of the tables' own structure.
const versionBytes = 64

// versionCost is what one version counts for in the size of the store, in bytes; a tombstone has no record.
func versionCost(key string, record int) int64 { return int64(2*len(key)+record) + versionBytes }

// weigh returns what the version of a key at a position, which the sweep is about to remove, counts for; ok is
// false if it is gone. Where the pass has not just met it, the row of the revision index is read, which is small
// and lies beside its neighbours in time.
func (s *Store) weigh(key string, at Pos) (cost int64, ok bool, err error) {
	if n, ok := s.sweep.sizes.of(at); ok {
		return versionCost(key, n), true, nil
	}
	var space [16]byte
	k := storage.AppendRevisionKey(space[:0], int64(at.Rev), at.Sub)
	val, ok, err := s.engine.Get(k, nil)
	if err != nil || !ok {
		return 0, false, err
	}
	row, _, err := storage.SplitRevision(val)
	if err != nil || row.Delete {
		return versionCost(key, 0), true, err
	}
	return versionCost(key, int(row.Value.Len)), true, nil
}
