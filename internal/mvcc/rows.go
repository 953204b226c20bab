package mvcc

import (
	"bytes"

	"github.com/keelson-db/keelson/internal/storage"
)

// Row is what the revision index tells of one change.
type Row struct {
	Pos    Pos
	Delete bool
	Prev   Pos         // position of the version it replaced; zero if the key did not exist
	Value  storage.Sum // of what etcd keeps under the position
	Key    []byte      // valid until the next row
}

// eachRow yields the rows with after < revision <= upTo in order, without
// copying, until yield returns an error, which it returns.
func eachRow(r storage.Reader, after, upTo Rev, yield func(Row) error) error {
	return eachRowFrom(r, Pos{Rev: max(after, -1) + 1}, upTo, yield)
}

// eachRowFrom does the same from a position on.
func eachRowFrom(r storage.Reader, from Pos, upTo Rev, yield func(Row) error) (err error) {
	if upTo < from.Rev {
		return nil
	}
	it, err := r.Iter(storage.AppendRevisionKey(nil, int64(from.Rev), from.Sub), storage.AppendRevisionKey(nil, int64(upTo)+1, 0))
	if err != nil {
		return err
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		rev, sub, good := storage.ParseRevisionKey(it.Key())
		if !good {
			return &storage.DamagedError{Table: "revisions", Key: bytes.Clone(it.Key()), Why: "the key is not a position"}
		}
		row, user, err := storage.SplitRevision(it.Value())
		if err != nil {
			return err
		}
		err = yield(Row{Pos{Rev(rev), sub}, row.Delete, Pos{Rev(row.PrevRev), row.PrevSub}, row.Value, user})
		if err != nil {
			return err
		}
	}
	return nil
}

// rawKeyLen is the length of etcd's own key of a version in bytes; one more for a tombstone.
const rawKeyLen = 8 + 1 + 8

// AppendRawKey appends the key under which etcd keeps the change of the row.
func (r *Row) AppendRawKey(dst []byte) []byte {
	dst = appendRaw(dst, r.Pos)
	if r.Delete {
		dst = append(dst, 't')
	}
	return dst
}

// RawKeyLen is the length of that key in bytes.
func (r *Row) RawKeyLen() int {
	if r.Delete {
		return rawKeyLen + 1
	}
	return rawKeyLen
}
