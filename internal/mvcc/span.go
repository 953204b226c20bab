package mvcc

import "github.com/keelson-db/keelson/internal/storage"

// span is a range of keys, decoded from its wire form.
type span struct {
	lo, hi string
	kind   spanKind
}

type spanKind uint8

const (
	spanEmpty spanKind = iota
	spanOne            // the key lo
	spanRange          // lo <= key < hi
	spanFrom           // lo <= key
)

// spanOf decodes a key and a range end: no end is one key, an end of one zero
// byte is everything from the key on, and an end that is not above the key is
// nothing. The bytes are borrowed.
func spanOf(key, end []byte) span {
	lo := borrow(key)
	switch {
	case len(end) == 0:
		return span{lo: lo, kind: spanOne}
	case len(end) == 1 && end[0] == 0:
		if lo == "\x00" {
			lo = "" // "\0" to "\0" is everything
		}
		return span{lo: lo, kind: spanFrom}
	case borrow(end) <= lo:
		return span{}
	}
	return span{lo: lo, hi: borrow(end), kind: spanRange}
}

func (s span) contains(key string) bool {
	switch s.kind {
	case spanOne:
		return key == s.lo
	case spanRange:
		return key >= s.lo && key < s.hi
	case spanFrom:
		return key >= s.lo
	}
	return false
}

// past reports whether key lies after the span.
func (s span) past(key string) bool {
	switch s.kind {
	case spanOne:
		return key > s.lo
	case spanRange:
		return key >= s.hi
	case spanFrom:
		return false
	}
	return true
}

// bounds returns the engine's bounds of the span's records.
func (s span) bounds() (lower, upper []byte) {
	lower = storage.AppendRecordFrom(nil, s.lo)
	switch s.kind {
	case spanOne:
		return lower, storage.AppendRecordPast(nil, s.lo)
	case spanRange:
		return lower, storage.AppendRecordFrom(nil, s.hi)
	}
	return lower, storage.RecordEnd()
}
