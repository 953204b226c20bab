package auth

import (
	"bytes"
	"slices"
	"sort"
)

// span is the keys from low up to, but without, high. High is nil where there is no end.
type span struct{ low, high []byte }

// spans are disjoint, do not touch each other and are in order; so what they cover together, one of them covers.
type spans []span

// unbounded reports whether the end of a range, in wire form, means that it has none.
func unbounded(end []byte) bool { return len(end) == 1 && end[0] == 0 }

// validRange reports whether a range, in wire form, is one that a permission can be given for.
func validRange(key, end []byte) bool {
	return len(key) > 0 && (len(end) == 0 || unbounded(end) || bytes.Compare(key, end) < 0)
}

// spanOf reads a range that is in wire form. No key is empty, so a range that begins with it begins at the first.
func spanOf(key, end []byte) span {
	if len(key) == 0 {
		key = []byte{0}
	}
	switch {
	case len(end) == 0:
		return span{low: key, high: append(bytes.Clone(key), 0)}
	case unbounded(end):
		return span{low: key}
	}
	return span{low: key, high: end}
}

// merge makes spans of what lies, touches and overlaps as it likes. It changes the list.
func merge(list []span) spans {
	list = slices.DeleteFunc(list, func(s span) bool { return s.high != nil && bytes.Compare(s.low, s.high) >= 0 })
	slices.SortFunc(list, func(a, b span) int { return bytes.Compare(a.low, b.low) })
	var merged spans
	for _, s := range list {
		if len(merged) > 0 {
			last := &merged[len(merged)-1]
			if last.high == nil {
				break
			}
			if bytes.Compare(s.low, last.high) <= 0 {
				if s.high == nil || bytes.Compare(s.high, last.high) > 0 {
					last.high = s.high
				}
				continue
			}
		}
		merged = append(merged, s)
	}
	return slices.Clip(merged)
}

// covers reports whether all keys of a range, in wire form, are in the spans. Of a range that ends before it
// begins, and so has no keys, the first key counts, as in etcd.
func (s spans) covers(key, end []byte) bool {
	if len(key) == 0 {
		key = []byte{0}
	}
	i := sort.Search(len(s), func(i int) bool { return bytes.Compare(s[i].low, key) > 0 })
	if i == 0 {
		return false
	}
	high := s[i-1].high
	switch {
	case high == nil:
		return true
	case bytes.Compare(key, high) >= 0 || unbounded(end):
		return false
	}
	return bytes.Compare(end, high) <= 0
}
