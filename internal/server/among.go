package server

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/peer"
	"github.com/keelson-db/keelson/internal/rpc"
)

// among is the server as other members see it on the peer port.
type among struct {
	node
	lessor   *rpc.Lessor
	promoter *rpc.Promoter
}

// Answer implements peer.Answerer.
func (a *among) Answer(ctx context.Context, from uint64, kind peer.Question, body []byte) ([]byte, error) {
	return peer.Answers{Lessor: a.lessor, Promoter: a.promoter, Fetches: a.s.replica}.Answer(ctx, from, kind, body)
}

// DowngradeEnabled implements peer.Local.
func (a *among) DowngradeEnabled() bool { return a.s.data.machine.DowngradeTarget() != "" }

// HashKV implements peer.Local.
func (a *among) HashKV(ctx context.Context, revision int64) (*pb.HashKVResponse, error) {
	h, rev, err := a.s.data.machine.KV().HashKV(ctx, mvcc.Rev(revision))
	if err != nil {
		return nil, err
	}
	members := a.s.data.machine.Members()
	return &pb.HashKVResponse{
		Header: &pb.ResponseHeader{
			ClusterId: members.ClusterID(), MemberId: uint64(members.Local()), Revision: int64(rev), RaftTerm: a.s.replica.Status().Term,
		},
		Hash: h.Hash, CompactRevision: int64(h.Compact), HashRevision: int64(h.Rev),
	}, nil
}

// Promote implements peer.Local. The caller's token is judged where clients' are.
func (a *among) Promote(ctx context.Context, id uint64, authorization string) error {
	if authorization != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", authorization)
	}
	_, err := pb.NewClusterClient(a.s.inside.conn).MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
	return err
}
