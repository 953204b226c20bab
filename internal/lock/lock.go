package lock

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/lock/lockpb"
)

// Lock implements lockpb.LockServer.
func (s *Service) Lock(ctx context.Context, in *lockpb.LockRequest) (*lockpb.LockResponse, error) {
	ctx, done := asCaller(ctx)
	defer done()
	t, err := s.enter(ctx, in.Name, in.Lease, nil)
	if err != nil {
		return nil, answer(ctx, err)
	}
	if t.first {
		return &lockpb.LockResponse{Header: t.header, Key: t.key}, nil
	}
	header, err := s.wait(ctx, t, errExpired)
	if err != nil {
		s.leave(ctx, t)
		return nil, answer(ctx, err)
	}
	return &lockpb.LockResponse{Header: header, Key: t.key}, nil
}

// Unlock implements lockpb.LockServer.
func (s *Service) Unlock(ctx context.Context, in *lockpb.UnlockRequest) (*lockpb.UnlockResponse, error) {
	ctx, done := asCaller(ctx)
	defer done()
	deleted, err := s.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: in.Key})
	if err != nil {
		return nil, answer(ctx, err)
	}
	return &lockpb.UnlockResponse{Header: deleted.Header}, nil
}
