package lock

import (
	"context"
	"slices"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// ticket is one place in the row before a name.
type ticket struct {
	prefix  []byte // of all keys of the name
	key     []byte
	rev     int64 // the create revision of key: who is older comes first
	lease   int64
	drawn   bool   // the lease is known to nobody but us
	created bool   // the key was not there before; otherwise the lease already had its place
	value   []byte // what the key was found to hold; nil when it was created
	first   bool
	header  *pb.ResponseHeader
}

// prefixOf is what the keys of a name begin with.
func prefixOf(name []byte) []byte { return append(slices.Clone(name), '/') }

// enter takes a place in the row, or finds the one that the lease has. The write is not given up when the
// caller goes away in the middle of it: only who knows how it ended can clean up behind it.
func (s *Service) enter(ctx context.Context, name []byte, named int64, value []byte) (*ticket, error) {
	lease, drawn, err := s.lease(ctx, named)
	if err != nil {
		return nil, err
	}
	prefix := prefixOf(name)
	t := &ticket{prefix: prefix, key: strconv.AppendInt(slices.Clone(prefix), lease, 16), lease: lease, drawn: drawn}
	oldest := rangeOp(oldestOf(prefix))

	whole, cancel := settling(ctx)
	defer cancel()
	done, err := s.kv.Txn(whole, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(t.key, 0)},
		Success: []*pb.RequestOp{putOp(&pb.PutRequest{Key: t.key, Value: value, Lease: lease}), oldest},
		Failure: []*pb.RequestOp{rangeOp(&pb.RangeRequest{Key: t.key}), oldest},
	})
	if err != nil {
		if drawn {
			s.leave(ctx, t)
		}
		return nil, err
	}
	t.header, t.created, t.rev = done.Header, done.Succeeded, done.Header.GetRevision()
	if !t.created {
		own := oneKey(done, 0)
		t.rev, t.value = own.GetCreateRevision(), own.GetValue()
	}
	t.first = oneKey(done, 1).GetCreateRevision() == t.rev
	if t.created && ctx.Err() != nil {
		s.leave(ctx, t)
		return nil, ctx.Err()
	}
	return t, nil
}

// wait returns when the ticket's key is the oldest, with the header of the look that showed it. If the key is
// gone it says so at once, whoever may be before it.
func (s *Service) wait(ctx context.Context, t *ticket, gone error) (*pb.ResponseHeader, error) {
	for {
		look, err := s.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{
			rangeOp(&pb.RangeRequest{Key: t.key, KeysOnly: true}),
			rangeOp(&pb.RangeRequest{
				Key: t.prefix, RangeEnd: endOf(t.prefix), MaxCreateRevision: t.rev - 1, KeysOnly: true,
				SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_DESCEND, Limit: 1,
			}),
		}})
		if err != nil {
			return nil, err
		}
		if oneKey(look, 0).GetCreateRevision() != t.rev {
			return nil, gone
		}
		before := oneKey(look, 1)
		if before == nil {
			return look.Header, nil
		}
		if err := s.untilDeleted(ctx, look.Header.GetRevision()+1, before.Key, t.key); err != nil {
			return nil, err
		}
	}
}

// leave gives a place in the row up. It is asked for when something has already gone wrong, and what it
// cannot do any more the end of the lease will.
func (s *Service) leave(ctx context.Context, t *ticket) {
	ctx, cancel := settling(ctx)
	defer cancel()
	if t.drawn {
		_, _ = s.leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: t.lease})
		return
	}
	_, _ = s.remove(ctx, t.key, t.rev)
}

// remove deletes the key that was created at a revision, and no later one of the same name.
func (s *Service) remove(ctx context.Context, key []byte, rev int64) (*pb.TxnResponse, error) {
	return s.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(key, rev)},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}}},
	})
}

// oldestOf asks for the key with the lowest create revision.
func oldestOf(prefix []byte) *pb.RangeRequest {
	return &pb.RangeRequest{
		Key: prefix, RangeEnd: endOf(prefix),
		SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_ASCEND, Limit: 1,
	}
}

// endOf is the end of the range of keys with a prefix. Every prefix here ends in a slash, and no byte between
// the slash and its successor begins a key of another name.
func endOf(prefix []byte) []byte {
	end := slices.Clone(prefix)
	end[len(end)-1]++
	return end
}

func createdAt(key []byte, rev int64) *pb.Compare {
	return &pb.Compare{
		Key: key, Target: pb.Compare_CREATE, Result: pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_CreateRevision{CreateRevision: rev},
	}
}

func rangeOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func putOp(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

// oneKey is the key that the i-th operation found, or nil.
func oneKey(done *pb.TxnResponse, i int) *mvccpb.KeyValue {
	if i >= len(done.Responses) {
		return nil
	}
	if kvs := done.Responses[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
		return kvs[0]
	}
	return nil
}
