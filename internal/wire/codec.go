package wire

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/metrics"
)

// inlineReplyBytes is the size in bytes up to which a reply is written into the same piece of memory as
// its bookkeeping: a header is at most 44 bytes, a put answers with nothing more.
const inlineReplyBytes = 64

// pooledReplyBytes is the size in bytes up to which a reply's buffer comes from the pool. gRPC does not
// return larger ones to a pool of its own either, and one huge reply must not stay in memory for ever.
const pooledReplyBytes = 1 << 20

// Encoded is a reply that is already in its wire form. The codec hands its
// buffers to the transport as they are, so that a range or a watch event is
// never encoded twice. The codec takes over the references of Bufs.
type Encoded struct {
	Bufs mem.BufferSlice
	lent *lentFrames // what of Bufs belongs to the store; nil for none
}

// WhenSent has f called when the transport is done with all that the reply has borrowed from the store, and
// reports whether that is still to come; a reply that has borrowed nothing never calls. It belongs between
// making the reply and handing it to the transport. f runs on a goroutine of the transport and must not wait.
func (e *Encoded) WhenSent(f func()) bool { return e.lent != nil && e.lent.whenSent(f) }

// Codec is what every message of every service goes through. The hot messages are read and written by
// hand, the others by the protobuf library; on the wire nobody can tell. It has no state of its own, so
// all goroutines share one.
type Codec struct {
	Received *metrics.Counter // bytes of the requests read, whether they were valid or not
	Sent     *metrics.Counter // bytes of the replies written
}

var _ encoding.CodecV2 = Codec{}

// Name is the content-subtype that this codec speaks.
func (Codec) Name() string { return "proto" }

// Unmarshal copies the message once, because gRPC takes its buffers back when this returns, and lets
// keys and values be parts of that copy.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	c.Received.Add(uint64(data.Len()))
	switch m := v.(type) {
	case *pb.PutRequest:
		m.Reset()
		return readOr(data.Materialize(), m, readPut)
	case *pb.RangeRequest:
		m.Reset()
		return readOr(data.Materialize(), m, readRange)
	case *pb.TxnRequest:
		m.Reset()
		return readOr(data.Materialize(), m, readTxn)
	case *pb.DeleteRangeRequest:
		m.Reset()
		return readOr(data.Materialize(), m, readDelete)
	case proto.Message:
		buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
		defer buf.Free()
		return proto.Unmarshal(buf.ReadOnlyData(), m)
	}
	return fmt.Errorf("decode request: %T is no protobuf message", v)
}

// readOr reads by hand, or by the library what is not plain.
func readOr[M proto.Message](b []byte, m M, read func([]byte, M) bool) error {
	if read(b, m) {
		return nil
	}
	return proto.Unmarshal(b, m)
}

// Marshal gives the message's bytes to the transport.
func (c Codec) Marshal(v any) (mem.BufferSlice, error) {
	out, err := marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode reply: %w", err)
	}
	c.Sent.Add(uint64(out.Len()))
	return out, nil
}

func marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *Encoded:
		return m.Bufs, nil
	case *reply:
		return m.bufs(), nil
	case *pb.PutResponse:
		r := newReply(sizePut(m))
		r.b = appendPut(r.b, m)
		return r.bufs(), nil
	case *pb.TxnResponse:
		r := newReply(sizeTxn(m))
		r.b = appendTxn(r.b, m)
		return r.bufs(), nil
	case *pb.DeleteRangeResponse:
		r := newReply(sizeDelete(m))
		r.b = appendDelete(r.b, m)
		return r.bufs(), nil
	case *pb.LeaseKeepAliveResponse:
		r := newReply(sizeHeaderField(m.Header) + sizeInt(uint64(m.ID)) + sizeInt(uint64(m.TTL)))
		r.b = appendHeaderField(r.b, m.Header)
		r.b = appendInt(appendInt(r.b, tag2Varint, uint64(m.ID)), tag3Varint, uint64(m.TTL))
		return r.bufs(), nil
	case proto.Message:
		r := newReply(proto.Size(m))
		b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(r.b, m)
		if err != nil {
			return nil, err
		}
		r.b = b
		return r.bufs(), nil
	}
	return nil, fmt.Errorf("%T is no protobuf message", v)
}

// reply is one encoded message under construction: its bytes and all that the transport wants around
// them, in one allocation for a small message and from gRPC's pool for a larger one.
type reply struct {
	b      []byte
	pooled *[]byte
	plain  mem.SliceBuffer
	slice  [1]mem.Buffer
	inline [inlineReplyBytes]byte
}

// newReply begins a message of exactly size bytes; they are appended to b.
func newReply(size int) *reply {
	r := new(reply)
	switch {
	case size <= inlineReplyBytes:
		r.b = r.inline[:0]
	case size > pooledReplyBytes || mem.IsBelowBufferPoolingThreshold(size):
		r.b = make([]byte, 0, size)
	default:
		r.pooled = mem.DefaultBufferPool().Get(size)
		r.b = (*r.pooled)[:0]
	}
	return r
}

// bufs is the finished message. Whoever called newReply has written no more than it said, so the bytes
// are still where they were begun.
func (r *reply) bufs() mem.BufferSlice {
	if r.pooled != nil {
		*r.pooled = r.b
		r.slice[0] = mem.NewBuffer(r.pooled, mem.DefaultBufferPool())
	} else {
		r.plain = r.b
		r.slice[0] = &r.plain
	}
	return r.slice[:]
}
