package state

import (
	"encoding/binary"
	"math/rand/v2"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/command"
)

// dice make commands, from the bytes of a fuzzer or from seeded chance. They know where the model stands, so
// that most of what they make hits something.
type dice struct {
	bytes []byte     // used up first
	rng   *rand.Rand // nil: all zeroes once the bytes are used up
	m     *model
}

// n returns a number below max.
func (d *dice) n(max int) int {
	if d.rng != nil {
		return d.rng.IntN(max)
	}
	if len(d.bytes) == 0 {
		return 0
	}
	b := d.bytes[0]
	d.bytes = d.bytes[1:]
	return int(b) % max
}

func (d *dice) done() bool { return d.rng == nil && len(d.bytes) == 0 }

func (d *dice) key() []byte {
	return [][]byte{[]byte("a"), []byte("b"), []byte("c"), []byte("d"), []byte("b\x00"), {0}, {0xff}, []byte("bb")}[d.n(8)]
}

// end is the end of a range that begins at any key.
func (d *dice) end() []byte {
	switch d.n(4) {
	case 0, 1:
		return nil
	case 2:
		return []byte{0}
	}
	return d.key()
}

func (d *dice) value() []byte {
	return [][]byte{[]byte("1"), nil, []byte("2"), []byte("22"), {0}, make([]byte, 3000)}[d.n(6)]
}

// rev is a revision near the present, sometimes one that does not exist.
func (d *dice) rev() int64 { return d.m.rev + 2 - int64(d.n(9)) }

func (d *dice) lease() int64 { return int64(d.n(4)) }

func (d *dice) put() *pb.PutRequest {
	p := &pb.PutRequest{Key: d.key(), PrevKv: d.n(3) == 0}
	switch d.n(9) {
	case 0:
		p.IgnoreValue = true
		p.Lease = d.lease()
	case 1:
		p.IgnoreLease = true
		p.Value = d.value()
	case 2:
		p.IgnoreValue, p.IgnoreLease = true, true
	default:
		p.Value = d.value()
		if d.n(2) == 0 {
			p.Lease = d.lease()
		}
	}
	return p
}

func (d *dice) delete() *pb.DeleteRangeRequest {
	return &pb.DeleteRangeRequest{Key: d.key(), RangeEnd: d.end(), PrevKv: d.n(3) == 0}
}

func (d *dice) query() *pb.RangeRequest {
	r := &pb.RangeRequest{Key: d.key(), RangeEnd: d.end(), KeysOnly: d.n(5) == 0, CountOnly: d.n(6) == 0}
	if d.n(3) == 0 {
		r.Revision = d.rev()
	}
	if d.n(3) == 0 {
		r.Limit = int64(d.n(4))
	}
	if d.n(3) == 0 {
		r.SortOrder = pb.RangeRequest_SortOrder(1 + d.n(2))
		r.SortTarget = pb.RangeRequest_SortTarget(d.n(5))
	}
	return r
}

func (d *dice) compare() *pb.Compare {
	c := &pb.Compare{Key: d.key(), Target: pb.Compare_CompareTarget(d.n(6)), Result: pb.Compare_CompareResult(d.n(5))}
	if d.n(3) == 0 {
		c.RangeEnd = d.end()
	}
	kind := int(c.Target)
	if d.n(8) == 0 {
		kind = d.n(6) // of another target, or none
	}
	switch kind {
	case 0:
		c.TargetUnion = &pb.Compare_Version{Version: int64(d.n(4))}
	case 1:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: d.rev() * int64(d.n(2))}
	case 2:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: d.rev() * int64(d.n(2))}
	case 3:
		c.TargetUnion = &pb.Compare_Value{Value: d.value()}
	case 4:
		c.TargetUnion = &pb.Compare_Lease{Lease: d.lease()}
	}
	return c
}

// txn makes a transaction, nested up to depth; nothing keeps its operations from overlapping.
func (d *dice) txn(depth int) *pb.TxnRequest {
	r := new(pb.TxnRequest)
	for range d.n(3) {
		r.Compare = append(r.Compare, d.compare())
	}
	r.Success, r.Failure = d.branch(depth), d.branch(depth)
	return r
}

func (d *dice) branch(depth int) (ops []*pb.RequestOp) {
	for range d.n(5) {
		op := new(pb.RequestOp)
		switch kind := d.n(10); {
		case kind < 3:
			op.Request = &pb.RequestOp_RequestPut{RequestPut: d.put()}
		case kind < 5:
			op.Request = &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: d.delete()}
		case kind < 8:
			op.Request = &pb.RequestOp_RequestRange{RequestRange: d.query()}
		case depth > 0:
			op.Request = &pb.RequestOp_RequestTxn{RequestTxn: d.txn(depth - 1)}
		}
		ops = append(ops, op)
	}
	return ops
}

// reads makes a transaction of ranges alone.
func (d *dice) reads() *pb.TxnRequest {
	r := d.txn(0)
	for _, branch := range [...][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			op.Request = &pb.RequestOp_RequestRange{RequestRange: d.query()}
		}
	}
	return r
}

// op makes a command, mostly a transaction.
func (d *dice) op() command.Op {
	switch d.n(28) {
	case 0, 1, 2:
		return d.put()
	case 3:
		return d.delete()
	case 4, 5:
		return &pb.LeaseGrantRequest{ID: 1 + int64(d.n(3)), TTL: 10 + int64(d.n(50))}
	case 6:
		return &command.LeaseRevoke{IDs: []int64{d.lease(), d.lease(), d.lease()}, Expired: true}
	case 7:
		return &command.LeaseRevoke{IDs: []int64{d.lease(), 1 + d.lease()%3}[:1+d.n(2)]}
	case 8:
		return &command.LeaseCheckpoint{Leases: []command.Remaining{{ID: d.lease(), Seconds: int64(d.n(70)) - 2}}}
	case 9:
		if d.n(2) == 0 {
			return d.put()
		}
		return &pb.CompactionRequest{Revision: d.rev()}
	case 10:
		return &command.MemberPublish{ID: uint64(d.n(10)), Name: string(d.key()), ClientURLs: []string{string(d.value())}}
	}
	return d.txn(3)
}

// seedBytes are the bytes of a seeded fuzz input.
func seedBytes(seed uint64, length int) []byte {
	rng := rand.New(rand.NewPCG(seed, 7))
	var b []byte
	for len(b) < length {
		b = binary.BigEndian.AppendUint64(b, rng.Uint64())
	}
	return b
}
