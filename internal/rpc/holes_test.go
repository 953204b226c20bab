package rpc

import (
	"context"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/keelson-db/keelson/internal/state"
)

// The tests of this file each try one way round etcd's guards that has had a number.

// within makes an operation of a transaction of a request.
func within(request any) *pb.RequestOp {
	switch r := request.(type) {
	case *pb.RangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	case *pb.PutRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
	case *pb.DeleteRangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: request.(*pb.TxnRequest)}}
}

// CVE-2026-33413: alarms, members and leases could be had without proving who one is.
func TestHoleUnauthenticatedAlarmsMembersAndLeases(t *testing.T) {
	w := newTown(t, nil)
	w.must(t, &pb.LeaseGrantRequest{ID: leaseOfK, TTL: 60})
	keepAlive := func(ctx context.Context) error {
		stream, err := w.lease.LeaseKeepAlive(ctx)
		if err != nil {
			return err
		}
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: leaseOfK}); err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	for name, call := range map[string]func(context.Context) error{
		"alarm list": func(ctx context.Context) error {
			_, err := w.maintenance.Alarm(ctx, &pb.AlarmRequest{})
			return err
		},
		"alarm raise": func(ctx context.Context) error {
			_, err := w.maintenance.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_CORRUPT})
			return err
		},
		"member list": func(ctx context.Context) error {
			_, err := w.cluster.MemberList(ctx, &pb.MemberListRequest{})
			return err
		},
		"lease grant": func(ctx context.Context) error {
			_, err := w.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 60})
			return err
		},
		"lease revoke": func(ctx context.Context) error {
			_, err := w.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: leaseOfK})
			return err
		},
		"lease time to live": func(ctx context.Context) error {
			_, err := w.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: leaseOfK})
			return err
		},
		"lease list": func(ctx context.Context) error {
			_, err := w.lease.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
			return err
		},
		"lease keep alive": keepAlive,
	} {
		wantError(t, name+" by nobody", call(w.as(nobody)), rpctypes.ErrGRPCUserEmpty)
		wantError(t, name+" with a wrong token", call(w.as(unknown)), rpctypes.ErrGRPCInvalidAuthToken)
	}
	if alarms := w.deps.Machine.Alarms(); len(alarms) != 0 {
		t.Errorf("alarms %v", alarms)
	}
	if _, ok := w.deps.Machine.Leases().Get(leaseOfK); !ok || w.deps.Machine.Leases().Len() != 1 {
		t.Error("leases have changed")
	}
}

// CVE-2026-33343: what was nested in a transaction was carried out without asking.
func TestHoleNestedTransactions(t *testing.T) {
	w := newTown(t, nil)
	w.must(t, &pb.PutRequest{Key: keySecret, Value: []byte("kept")})
	for name, op := range map[string]*pb.RequestOp{
		"put":    within(&pb.PutRequest{Key: keySecret, Value: []byte("taken")}),
		"range":  within(&pb.RangeRequest{Key: keySecret}),
		"delete": within(&pb.DeleteRangeRequest{Key: keySecret}),
		"compare": within(&pb.TxnRequest{Compare: []*pb.Compare{{
			Key: keySecret, Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("kept")},
		}}}),
	} {
		in := &pb.TxnRequest{Success: []*pb.RequestOp{op}}
		for depth := 0; depth < 5; depth++ {
			for _, r := range []*pb.TxnRequest{in, {Failure: in.Success}} { // also where it would not be carried out
				_, err := w.kv.Txn(w.as(ranger), r)
				wantError(t, name, err, rpctypes.ErrGRPCPermissionDenied)
			}
			in = &pb.TxnRequest{Success: []*pb.RequestOp{within(in)}}
		}
	}
	got, err := w.kv.Range(w.as(root), &pb.RangeRequest{Key: keySecret})
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "kept" {
		t.Errorf("%v, %v", got, err)
	}
}

// CVE-2026-44283: within a transaction, the old record and the lease of a put were not asked for.
func TestHoleOldRecordsAndLeasesWithinTransactions(t *testing.T) {
	w := newTown(t, nil)
	w.must(t, &pb.LeaseGrantRequest{ID: leaseOfSecret, TTL: 60})
	w.must(t, &pb.PutRequest{Key: keySecret, Lease: leaseOfSecret})
	w.must(t, &pb.PutRequest{Key: keyK, Value: []byte("unread")})
	before := w.deps.Machine.KV().Stats().Rev
	for name, op := range map[string]*pb.RequestOp{
		"put with the old record":    within(&pb.PutRequest{Key: keyK, PrevKv: true}),
		"delete with the old record": within(&pb.DeleteRangeRequest{Key: keyK, PrevKv: true}),
		"put with a foreign lease":   within(&pb.PutRequest{Key: keyK, Lease: leaseOfSecret}),
	} {
		_, err := w.kv.Txn(w.as(writer), &pb.TxnRequest{Success: []*pb.RequestOp{op}})
		wantError(t, name, err, rpctypes.ErrGRPCPermissionDenied)
		_, err = w.kv.Txn(w.as(writer), &pb.TxnRequest{Success: []*pb.RequestOp{within(&pb.TxnRequest{Failure: []*pb.RequestOp{op}})}})
		wantError(t, name+", nested", err, rpctypes.ErrGRPCPermissionDenied)
	}
	if after := w.deps.Machine.KV().Stats().Rev; after != before {
		t.Errorf("revision %d became %d", before, after)
	}
}

// GHSA-xg4h: a watch from a key to the end was asked for as if it were of that key alone.
func TestHoleWatchToTheEnd(t *testing.T) {
	w := newTown(t, nil)
	w.role(t, "from-k", authpb.Permission_READ, "k", "\x00")
	w.must(t, &pb.AuthUserGrantRoleRequest{User: plain, Role: "from-k"})
	stream := w.watcher(t, ranger)
	denied := rpctypes.ErrGRPCPermissionDenied.Error()
	for _, r := range []*pb.WatchCreateRequest{
		{Key: keyK, RangeEnd: toTheEnd}, {Key: keyL, RangeEnd: toTheEnd}, {Key: toTheEnd, RangeEnd: toTheEnd}, {RangeEnd: toTheEnd},
	} {
		stream.create(t, r)
		if got := stream.next(t); !got.Created || !got.Canceled || got.WatchId != -1 || got.CancelReason != denied {
			t.Errorf("%v: %v", r, got)
		}
	}
	stream.create(t, &pb.WatchCreateRequest{Key: keyK, RangeEnd: keyN})
	if got := stream.next(t); !got.Created || got.Canceled {
		t.Errorf("within the range: %v", got)
	}
	w.must(t, &pb.PutRequest{Key: keySecret})
	w.must(t, &pb.PutRequest{Key: keyK})
	if got := stream.next(t); len(got.Events) != 1 || string(got.Events[0].Kv.Key) != "k" {
		t.Errorf("%v", got)
	}

	allowed := w.watcher(t, plain)
	allowed.create(t, &pb.WatchCreateRequest{Key: keyK, RangeEnd: toTheEnd})
	if got := allowed.next(t); !got.Created || got.Canceled {
		t.Errorf("with the right to all from k on: %v", got)
	}
}

// e#22386: where the database was full, nobody asked any more, and anybody could switch users off.
func TestHoleAFullDatabaseGuardsUsersStill(t *testing.T) {
	quota := new(fullQuota)
	w := newTown(t, func(d *Deps) { d.Quota = quota })
	w.raiseIn(w.as(root), t, houseMember, pb.AlarmType_NOSPACE)
	for _, who := range []string{nobody, plain, ranger} {
		want := rpctypes.ErrGRPCPermissionDenied
		if who == nobody {
			want = rpctypes.ErrGRPCUserEmpty
		}
		_, err := w.auth.AuthDisable(w.as(who), &pb.AuthDisableRequest{})
		wantError(t, "switch users off as "+who, err, want)
		_, err = w.auth.UserChangePassword(w.as(who), &pb.AuthUserChangePasswordRequest{Name: root, Password: "mine"})
		wantError(t, "change root's password as "+who, err, want)
		_, err = w.auth.UserGrantRole(w.as(who), &pb.AuthUserGrantRoleRequest{User: plain, Role: root})
		wantError(t, "become root as "+who, err, want)
		_, err = w.kv.DeleteRange(w.as(who), &pb.DeleteRangeRequest{Key: keySecret})
		wantError(t, "delete as "+who, err, want)
		_, err = w.kv.Put(w.as(who), &pb.PutRequest{Key: keySecret})
		wantError(t, "put as "+who, err, wireError(state.ErrNoSpace))
	}
	if !w.deps.Machine.Auth().View().Enabled() {
		t.Error("users are off")
	}
}
