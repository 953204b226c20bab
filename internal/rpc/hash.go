package rpc

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/snapshot"
	"github.com/keelson-db/keelson/internal/state"
)

// hashServer answers with hashes of what this member holds, so that it can be compared with another one.
type hashServer struct {
	headers
	machine  *state.Machine
	versions func() snapshot.Versions
	took     *metrics.MVCC
}

// hash is the hash of the whole database, as it would be in a snapshot.
func (s *hashServer) hash(context.Context, *pb.HashRequest) (any, error) {
	start := time.Now()
	hash, rev, err := snapshot.Hash(s.machine, s.versions())
	if err != nil {
		return nil, err
	}
	s.took.HashDuration.Observe(time.Since(start).Seconds())
	return &pb.HashResponse{Header: s.at(rev), Hash: hash}, nil
}

// hashKV is the hash of the keys up to a revision.
func (s *hashServer) hashKV(ctx context.Context, r *pb.HashKVRequest) (any, error) {
	start := time.Now()
	h, rev, err := s.store.HashKV(ctx, mvcc.Rev(r.Revision))
	if err != nil {
		return nil, err
	}
	s.took.HashRevDuration.Observe(time.Since(start).Seconds())
	return &pb.HashKVResponse{Header: s.at(rev), Hash: h.Hash, CompactRevision: int64(h.Compact), HashRevision: int64(h.Rev)}, nil
}
