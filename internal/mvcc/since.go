package mvcc

import (
	"bytes"
	"fmt"

	"github.com/keelson-db/keelson/internal/storage"
)

// Since returns the events with after < revision <= upTo in order, whole
// revisions only and roughly at most max of them, appended to buf. upTo is the
// current revision when nothing was left out. Recent events come from the
// ring and are shared, also those that a compaction has overtaken meanwhile:
// who follows closely misses nothing. Older ones are read from the engine. The
// error is ErrCompacted if the first wanted revision is no longer kept.
func (s *Store) Since(after Rev, max int, buf []*Event) (events []*Event, upTo Rev, err error) {
	g := s.enter() // the rows must not be removed while they are read
	defer g.leave()
	p := s.pub.Load()
	if after >= p.rev {
		return buf, p.rev, nil
	}
	events = buf
	upTo = p.rev
	first := len(buf)
	// full keeps whole revisions: it stops before the first event of a new one.
	full := func(next Rev) bool {
		n := len(events)
		if n-first < max || n == first || events[n-1].Pos.Rev == next {
			return false
		}
		upTo = events[n-1].Pos.Rev
		return true
	}
	if after >= p.hist.floor {
		p.hist.after(after, func(e *Event) bool {
			if full(e.Pos.Rev) {
				return false
			}
			events = append(events, e)
			return true
		})
		return events, upTo, nil
	}
	if after+1 < p.compact {
		return buf, after, ErrCompacted
	}
	var bad error
	err = s.eachRevision(after, p.rev, func(at Pos, row storage.Revision) bool {
		if full(at.Rev) {
			return false
		}
		var e *Event
		if e, bad = s.restore(at, row); bad != nil {
			return false
		}
		events = append(events, e)
		return true
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return buf, after, fmt.Errorf("read history: %w", err)
	}
	return events, upTo, nil
}

// restore makes an event again from its rows.
func (s *Store) restore(at Pos, row storage.Revision) (*Event, error) {
	prev := Pos{Rev(row.PrevRev), row.PrevSub}
	if row.Delete {
		return newDelete(row.User, at, prev), nil
	}
	kv, ok, err := s.stored(row.User, at, 0)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, missing(row.User)
	}
	return storedPut(row.User, kv, at, prev), nil
}

// eachRevision yields the rows of the revision index with after < revision <=
// upTo in order.
func (s *Store) eachRevision(after, upTo Rev, yield func(at Pos, row storage.Revision) bool) (err error) {
	lower := storage.AppendRevisionKey(nil, int64(after)+1, 0)
	return s.walkRevisions(lower, upTo, yield)
}

func (s *Store) walkRevisions(lower []byte, upTo Rev, yield func(at Pos, row storage.Revision) bool) (err error) {
	it, err := s.engine.Iter(lower, storage.AppendRevisionKey(nil, int64(upTo)+1, 0))
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
		row, err := storage.ParseRevision(it.Value())
		if err != nil {
			return err
		}
		if !yield(Pos{Rev(rev), sub}, row) {
			return nil
		}
	}
	return nil
}

// PrevKV returns the record of the event's key before the event's revision;
// ok is false if there was none or it is compacted. It must not be changed.
func (s *Store) PrevKV(e *Event) (kv []byte, ok bool, err error) {
	if e.Create() {
		return nil, false, nil
	}
	if e.prevKV != nil {
		return e.prevKV, true, nil
	}
	at := e.Prev
	for at.Rev == e.Pos.Rev {
		// The key changed twice in this revision: go back before it.
		val, ok, err := s.engine.Get(storage.AppendRevisionKey(nil, int64(at.Rev), at.Sub), nil)
		if err != nil || !ok {
			return nil, false, err
		}
		row, err := storage.ParseRevision(val)
		if err != nil {
			return nil, false, err
		}
		at = Pos{Rev(row.PrevRev), row.PrevSub}
	}
	if at == (Pos{}) {
		return nil, false, nil
	}
	return s.stored(e.Key, at, 0)
}

// Frame returns the event as a field "events" of a WatchResponse, tag and
// length included, with or without the previous record. The bytes are encoded
// once, shared by everybody, and must not be changed.
func (s *Store) Frame(e *Event, prev bool) ([]byte, error) {
	if !prev || e.Create() {
		return e.frame, nil
	}
	made := e.withPrev.Load()
	if made != nil && made != s.gone {
		return *made, nil
	}
	kv, ok, err := s.PrevKV(e)
	if err != nil {
		return nil, fmt.Errorf("read previous record: %w", err)
	}
	if !ok {
		return e.frame, nil
	}
	f := e.withPrevFrame(kv)
	if e.withPrev.CompareAndSwap(nil, &f) && e.ringed {
		s.prevBytes.Add(int64(len(f)))
	}
	return f, nil
}
