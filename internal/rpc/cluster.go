package rpc

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/member"
)

// clusterServer answers the cluster service.
type clusterServer struct {
	headers
	replica Proposer
	table   *member.Table
}

func (s *clusterServer) memberList(ctx context.Context, r *pb.MemberListRequest) (any, error) {
	if r.Linearizable {
		if err := s.replica.Barrier(ctx); err != nil {
			return nil, err
		}
	}
	out := &pb.MemberListResponse{Header: s.plain()}
	for _, m := range s.table.List() {
		out.Members = append(out.Members, &pb.Member{
			ID: uint64(m.ID), Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.Learner,
		})
	}
	return out, nil
}
