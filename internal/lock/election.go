package lock

import (
	"bytes"
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"

	"github.com/keelson-db/keelson/internal/lock/electionpb"
)

// Campaign implements electionpb.ElectionServer.
func (s *Service) Campaign(ctx context.Context, in *electionpb.CampaignRequest) (*electionpb.CampaignResponse, error) {
	ctx, done := asCaller(ctx)
	defer done()
	t, err := s.enter(ctx, in.Name, in.Lease, in.Value)
	if err != nil {
		return nil, answer(ctx, err)
	}
	if err := s.lead(ctx, t, in.Value); err != nil {
		s.leave(ctx, t)
		return nil, answer(ctx, err)
	}
	return &electionpb.CampaignResponse{
		Header: t.header,
		Leader: &electionpb.LeaderKey{Name: in.Name, Key: t.key, Rev: t.rev, Lease: t.lease},
	}, nil
}

// lead returns when the ticket's owner leads and shows the value.
func (s *Service) lead(ctx context.Context, t *ticket, value []byte) error {
	if !t.created && !bytes.Equal(t.value, value) {
		if _, err := s.show(ctx, t.key, t.rev, t.lease, value); err != nil {
			return err
		}
	}
	if t.first {
		return nil
	}
	_, err := s.wait(ctx, t, errNotLeader)
	return err
}

// show writes a value under the key of a leader or of somebody who waits to be one, as long as it is theirs.
func (s *Service) show(ctx context.Context, key []byte, rev, lease int64, value []byte) (*pb.ResponseHeader, error) {
	done, err := s.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(key, rev)},
		Success: []*pb.RequestOp{putOp(&pb.PutRequest{Key: key, Value: value, Lease: lease})},
	})
	if err != nil {
		return nil, err
	}
	if !done.Succeeded {
		return nil, errNotLeader
	}
	return done.Header, nil
}

// Proclaim implements electionpb.ElectionServer. A leader key without a lease gets one: a value without any
// would stay for ever, and its owner with it.
func (s *Service) Proclaim(ctx context.Context, in *electionpb.ProclaimRequest) (*electionpb.ProclaimResponse, error) {
	ctx, done := asCaller(ctx)
	defer done()
	if in.Leader == nil {
		return nil, answer(ctx, errNoField)
	}
	lease, drawn, err := s.lease(ctx, in.Leader.Lease)
	if err != nil {
		return nil, answer(ctx, err)
	}
	header, err := s.show(ctx, in.Leader.Key, in.Leader.Rev, lease, in.Value)
	if err != nil {
		if drawn && ctx.Err() == nil { // otherwise the value may have been written all the same
			_, _ = s.leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: lease}) // it ends by itself, only later
		}
		return nil, answer(ctx, err)
	}
	return &electionpb.ProclaimResponse{Header: header}, nil
}

// Leader implements electionpb.ElectionServer.
func (s *Service) Leader(ctx context.Context, in *electionpb.LeaderRequest) (*electionpb.LeaderResponse, error) {
	ctx, done := asCaller(ctx)
	defer done()
	header, kv, err := s.leader(ctx, prefixOf(in.Name))
	if err == nil && kv == nil {
		err = errNoLeader
	}
	if err != nil {
		return nil, answer(ctx, err)
	}
	return &electionpb.LeaderResponse{Header: header, Kv: kv}, nil
}

// leader is the oldest key below a prefix, or nil.
func (s *Service) leader(ctx context.Context, prefix []byte) (*pb.ResponseHeader, *mvccpb.KeyValue, error) {
	found, err := s.kv.Range(ctx, oldestOf(prefix))
	if err != nil {
		return nil, nil, err
	}
	if len(found.Kvs) == 0 {
		return found.Header, nil, nil
	}
	return found.Header, found.Kvs[0], nil
}

// Observe implements electionpb.ElectionServer.
func (s *Service) Observe(in *electionpb.LeaderRequest, stream grpc.ServerStreamingServer[electionpb.LeaderResponse]) error {
	ctx, done := asCaller(stream.Context())
	defer done()
	for {
		if err := s.observe(ctx, prefixOf(in.Name), stream.Send); err != nil {
			return answer(ctx, err)
		}
	}
}

// observe tells of one leader, from the first value to the last; it waits for a leader if there is none.
func (s *Service) observe(ctx context.Context, prefix []byte, send func(*electionpb.LeaderResponse) error) error {
	header, kv, err := s.leader(ctx, prefix)
	if err == nil && kv == nil {
		header, kv, err = s.firstPut(ctx, prefix, header.GetRevision()+1)
	}
	if err != nil || kv == nil {
		return err
	}
	if err := send(&electionpb.LeaderResponse{Header: header, Kv: kv}); err != nil {
		return err
	}
	err = s.follow(ctx, func(news *pb.WatchResponse) (over bool, err error) {
		for _, event := range news.Events {
			if event.Type == mvccpb.Event_DELETE {
				return true, nil
			}
			if err := send(&electionpb.LeaderResponse{Header: news.Header, Kv: event.Kv}); err != nil {
				return true, err
			}
		}
		return false, nil
	}, &pb.WatchCreateRequest{Key: kv.Key, StartRevision: header.GetRevision() + 1})
	if errors.Is(err, errLookAgain) {
		return nil
	}
	return err
}

// Resign implements electionpb.ElectionServer.
func (s *Service) Resign(ctx context.Context, in *electionpb.ResignRequest) (*electionpb.ResignResponse, error) {
	ctx, done := asCaller(ctx)
	defer done()
	if in.Leader == nil {
		return nil, answer(ctx, errNoField)
	}
	removed, err := s.remove(ctx, in.Leader.Key, in.Leader.Rev)
	if err != nil {
		return nil, answer(ctx, err)
	}
	return &electionpb.ResignResponse{Header: removed.Header}, nil
}
