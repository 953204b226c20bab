package mvcc

import (
	"fmt"

	"github.com/keelson-db/keelson/internal/storage"
)

// Moment is the store's history at one moment of the engine, with everything
// that a sweep has not removed by then. Unlike a View it holds nothing back,
// and it needs no index.
type Moment struct {
	r storage.Reader

	Rev     Rev
	Compact Rev // NeverCompacted if so
	Swept   Rev // what a finished compaction to this revision removes is gone; NeverCompacted if none was
}

// At returns the history that r shows. It is good as long as r is.
func At(r storage.Reader) (*Moment, error) {
	m := &Moment{r: r, Rev: FirstRev, Compact: NeverCompacted, Swept: NeverCompacted}
	for _, x := range []struct {
		name string
		rev  *Rev
	}{{storage.MetaRevision, &m.Rev}, {storage.MetaCompact, &m.Compact}, {storage.MetaCompacted, &m.Swept}} {
		v, ok, err := storage.MetaInt(r, x.name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", x.name, err)
		}
		if ok {
			*x.rev = Rev(v)
		}
	}
	return m, nil
}

// Rows yields all rows in the order of history, until yield returns an error,
// which it returns.
func (m *Moment) Rows(yield func(Row) error) error { return eachRow(m.r, -1, m.Rev, yield) }

// Records yields the records that lie in the engine's tables, in no order, until yield returns an error, which it
// returns. Tombstones have none. It is faster than Value by far and promises less: some records may be missing,
// others may come twice, or come although they do not belong to the moment any more, and none is held against
// its sum or kept.
func (m *Moment) Records(yield func(at Pos, record []byte) error) error {
	lower, upper := span{kind: spanFrom}.bounds()
	return m.r.ScanTables(lower, upper, func(key, record []byte) error {
		_, rev, sub, good := storage.SplitRecordKey(key)
		if !good || Rev(rev) > m.Rev || len(record) == 0 {
			return nil
		}
		return yield(Pos{Rev(rev), sub}, record)
	})
}

// Value appends what etcd keeps under a position: the record, of a tombstone
// one with nothing but the key. Something else than what was written is an
// error. It may be called from several goroutines.
func (m *Moment) Value(dst []byte, at Pos, del bool, key []byte, sum storage.Sum) ([]byte, error) {
	start, ok := len(dst), true
	if del {
		dst = appendBytes(dst, tagKey, key)
	} else {
		var space [128]byte
		var err error
		dst, ok, err = m.r.Get(storage.AppendRecordKey(space[:0], borrow(key), int64(at.Rev), at.Sub), dst)
		if err != nil {
			return dst, fmt.Errorf("read record: %w", err)
		}
	}
	var found storage.Sum
	found.Write(dst[start:])
	if !ok || found != sum {
		return dst, &storage.DamagedError{Table: "records", Key: []byte(string(key)), Why: "a version of this key is not what was written"}
	}
	return dst, nil
}
