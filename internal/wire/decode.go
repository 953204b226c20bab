package wire

import pb "go.etcd.io/etcd/api/v3/etcdserverpb"

// The readers below fill a message from b, which the message then owns: keys and values are parts of b.
// They answer false for anything that is not plain; the message is then in an unknown state and must be
// read again by the protobuf library. The oldest rule of the format, "the last one wins", holds for
// every scalar; a message that occurs twice would have to be merged and is therefore not plain.

func readPut(b []byte, r *pb.PutRequest) bool {
	f := fields{b: b}
	for tag := f.next(); tag != 0; tag = f.next() {
		switch tag {
		case tag1Bytes:
			r.Key = f.bytes()
		case tag2Bytes:
			r.Value = f.bytes()
		case tag3Varint:
			r.Lease = int64(f.varint())
		case tag4Varint:
			r.PrevKv = f.bool()
		case tag5Varint:
			r.IgnoreValue = f.bool()
		case tag6Varint:
			r.IgnoreLease = f.bool()
		default:
			f.unknown()
		}
	}
	return f.whole()
}

func readRange(b []byte, r *pb.RangeRequest) bool {
	f := fields{b: b}
	for tag := f.next(); tag != 0; tag = f.next() {
		switch tag {
		case tag1Bytes:
			r.Key = f.bytes()
		case tag2Bytes:
			r.RangeEnd = f.bytes()
		case tag3Varint:
			r.Limit = int64(f.varint())
		case tag4Varint:
			r.Revision = int64(f.varint())
		case tag5Varint:
			r.SortOrder = pb.RangeRequest_SortOrder(f.varint())
		case tag6Varint:
			r.SortTarget = pb.RangeRequest_SortTarget(f.varint())
		case tag7Varint:
			r.Serializable = f.bool()
		case tag8Varint:
			r.KeysOnly = f.bool()
		case tag9Varint:
			r.CountOnly = f.bool()
		case tag10Varint:
			r.MinModRevision = int64(f.varint())
		case tag11Varint:
			r.MaxModRevision = int64(f.varint())
		case tag12Varint:
			r.MinCreateRevision = int64(f.varint())
		case tag13Varint:
			r.MaxCreateRevision = int64(f.varint())
		default:
			f.unknown()
		}
	}
	return f.whole()
}

func readDelete(b []byte, r *pb.DeleteRangeRequest) bool {
	f := fields{b: b}
	for tag := f.next(); tag != 0; tag = f.next() {
		switch tag {
		case tag1Bytes:
			r.Key = f.bytes()
		case tag2Bytes:
			r.RangeEnd = f.bytes()
		case tag3Varint:
			r.PrevKv = f.bool()
		default:
			f.unknown()
		}
	}
	return f.whole()
}

func readTxn(b []byte, r *pb.TxnRequest) bool {
	f := fields{b: b}
	for tag := f.next(); tag != 0; tag = f.next() {
		switch tag {
		case tag1Bytes:
			c := new(compareIn)
			if !readCompare(f.bytes(), c) {
				return false
			}
			r.Compare = append(r.Compare, &c.compare)
		case tag2Bytes:
			op := readOp(f.bytes())
			if op == nil {
				return false
			}
			r.Success = append(r.Success, op)
		case tag3Bytes:
			op := readOp(f.bytes())
			if op == nil {
				return false
			}
			r.Failure = append(r.Failure, op)
		default:
			f.unknown()
		}
	}
	return f.whole()
}

// compareIn holds a compare and the usual choice of its oneof in one piece of memory.
type compareIn struct {
	compare pb.Compare
	mod     pb.Compare_ModRevision
}

func readCompare(b []byte, in *compareIn) bool {
	f, c := fields{b: b}, &in.compare
	for tag := f.next(); tag != 0; tag = f.next() {
		switch tag {
		case tag1Varint:
			c.Result = pb.Compare_CompareResult(f.varint())
		case tag2Varint:
			c.Target = pb.Compare_CompareTarget(f.varint())
		case tag3Bytes:
			c.Key = f.bytes()
		case tag4Varint:
			c.TargetUnion = &pb.Compare_Version{Version: int64(f.varint())}
		case tag5Varint:
			c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: int64(f.varint())}
		case tag6Varint:
			in.mod.ModRevision = int64(f.varint())
			c.TargetUnion = &in.mod
		case tag7Bytes:
			c.TargetUnion = &pb.Compare_Value{Value: f.bytes()}
		case tag8Varint:
			c.TargetUnion = &pb.Compare_Lease{Lease: int64(f.varint())}
		case tag64Bytes:
			c.RangeEnd = f.bytes()
		default:
			f.unknown()
		}
	}
	return f.whole()
}

// The three structs hold an operation of a transaction, its oneof and its request in one piece of memory.
type (
	rangeOp struct {
		op  pb.RequestOp
		of  pb.RequestOp_RequestRange
		req pb.RangeRequest
	}
	putOp struct {
		op  pb.RequestOp
		of  pb.RequestOp_RequestPut
		req pb.PutRequest
	}
	deleteOp struct {
		op  pb.RequestOp
		of  pb.RequestOp_RequestDeleteRange
		req pb.DeleteRangeRequest
	}
)

// readOp is nil for an operation that is not exactly one plain range, put or delete.
func readOp(b []byte) *pb.RequestOp {
	f := fields{b: b}
	tag := f.next()
	body := f.bytes()
	if tag == 0 || !f.whole() {
		return nil
	}
	switch tag {
	case tag1Bytes:
		o := new(rangeOp)
		o.op.Request, o.of.RequestRange = &o.of, &o.req
		if readRange(body, &o.req) {
			return &o.op
		}
	case tag2Bytes:
		o := new(putOp)
		o.op.Request, o.of.RequestPut = &o.of, &o.req
		if readPut(body, &o.req) {
			return &o.op
		}
	case tag3Bytes:
		o := new(deleteOp)
		o.op.Request, o.of.RequestDeleteRange = &o.of, &o.req
		if readDelete(body, &o.req) {
			return &o.op
		}
	}
	return nil
}
