package rpc

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/keelson-db/keelson/internal/member"
)

// maintenanceServer answers what is built of the maintenance service.
type maintenanceServer struct {
	headers
	replica                 Proposer
	members                 *member.Table
	alarms                  func() []*pb.AlarmMember
	version, storageVersion string
	databaseBytes           func() (total, inUse int64)
	quotaBytes              int64
}

// status tells how this member stands. It asks nobody and waits for nothing, because it is what people
// look at when nothing else answers.
func (s *maintenanceServer) status(context.Context, *pb.StatusRequest) (any, error) {
	st := s.replica.Status()
	total, inUse := s.databaseBytes()
	out := &pb.StatusResponse{
		Header:  s.now(),
		Version: s.version,
		// Clients divide by the size, and an empty store that was never flushed has none.
		DbSize:           max(total, 1),
		DbSizeInUse:      max(inUse, 1),
		Leader:           st.Leader,
		RaftIndex:        st.Commit,
		RaftTerm:         st.Term,
		RaftAppliedIndex: st.Applied,
		StorageVersion:   s.storageVersion,
		DbSizeQuota:      s.quotaBytes,
		DowngradeInfo:    &pb.DowngradeInfo{},
	}
	if self, ok := s.members.Get(member.ID(s.member)); ok {
		out.IsLearner = self.Learner
	}
	if st.Leader == 0 {
		out.Errors = append(out.Errors, rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader))
	}
	for _, a := range s.alarms() {
		out.Errors = append(out.Errors, a.String())
	}
	return out, nil
}
