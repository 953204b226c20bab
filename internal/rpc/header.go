package rpc

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// headers fills the header of every response: who answered, in which term, at which revision. Which
// revision that is differs by method: key-value methods tell the one they saw or made, all others the
// current one, and the cluster's methods none.
type headers struct {
	cluster, member uint64
	term            func() uint64
	store           *mvcc.Store
}

// at is a header that tells a revision.
func (h headers) at(rev mvcc.Rev) *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: h.cluster, MemberId: h.member, Revision: int64(rev), RaftTerm: h.term()}
}

// now is a header that tells the current revision.
func (h headers) now() *pb.ResponseHeader {
	view := h.store.View()
	defer view.Close()
	return h.at(view.Rev())
}

// plain is a header without a revision.
func (h headers) plain() *pb.ResponseHeader { return h.at(0) }
