package rpc

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

// rangeMessage is a RangeResponse: records that are encoded already, and the fields around them.
type rangeMessage struct {
	header   *pb.ResponseHeader // nil in all but the last chunk of a streamed range
	res      *mvcc.RangeResult
	more     bool
	count    int64
	streamed bool // the message is the only field of a RangeStreamResponse
}

// recordBytes is the length of all records together.
func (m *rangeMessage) recordBytes() int {
	n := 0
	for _, frame := range m.res.Frames {
		n += len(frame)
	}
	return n
}

func (m *rangeMessage) tailSize() int { return sizeBool(m.more) + sizeInt(uint64(m.count)) }

// appendHead writes everything in front of the records.
func (m *rangeMessage) appendHead(b []byte) []byte {
	if m.streamed {
		b = appendLen(b, tag1Bytes, sizeHeaderField(m.header)+m.recordBytes()+m.tailSize())
	}
	return appendHeaderField(b, m.header)
}

func (m *rangeMessage) headSize() int {
	n := sizeHeaderField(m.header)
	if m.streamed {
		n += 1 + sizeVarint(uint64(n+m.recordBytes()+m.tailSize()))
	}
	return n
}

func (m *rangeMessage) appendTail(b []byte) []byte {
	b = appendBool(b, tag3Varint, m.more)
	return appendInt(b, tag4Varint, uint64(m.count))
}

// encodeRange makes the message and takes over the result.
func encodeRange(m rangeMessage) any {
	if size := m.headSize() + m.recordBytes() + m.tailSize(); size <= copiedRangeBytes {
		r := newReply(size)
		r.b = m.appendHead(r.b)
		for _, frame := range m.res.Frames {
			r.b = append(r.b, frame...)
		}
		r.b = m.appendTail(r.b)
		m.res.Release()
		return r
	}
	// Head and tail are two ends of one small piece of memory.
	ends := m.appendHead(make([]byte, 0, m.headSize()+m.tailSize()))
	head := len(ends)
	ends = m.appendTail(ends)
	bufs := make(mem.BufferSlice, 0, len(m.res.Frames)+2)
	bufs = append(bufs, mem.SliceBuffer(ends[:head]))
	bufs, lent := appendFrames(bufs, m.res)
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
