package rpc

import (
	"context"
	"log/slog"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/state"
)

// alarmServer answers the one method of the maintenance service that changes something for all members.
type alarmServer struct {
	headers
	replica Proposer
	machine *state.Machine
	changes proposing[*pb.AlarmResponse]
	log     *slog.Logger
}

func newAlarmServer(d Deps) *alarmServer {
	return &alarmServer{
		headers: d.headers(), replica: d.Replica, machine: d.Machine, log: d.Log,
		changes: newProposing[*pb.AlarmResponse](d, "Alarm"),
	}
}

// alarm lists, raises or clears alarms. The list is linearizable: an operator who has just cleared one must
// see that.
func (s *alarmServer) alarm(ctx context.Context, r *pb.AlarmRequest) (any, error) {
	if r.Action != pb.AlarmRequest_GET {
		out, rev, err := s.changes.propose(ctx, r)
		if err != nil {
			return nil, err
		}
		if len(out.Alarms) > 0 {
			attrs := append(callerOf(ctx), slog.String("alarm", r.Alarm.String()), slog.String("of", strconv.FormatUint(r.MemberID, 16)))
			s.log.LogAttrs(ctx, slog.LevelInfo, "alarm changed by hand: "+r.Action.String(), attrs...)
		}
		out.Header = s.at(rev)
		return out, nil
	}
	if err := s.replica.Barrier(ctx); err != nil {
		return nil, err
	}
	out := &pb.AlarmResponse{Header: s.now()}
	for _, a := range s.machine.Alarms() {
		if r.Alarm == pb.AlarmType_NONE || r.Alarm == a.Alarm {
			out.Alarms = append(out.Alarms, a)
		}
	}
	return out, nil
}
