package rpc

import (
	"context"
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/state"
)

// raise raises an alarm.
func (h *house) raise(t testing.TB, member uint64, kind pb.AlarmType) {
	t.Helper()
	h.raiseIn(context.Background(), t, member, kind)
}

func (h *house) raiseIn(ctx context.Context, t testing.TB, member uint64, kind pb.AlarmType) {
	t.Helper()
	r := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: member, Alarm: kind}
	if _, err := h.maintenance.Alarm(ctx, r); err != nil {
		t.Fatal(err)
	}
}

func TestAlarmsAreListedByKind(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	h.raise(t, 1, pb.AlarmType_NOSPACE)
	h.raise(t, 2, pb.AlarmType_CORRUPT)
	for kind, want := range map[pb.AlarmType]int{pb.AlarmType_NONE: 2, pb.AlarmType_NOSPACE: 1, pb.AlarmType_CORRUPT: 1} {
		got, err := h.maintenance.Alarm(ctx, &pb.AlarmRequest{Alarm: kind, MemberID: 9})
		if err != nil || len(got.Alarms) != want {
			t.Errorf("%v: %v, %v", kind, got, err)
			continue
		}
		wantHeader(t, "alarm", got.Header, 1)
	}
	fail := func() error { return errors.New("no quorum") }
	h.replica.onBarrier.Store(&fail)
	_, err := h.maintenance.Alarm(ctx, &pb.AlarmRequest{})
	wantError(t, "without a quorum", err, status.Error(codes.Unknown, "no quorum"))
}

func TestAnAlarmEndsWhenItIsCleared(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	h.raise(t, houseMember, pb.AlarmType_NOSPACE)
	put := &pb.PutRequest{Key: []byte("a"), Value: []byte("1")}
	_, err := h.kv.Put(ctx, put)
	wantError(t, "put without space", err, rpctypes.ErrGRPCNoSpace)
	_, err = h.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}}})
	wantError(t, "transaction without space", err, rpctypes.ErrGRPCNoSpace)
	_, err = h.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 60})
	wantError(t, "lease without space", err, rpctypes.ErrGRPCNoSpace)
	_, err = h.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("a")})
	wantError(t, "delete without space", err, nil)

	h.raise(t, houseMember, pb.AlarmType_CORRUPT)
	_, err = h.kv.Put(ctx, put)
	wantError(t, "put into a corrupt cluster", err, rpctypes.ErrGRPCCorrupt)
	_, err = h.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("a")})
	wantError(t, "delete from a corrupt cluster", err, rpctypes.ErrGRPCCorrupt)
	_, err = h.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")})
	wantError(t, "range of a corrupt cluster", err, nil)

	for _, kind := range []pb.AlarmType{pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT} {
		clear := &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: houseMember, Alarm: kind}
		for want := 1; want >= 0; want-- {
			got, err := h.maintenance.Alarm(ctx, clear)
			if err != nil || len(got.Alarms) != want {
				t.Errorf("clear %v: %v, %v, want %d alarms", kind, got, err, want)
			}
		}
	}
	_, err = h.kv.Put(ctx, put)
	wantError(t, "put after all is well", err, nil)
}

// fullQuota has no room for anything.
type fullQuota struct{ asked int }

func (q *fullQuota) Admit(cost int64) error {
	q.asked++
	return state.ErrNoSpace
}

func TestAFullServerSaysSoFirst(t *testing.T) {
	quota := new(fullQuota)
	h, ctx := newHouse(t, func(d *Deps) { d.Quota = quota }), context.Background()
	_, err := h.kv.Put(ctx, &pb.PutRequest{}) // nor has it a key
	wantError(t, "put", err, rpctypes.ErrGRPCNoSpace)
	_, err = h.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{}}}}})
	wantError(t, "transaction", err, rpctypes.ErrGRPCNoSpace)
	_, err = h.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 1 << 40})
	wantError(t, "lease", err, rpctypes.ErrGRPCNoSpace)
	if n := h.replica.proposals.Load(); n != 0 || quota.asked != 3 {
		t.Errorf("%d proposals, %d questions", n, quota.asked)
	}
	_, err = h.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{
		Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a")}},
	}}})
	wantError(t, "transaction that only deletes", err, nil)
	_, err = h.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("a")})
	wantError(t, "delete", err, nil)
	_, err = h.kv.Compact(ctx, &pb.CompactionRequest{Revision: 1})
	wantError(t, "compaction", err, nil)
}
