package wire

import (
	"math/bits"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Each message has a size and an append. The append of a message that contains others asks for their
// sizes again instead of remembering them: the nesting is shallow and a size costs a few nanoseconds,
// while remembering would cost an allocation.

func sizeVarint(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func appendVarint(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// sizeInt is the size of an integer field with a one-byte tag; zero is not written.
func sizeInt(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + sizeVarint(v)
}

func appendInt(b []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return b
	}
	return appendVarint(append(b, tag), v)
}

func sizeBool(v bool) int {
	if v {
		return 2
	}
	return 0
}

func appendBool(b []byte, tag byte, v bool) []byte {
	if v {
		return append(b, tag, 1)
	}
	return b
}

// sizeLen is the size of a length-delimited field with a one-byte tag that holds n bytes.
func sizeLen(n int) int { return 1 + sizeVarint(uint64(n)) + n }

// appendLen begins a length-delimited field; its n bytes follow.
func appendLen(b []byte, tag byte, n int) []byte { return appendVarint(append(b, tag), uint64(n)) }

func sizeBytes(v []byte) int {
	if len(v) == 0 {
		return 0
	}
	return sizeLen(len(v))
}

func appendBytes(b []byte, tag byte, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return append(appendLen(b, tag, len(v)), v...)
}

func sizeHeader(h *pb.ResponseHeader) int {
	return sizeInt(h.ClusterId) + sizeInt(h.MemberId) + sizeInt(uint64(h.Revision)) + sizeInt(h.RaftTerm)
}

func appendHeader(b []byte, h *pb.ResponseHeader) []byte {
	b = appendInt(b, tag1Varint, h.ClusterId)
	b = appendInt(b, tag2Varint, h.MemberId)
	b = appendInt(b, tag3Varint, uint64(h.Revision))
	return appendInt(b, tag4Varint, h.RaftTerm)
}

// sizeHeaderField is the size of field 1 of every response; a nil header is not written.
func sizeHeaderField(h *pb.ResponseHeader) int {
	if h == nil {
		return 0
	}
	return sizeLen(sizeHeader(h))
}

func appendHeaderField(b []byte, h *pb.ResponseHeader) []byte {
	if h == nil {
		return b
	}
	return appendHeader(appendLen(b, tag1Bytes, sizeHeader(h)), h)
}

func sizeKV(kv *mvccpb.KeyValue) int {
	return sizeBytes(kv.Key) + sizeInt(uint64(kv.CreateRevision)) + sizeInt(uint64(kv.ModRevision)) +
		sizeInt(uint64(kv.Version)) + sizeBytes(kv.Value) + sizeInt(uint64(kv.Lease))
}

func appendKV(b []byte, kv *mvccpb.KeyValue) []byte {
	b = appendBytes(b, tag1Bytes, kv.Key)
	b = appendInt(b, tag2Varint, uint64(kv.CreateRevision))
	b = appendInt(b, tag3Varint, uint64(kv.ModRevision))
	b = appendInt(b, tag4Varint, uint64(kv.Version))
	b = appendBytes(b, tag5Bytes, kv.Value)
	return appendInt(b, tag6Varint, uint64(kv.Lease))
}

func sizeKVs(kvs []*mvccpb.KeyValue) int {
	n := 0
	for _, kv := range kvs {
		n += sizeLen(sizeKV(kv))
	}
	return n
}

func appendKVs(b []byte, tag byte, kvs []*mvccpb.KeyValue) []byte {
	for _, kv := range kvs {
		b = appendKV(appendLen(b, tag, sizeKV(kv)), kv)
	}
	return b
}

func sizePut(r *pb.PutResponse) int {
	n := sizeHeaderField(r.Header)
	if r.PrevKv != nil {
		n += sizeLen(sizeKV(r.PrevKv))
	}
	return n
}

func appendPut(b []byte, r *pb.PutResponse) []byte {
	b = appendHeaderField(b, r.Header)
	if r.PrevKv != nil {
		b = appendKV(appendLen(b, tag2Bytes, sizeKV(r.PrevKv)), r.PrevKv)
	}
	return b
}

func sizeDelete(r *pb.DeleteRangeResponse) int {
	return sizeHeaderField(r.Header) + sizeInt(uint64(r.Deleted)) + sizeKVs(r.PrevKvs)
}

func appendDelete(b []byte, r *pb.DeleteRangeResponse) []byte {
	b = appendHeaderField(b, r.Header)
	b = appendInt(b, tag2Varint, uint64(r.Deleted))
	return appendKVs(b, tag3Bytes, r.PrevKvs)
}

func sizeRange(r *pb.RangeResponse) int {
	return sizeHeaderField(r.Header) + sizeKVs(r.Kvs) + sizeBool(r.More) + sizeInt(uint64(r.Count))
}

func appendRange(b []byte, r *pb.RangeResponse) []byte {
	b = appendHeaderField(b, r.Header)
	b = appendKVs(b, tag2Bytes, r.Kvs)
	b = appendBool(b, tag3Varint, r.More)
	return appendInt(b, tag4Varint, uint64(r.Count))
}

func sizeTxn(r *pb.TxnResponse) int {
	n := sizeHeaderField(r.Header) + sizeBool(r.Succeeded)
	for _, op := range r.Responses {
		n += sizeLen(sizeOp(op))
	}
	return n
}

func appendTxn(b []byte, r *pb.TxnResponse) []byte {
	b = appendHeaderField(b, r.Header)
	b = appendBool(b, tag2Varint, r.Succeeded)
	for _, op := range r.Responses {
		b = appendOp(appendLen(b, tag3Bytes, sizeOp(op)), op)
	}
	return b
}

// sizeOp is the size of one answer of a transaction: the request it answers, if it was one at all.
func sizeOp(op *pb.ResponseOp) int {
	switch op := op.Response.(type) {
	case *pb.ResponseOp_ResponseRange:
		return sizeLen(sizeRange(op.ResponseRange))
	case *pb.ResponseOp_ResponsePut:
		return sizeLen(sizePut(op.ResponsePut))
	case *pb.ResponseOp_ResponseDeleteRange:
		return sizeLen(sizeDelete(op.ResponseDeleteRange))
	case *pb.ResponseOp_ResponseTxn:
		return sizeLen(sizeTxn(op.ResponseTxn))
	}
	return 0
}

func appendOp(b []byte, op *pb.ResponseOp) []byte {
	switch op := op.Response.(type) {
	case *pb.ResponseOp_ResponseRange:
		return appendRange(appendLen(b, tag1Bytes, sizeRange(op.ResponseRange)), op.ResponseRange)
	case *pb.ResponseOp_ResponsePut:
		return appendPut(appendLen(b, tag2Bytes, sizePut(op.ResponsePut)), op.ResponsePut)
	case *pb.ResponseOp_ResponseDeleteRange:
		return appendDelete(appendLen(b, tag3Bytes, sizeDelete(op.ResponseDeleteRange)), op.ResponseDeleteRange)
	case *pb.ResponseOp_ResponseTxn:
		return appendTxn(appendLen(b, tag4Bytes, sizeTxn(op.ResponseTxn)), op.ResponseTxn)
	}
	return b
}
