package mvcc

import (
	"encoding/binary"
	"math"
)

const (
	// chunkBytes is the size of a pooled piece of a result, in bytes.
	chunkBytes = 64 << 10
	// smallResult is the number of records up to which a result allocates what
	// it needs instead of taking a pooled piece.
	smallResult = 16
	// sharedBytes is the length from which a record in memory is sent from
	// where it lies instead of being copied, in bytes.
	sharedBytes = 4 << 10
)

// chunk is a pooled piece of a result.
type chunk [chunkBytes]byte

// frames collects the records of a result.
type frames struct {
	s   *Store
	res *RangeResult
	cur []byte // filled piece since the last cut; its capacity is free room
	// few says that the result is small.
	few bool
}

func (s *Store) newFrames(res *RangeResult, expected int) frames {
	res.pool = &s.chunks
	return frames{s: s, res: res, few: expected <= smallResult}
}

// room makes the current piece able to take n more bytes.
func (f *frames) room(n int) {
	if cap(f.cur)-len(f.cur) >= n {
		return
	}
	f.cut()
	switch {
	case f.few || n > chunkBytes:
		f.cur = make([]byte, 0, n)
	default:
		c, _ := f.s.chunks.Get().(*chunk)
		if c == nil {
			c = new(chunk)
		}
		f.res.chunks = append(f.res.chunks, c)
		f.cur = c[:0]
	}
}

// cut ends the current piece as a frame; what is left of it stays usable.
func (f *frames) cut() {
	if len(f.cur) > 0 {
		f.res.Frames = append(f.res.Frames, f.cur[:len(f.cur):len(f.cur)])
		f.cur = f.cur[len(f.cur):]
	}
}

func (f *frames) counted(n int) {
	f.res.N++
	f.res.Bytes += int64(n)
}

// kv adds a record, copying it.
func (f *frames) kv(kv []byte) {
	n := 1 + varintLen(uint64(len(kv))) + len(kv)
	f.room(n)
	f.cur = binary.AppendUvarint(append(f.cur, tagEventKV), uint64(len(kv)))
	f.cur = append(f.cur, kv...)
	f.counted(n)
}

// whole adds a framed record that may be shared.
func (f *frames) whole(frame []byte) {
	if f.few || len(frame) >= sharedBytes {
		f.cut()
		if len(f.res.Frames) == 0 {
			f.res.Frames = f.res.one[:0]
		}
		f.res.Frames = append(f.res.Frames, frame)
	} else {
		f.room(len(frame))
		f.cur = append(f.cur, frame...)
	}
	f.counted(len(frame))
}

// shared adds n framed records that are sent from where they lie.
func (f *frames) shared(part []byte, n int) {
	f.cut()
	f.res.Frames = append(f.res.Frames, part)
	f.res.N += n
	f.res.Bytes += int64(len(part))
}

// meta adds a record without its value.
func (f *frames) meta(key string, create, mod Rev, version, lease int64) {
	kv := recordLen(len(key), 0, create, mod, version, lease)
	n := 1 + varintLen(uint64(kv)) + kv
	f.room(n)
	f.cur = binary.AppendUvarint(append(f.cur, tagEventKV), uint64(kv))
	f.cur = appendRecord(f.cur, key, nil, create, mod, version, lease)
	f.counted(n)
}

// left is the number of bytes after which the result is full.
func (f *frames) left(q *RangeQuery) int64 {
	if q.MaxBytes <= 0 {
		return math.MaxInt64
	}
	return q.MaxBytes - f.res.Bytes
}

// full reports whether the result passed the query's bound in bytes.
func (f *frames) full(q *RangeQuery) bool {
	return f.left(q) <= 0
}
