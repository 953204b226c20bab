package mvcc

import (
	"bytes"
	"encoding/binary"

	"github.com/keelson-db/keelson/internal/storage"
)

// fewReads is the number of records up to which separate reads are cheaper
// than opening an iterator.
const fewReads = 3

// fetcher brings the records of index items: from memory if they are there,
// else by single reads or by an iterator that it moves along.
type fetcher struct {
	s      *Store
	single bool // few records are expected
	sp     span
	it     *storage.Iter
	want   []byte
	placed bool // the iterator stands at or before where the next key is expected

	scratch []byte // records of the leaf that is being warmed
}

func (s *Store) newFetcher(sp span, expected int) fetcher {
	return fetcher{s: s, sp: sp, single: expected <= fewReads}
}

func (f *fetcher) close() error {
	if f.it == nil {
		return nil
	}
	return f.it.Close()
}

// add puts an item's record into a result.
func (f *fetcher) add(dst *frames, it *Item) error {
	if e := it.event.Load(); e != nil {
		dst.whole(e.rangeFrame())
		return nil
	}
	if f.single {
		frame, err := f.s.storedFrame(it)
		if err != nil {
			return err
		}
		dst.whole(frame)
		return nil
	}
	kv, err := f.seek(it)
	if err != nil {
		return err
	}
	dst.kv(kv)
	return nil
}

// copy returns an item's record; it must not be changed.
func (f *fetcher) copy(it *Item) ([]byte, error) {
	if e := it.event.Load(); e != nil {
		return e.KV, nil
	}
	if f.single {
		return f.s.bytes(it)
	}
	kv, err := f.seek(it)
	return bytes.Clone(kv), err
}

// storedFrame reads an item's record as a field "kvs", in one allocation.
func (s *Store) storedFrame(it *Item) ([]byte, error) {
	const pad = 1 + binary.MaxVarintLen32
	buf, ok, err := s.stored(it.Key, it.Pos(), pad)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, missing(it.Key)
	}
	n := uint64(len(buf) - pad)
	from := pad - varintLen(n)
	binary.PutUvarint(buf[from:], n)
	buf[from-1] = tagEventKV
	return buf[from-1:], nil
}

// seek moves the iterator to an item's record: the next row if the range is
// walked in key order and nothing lies between, a few rows on over superseded
// versions and deleted keys, else wherever it is.
func (f *fetcher) seek(it *Item) ([]byte, error) {
	if f.it == nil {
		lower, upper := f.sp.bounds()
		iter, err := f.s.engine.Iter(lower, upper)
		if err != nil {
			return nil, err
		}
		f.it = iter
	}
	f.want = storage.AppendRecordKey(f.want[:0], it.Key, int64(it.Mod), it.Sub)
	ok := false
	if f.placed {
		for range nearby {
			if !f.it.Next() {
				break
			}
			c := bytes.Compare(f.it.Key(), f.want)
			if ok = c == 0; c >= 0 {
				break
			}
		}
	}
	if !ok {
		ok = f.it.SeekGE(f.want) && bytes.Equal(f.it.Key(), f.want)
	}
	f.placed = ok
	if !ok {
		if err := f.it.Error(); err != nil {
			return nil, err
		}
		return nil, missing(it.Key)
	}
	kv := f.it.Value()
	if len(kv) == 0 {
		return nil, missing(it.Key)
	}
	return kv, nil
}
