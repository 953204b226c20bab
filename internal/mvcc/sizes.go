package mvcc

import "math"

// maxRecordSizes bounds the sizes that a pass of the sweep remembers, in entries of 16 bytes, 2 MiB in all. It is
// a power of two.
const maxRecordSizes = 1 << 17

// recordSizes remembers how large the records are that a pass of the sweep has met last, because the version
// that a change replaced is most often one that was met shortly before: reading its row again would cost more
// than all else. What it remembers is still there, since the only change that removes a version in a pass is
// the one that replaced it, and a pass meets that once.
type recordSizes []recordSize

type recordSize struct {
	rev Rev
	sub int32
	len uint32
}

// newRecordSizes makes room for a pass over so many revisions.
func newRecordSizes(revs Rev) recordSizes {
	n := 1
	for n < maxRecordSizes && Rev(n) <= revs {
		n <<= 1
	}
	return make(recordSizes, n)
}

// at is where a position is remembered. Neighbours in time get neighbouring places, so that of commands with
// one change each the newest are remembered; the changes of one command are spread.
func (r recordSizes) at(p Pos) *recordSize {
	const spread = 40_503
	return &r[(int(p.Rev)+int(p.Sub)*spread)&(len(r)-1)]
}

func (r recordSizes) note(p Pos, size uint64) {
	if len(r) > 0 && size <= math.MaxUint32 {
		*r.at(p) = recordSize{p.Rev, p.Sub, uint32(size)}
	}
}

func (r recordSizes) of(p Pos) (size int, ok bool) {
	if len(r) == 0 {
		return 0, false
	}
	e := r.at(p)
	return int(e.len), e.rev == p.Rev && e.sub == p.Sub
}
