package rpc

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/snapshot"
	"github.com/keelson-db/keelson/internal/state"
)

// maintenanceServer answers what of the maintenance service has no file of its own.
type maintenanceServer struct {
	headers
	replica       Replica
	machine       *state.Machine
	members       *member.Table
	version       string
	versions      func() snapshot.Versions
	databaseBytes func() (total, inUse int64)
	quotaBytes    int64
	limit         time.Duration // of a hand-over
	log           *slog.Logger
}

func maintenanceMethods(d Deps) built {
	down := &downgradeServer{
		headers: d.headers(), machine: d.Machine, replica: d.Replica, release: d.StorageVersion,
		targets: newProposing[*pb.DowngradeResponse](d, "DowngradeInfoSet"),
	}
	m := &maintenanceServer{
		headers: d.headers(), replica: d.Replica, machine: d.Machine, members: d.Machine.Members(),
		version: d.Version, versions: down.versions,
		databaseBytes: d.DatabaseBytes, quotaBytes: d.QuotaBackendBytes,
		limit: d.requestTime(), log: d.Log,
	}
	hashes := &hashServer{headers: d.headers(), machine: d.Machine, versions: down.versions, took: d.Metrics.MVCC}
	snapshots := &snapshotServer{machine: d.Machine, versions: down.versions, took: d.Metrics.Disk.BackendSnapshot, log: d.Log, stall: snapshotStall}
	return built{
		unary: map[string]unaryMethod{
			"Alarm":      checkedMethod(d.access(), newAlarmServer(d).alarm),
			"Defragment": checkedMethod(d.access(), m.defragment),
			"Downgrade":  checkedMethod(d.access(), down.downgrade),
			"Hash":       checkedMethod(d.access(), hashes.hash),
			"HashKV":     checkedMethod(d.access(), hashes.hashKV),
			"MoveLeader": checkedMethod(d.access(), m.moveLeader),
			"Status":     checkedMethod(d.access(), m.status),
		},
		stream: map[string]streamMethod{"Snapshot": checkedStream(d.access(), snapshots.send)},
	}
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
		StorageVersion:   s.versions().Storage,
		DbSizeQuota:      s.quotaBytes,
		DowngradeInfo:    &pb.DowngradeInfo{},
	}
	if target := s.machine.DowngradeTarget(); target != "" {
		out.DowngradeInfo = &pb.DowngradeInfo{Enabled: true, TargetVersion: target}
	}
	if self, ok := s.members.Get(member.ID(s.member)); ok {
		out.IsLearner = self.Learner
	}
	if st.Leader == 0 {
		out.Errors = append(out.Errors, rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader))
	}
	for _, a := range s.machine.Alarms() {
		out.Errors = append(out.Errors, a.String())
	}
	return out, nil
}

// defragment has nothing to do: the engine gives space back by itself, while it works. It answers at once, so
// that what operators run every night goes on to work.
func (s *maintenanceServer) defragment(context.Context, *pb.DefragmentRequest) (any, error) {
	return &pb.DefragmentResponse{}, nil
}

// errSlowTransfer is what etcd says of a hand-over that came to nothing; it has no code there.
var errSlowTransfer = status.Error(codes.Unknown, "etcdserver: request timed out, leader transfer took too long")

// moveLeader hands leadership over to a voter and waits until that one leads.
func (s *maintenanceServer) moveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (any, error) {
	if !leads(s.replica) {
		return nil, rpctypes.ErrGRPCNotLeader
	}
	if to, ok := s.members.Get(member.ID(r.TargetID)); !ok || to.Learner {
		return nil, rpctypes.ErrGRPCBadLeaderTransferee
	}
	if r.TargetID == s.member {
		return &pb.MoveLeaderResponse{}, nil
	}
	// Raft gives a hand-over up by itself; etcd then goes on waiting for as long as its client does.
	limited, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	err := s.replica.TransferLeader(limited, r.TargetID)
	switch {
	case err == nil && s.replica.Status().Leader == r.TargetID:
		s.log.Info("leadership moved", slog.String("to", strconv.FormatUint(r.TargetID, 16)))
		return &pb.MoveLeaderResponse{}, nil
	case err == nil || errors.Is(err, replica.ErrTimeout):
		return nil, errSlowTransfer
	}
	return nil, err
}
