package mvcc

import (
	"github.com/keelson-db/keelson/internal/storage"
)

// Verify compares the records of a part of history with the sums that were noted when they were written: from
// a position on, up to a revision, and about maxBytes of them. It returns where to go on, how much was read,
// and whether that was all. A record that is missing or another one is a storage.DamagedError that names it.
// What a sweep removes meanwhile is passed over.
func (s *Store) Verify(from Pos, upTo Rev, maxBytes int64) (next Pos, read int64, done bool, err error) {
	var bad error
	done = true
	var buf []byte
	lower := storage.AppendRevisionKey(nil, int64(from.Rev), from.Sub)
	err = s.walkRevisions(lower, min(upTo, s.pub.Load().rev), func(at Pos, row storage.Revision) bool {
		if read >= maxBytes {
			next, done = at, false
			return false
		}
		var good bool
		if buf, good, bad = s.sound(buf[:0], at, row); bad == nil && !good {
			bad = s.damaged(at, row)
		}
		read += int64(len(buf)) + versionBytes
		return bad == nil
	})
	if err == nil {
		err = bad
	}
	return next, read, done && err == nil, err
}

// sound reports whether a version's record is the one that its row speaks of, and returns the record in buf.
func (s *Store) sound(buf []byte, at Pos, row storage.Revision) ([]byte, bool, error) {
	var space [128]byte
	buf, ok, err := s.engine.Get(storage.AppendRecordKey(space[:0], row.User, int64(at.Rev), at.Sub), buf)
	if err != nil || !ok || row.Delete != (len(buf) == 0) {
		return buf, false, err
	}
	var sum storage.Sum
	if row.Delete {
		sum.Write(appendBytes(nil, tagKey, row.User))
	} else {
		sum.Write(buf)
	}
	return buf, sum == row.Value, nil
}

// damaged is what to say about a version whose record is not what it should be; nil if a sweep has just
// removed it.
func (s *Store) damaged(at Pos, row storage.Revision) error {
	_, kept, err := s.engine.Get(storage.AppendRevisionKey(nil, int64(at.Rev), at.Sub), nil)
	if err != nil || !kept {
		return err
	}
	return &storage.DamagedError{
		Table: "records", Key: []byte(row.User), Why: "a version of this key is not what was written",
	}
}
