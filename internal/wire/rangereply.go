package wire

import (
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/mem"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// copiedRangeBytes is the size in bytes up to which the records of a range are copied into one buffer
// with what stands around them. Above it they are handed to the transport as they are; below it the
// bookkeeping of several buffers would cost more than the copy.
const copiedRangeBytes = 8 << 10

// Range is a RangeResponse: records that are encoded already, and the fields around them.
type Range struct {
	Header *pb.ResponseHeader // field 1; nil, which writes none, in all but the last chunk of a streamed range
	// Result holds the records: each of its frames is whole fields 2 of the message, tag and length included.
	Result   *mvcc.RangeResult
	More     bool  // field 3
	Count    int64 // field 4, in keys
	Streamed bool  // the message is the only field of a RangeStreamResponse
}

// recordBytes is the length of all records together.
func (m *Range) recordBytes() int {
	n := 0
	for _, frame := range m.Result.Frames {
		n += len(frame)
	}
	return n
}

func (m *Range) tailSize() int { return sizeBool(m.More) + sizeInt(uint64(m.Count)) }

// appendHead writes everything in front of the records.
func (m *Range) appendHead(b []byte) []byte {
	if m.Streamed {
		b = appendLen(b, tag1Bytes, sizeHeaderField(m.Header)+m.recordBytes()+m.tailSize())
	}
	return appendHeaderField(b, m.Header)
}

func (m *Range) headSize() int {
	n := sizeHeaderField(m.Header)
	if m.Streamed {
		n += 1 + sizeVarint(uint64(n+m.recordBytes()+m.tailSize()))
	}
	return n
}

func (m *Range) appendTail(b []byte) []byte {
	b = appendBool(b, tag3Varint, m.More)
	return appendInt(b, tag4Varint, uint64(m.Count))
}

// Encode makes the message, which is for Codec alone, and takes over the result: its memory goes back to the
// store when the message has been sent. A large message is an *Encoded, of which WhenSent tells.
func (m Range) Encode() any {
	if size := m.headSize() + m.recordBytes() + m.tailSize(); size <= copiedRangeBytes {
		r := newReply(size)
		r.b = m.appendHead(r.b)
		for _, frame := range m.Result.Frames {
			r.b = append(r.b, frame...)
		}
		r.b = m.appendTail(r.b)
		m.Result.Release()
		return r
	}
	// Head and tail are two ends of one small piece of memory.
	ends := m.appendHead(make([]byte, 0, m.headSize()+m.tailSize()))
	head := len(ends)
	ends = m.appendTail(ends)
	bufs := make(mem.BufferSlice, 0, len(m.Result.Frames)+2)
	bufs = append(bufs, mem.SliceBuffer(ends[:head]))
	bufs, lent := appendFrames(bufs, m.Result)
	if head < len(ends) {
		bufs = append(bufs, mem.SliceBuffer(ends[head:]))
	}
	return &Encoded{Bufs: bufs, lent: lent}
}

// lentFrames are the records of a range while the transport sends them: the memory goes back to the store
// when the last of them is free. gRPC calls that "returning a buffer to its pool".
type lentFrames struct {
	res  *mvcc.RangeResult
	left atomic.Int32
	sent func() // called when the last frame has been sent; nil for nobody
}

// whenSent has f called when the transport is done with all frames, and reports whether that is still to come.
// It belongs between making the message and handing it to the transport.
func (l *lentFrames) whenSent(f func()) bool {
	if l.left.Load() == 0 {
		return false
	}
	l.sent = f
	return true
}

// Get is never called: nothing is taken from here.
func (l *lentFrames) Get(n int) *[]byte { b := make([]byte, n); return &b }

// Put counts one frame that has been sent.
func (l *lentFrames) Put(*[]byte) {
	if l.left.Add(-1) == 0 {
		l.res.Release()
		if l.sent != nil {
			l.sent()
		}
	}
}

// appendFrames lends the records to the transport.
func appendFrames(bufs mem.BufferSlice, res *mvcc.RangeResult) (mem.BufferSlice, *lentFrames) {
	lent := &lentFrames{res: res}
	lent.left.Store(1) // ours, until every frame is counted
	for i, frame := range res.Frames {
		if mem.IsBelowBufferPoolingThreshold(cap(frame)) {
			// gRPC does not say when it is done with a buffer this small, so it gets one to keep.
			bufs = append(bufs, mem.SliceBuffer(append([]byte(nil), frame...)))
			continue
		}
		lent.left.Add(1)
		bufs = append(bufs, mem.NewBuffer(&res.Frames[i], lent))
	}
	lent.Put(nil)
	return bufs, lent
}
