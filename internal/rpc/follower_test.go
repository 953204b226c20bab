package rpc

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/expiry"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/token"
)

// TestFollowersAskTheLeaderAboutLeases: all members give the same answers.
func TestFollowersAskTheLeaderAboutLeases(t *testing.T) {
	v := newVillage(t, nil)
	v.grant(t, 7, 60)
	if _, err := v.kv.Put(t.Context(), &pb.PutRequest{Key: []byte("a"), Lease: 7}); err != nil {
		t.Fatal(err)
	}
	v.clock.leading.Store(false)
	v.replica.lead(2)
	tries := 0
	answer := func(id lease.ID) error {
		if tries++; tries%2 == 1 {
			return expiry.ErrNotPrimary // it does not know yet that it leads
		}
		return nil
	}
	v.far.renew = func(id lease.ID) (int64, error) { return int64(id) * 10, answer(id) }
	v.far.look = func(id lease.ID) (int64, int64, bool, error) { return int64(id), 60, id == 7, answer(id) }
	for id, want := range map[int64]int64{7: 70, 0: 0} {
		if ttl, err := v.keepAlive(id); ttl != want || err != nil {
			t.Errorf("lease %d was renewed: %d, %v", id, ttl, err)
		}
	}
	// Here the key comes to hang on the lease only now, and the leader knew it already.
	late := func() error {
		_, err := v.replica.Propose(context.Background(), &pb.PutRequest{Key: []byte("b"), Lease: 7})
		return err
	}
	v.replica.onBarrier.Store(&late)
	r, err := v.lease.LeaseTimeToLive(t.Context(), &pb.LeaseTimeToLiveRequest{ID: 7, Keys: true})
	if err != nil || r.TTL != 7 || r.GrantedTTL != 60 || len(r.Keys) != 2 {
		t.Errorf("time to live: %v, %v", r, err)
	}
	wantHeader(t, "time to live", r.Header, 3)
	r, err = v.lease.LeaseTimeToLive(t.Context(), &pb.LeaseTimeToLiveRequest{ID: 8, Keys: true})
	if err != nil || r.TTL != -1 || r.GrantedTTL != 0 || len(r.Keys) != 0 {
		t.Errorf("of a lease that is gone: %v, %v", r, err)
	}
}

// TestRightsToLeasesAreAskedForWhereTheClientIs: between members nobody's name is told.
func TestRightsToLeasesAreAskedForWhereTheClientIs(t *testing.T) {
	asked := 0
	leader := &far{renew: func(lease.ID) (int64, error) { asked++; return 60, nil }}
	w := newTown(t, func(d *Deps) { d.Leader = leader })
	w.must(t, &pb.LeaseGrantRequest{ID: leaseOfK, TTL: 60})
	w.must(t, &pb.PutRequest{Key: keyK, Lease: leaseOfK})
	w.replica.lead(2)
	for who, want := range map[string]error{
		nobody: rpctypes.ErrGRPCUserEmpty, unknown: rpctypes.ErrGRPCInvalidAuthToken, reader: rpctypes.ErrGRPCPermissionDenied, writer: nil,
	} {
		stream, err := w.lease.LeaseKeepAlive(w.as(who))
		if err == nil {
			err = stream.Send(&pb.LeaseKeepAliveRequest{ID: leaseOfK})
		}
		if err == nil {
			_, err = stream.Recv()
		}
		if want == nil && err == nil {
			continue
		}
		wantError(t, "renewed by "+who, err, want)
	}
	if asked != 1 {
		t.Errorf("the leader was asked %d times", asked)
	}
}

func TestLeadershipMovesToAVoter(t *testing.T) {
	v := newVillage(t, nil)
	v.move(t, 2, command.AddVoter, "two")
	v.move(t, 5, command.AddLearner, "five")
	var to []uint64
	given := func(id uint64) error { to = append(to, id); v.replica.lead(id); return nil }
	refused := func(uint64) error { return replica.ErrTimeout }
	toAnother := func(uint64) error { v.replica.lead(9); return nil }
	notLeader := func(uint64) error { return replica.ErrNotLeader }
	for _, tc := range []struct {
		target uint64
		leader uint64
		act    func(uint64) error
		want   error
	}{
		{404, houseMember, given, rpctypes.ErrGRPCBadLeaderTransferee},
		{5, houseMember, given, rpctypes.ErrGRPCBadLeaderTransferee},
		{houseMember, houseMember, given, nil},
		{2, 2, given, rpctypes.ErrGRPCNotLeader},
		{404, 2, given, rpctypes.ErrGRPCNotLeader},
		{2, 0, given, rpctypes.ErrGRPCNotLeader},
		{2, houseMember, refused, errSlowTransfer},
		{2, houseMember, toAnother, errSlowTransfer},
		{2, houseMember, notLeader, rpctypes.ErrGRPCNotLeader},
		{2, houseMember, given, nil},
	} {
		v.replica.lead(tc.leader)
		v.replica.transfers.Store(&tc.act)
		r, err := v.maintenance.MoveLeader(t.Context(), &pb.MoveLeaderRequest{TargetID: tc.target})
		if tc.want != nil {
			wantError(t, "move", err, tc.want)
		} else if err != nil || r.Header != nil {
			t.Errorf("to %x with leader %x: %v, %v", tc.target, tc.leader, r, err)
		}
	}
	if len(to) != 1 || to[0] != 2 {
		t.Errorf("handed over to %v", to)
	}
}

// TestLearnersAnswerLittle: what a learner does not answer it does not even look at.
func TestLearnersAnswerLittle(t *testing.T) {
	v := newHouseOn(t, newMachineOf(t, member.Member{ID: 2}, member.Member{ID: houseMember, Learner: true}), nil)
	if _, err := v.replica.Propose(t.Context(), &pb.PutRequest{Key: []byte("a")}); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if r, err := v.maintenance.Status(ctx, &pb.StatusRequest{}); err != nil || !r.IsLearner {
		t.Errorf("status: %v, %v", r, err)
	}
	if r, err := v.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a"), Serializable: true}); err != nil || r.Count != 1 {
		t.Errorf("serializable range: %v, %v", r, err)
	}
	snapshot, err := v.maintenance.Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := snapshot.Recv(); err != nil || len(m.Blob) < sha256.Size {
		t.Errorf("snapshot: %v, %v", m, err)
	}
	answered := map[string]bool{
		pb.Maintenance_Status_FullMethodName: true, pb.KV_Range_FullMethodName: true, pb.Maintenance_Snapshot_FullMethodName: true,
	}
	for _, m := range allMethods(t, v.services) {
		if answered[m.full] || strings.HasPrefix(m.full, "/v3") { // this house has no recipes
			continue
		}
		in := newMessage(t, m.input).Interface()
		var err error
		if m.stream == nil {
			err = v.conn.Invoke(ctx, m.full, in, &healthpb.HealthCheckResponse{})
		} else {
			var stream grpc.ClientStream
			if stream, err = v.conn.NewStream(ctx, m.stream, m.full); err == nil {
				_ = stream.SendMsg(in) // the call may have ended already
				err = stream.RecvMsg(&healthpb.HealthCheckResponse{})
			}
		}
		wantError(t, m.full, err, rpctypes.ErrGRPCNotSupportedForLearner)
	}
	_, err = v.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")})
	wantError(t, "linearizable range", err, rpctypes.ErrGRPCNotSupportedForLearner)
}

// late is a token of a user who is added only with the barrier.
type late struct {
	Tokens
	known bool
}

func (l *late) Identify(v *auth.View, text string) (auth.Identity, error) {
	if text == "late" && !l.known {
		return auth.Identity{}, token.ErrInvalid
	}
	if text == "late" {
		return auth.Identity{User: root, Rev: v.Revision()}, nil
	}
	return l.Tokens.Identify(v, text)
}

// TestATokenOfAnotherMemberMayBeNews: this member may be behind the one that gave it out.
func TestATokenOfAnotherMemberMayBeNews(t *testing.T) {
	tokens := new(late)
	w := newTown(t, func(d *Deps) { tokens.Tokens, d.Tokens = d.Tokens, tokens })
	w.tokens["late"] = "late"
	apply := func() error { tokens.known = true; return nil }
	w.replica.onBarrier.Store(&apply)
	get := &pb.RangeRequest{Key: keyK, Serializable: true}
	_, err := w.kv.Range(w.as("late"), get)
	wantError(t, "a member that is alone knows all tokens", err, rpctypes.ErrGRPCInvalidAuthToken)

	another := command.MemberChange{Kind: command.AddVoter, Member: 2}
	if res, err := w.replica.Change(t.Context(), another); err != nil || res.Err != nil {
		t.Fatal(err, res.Err)
	}
	for what, ask := range map[string]func() error{
		"read":  func() error { _, err := w.kv.Range(w.as("late"), get); return err },
		"write": func() error { _, err := w.kv.Put(w.as("late"), &pb.PutRequest{Key: keyK}); return err },
		"watch": func() error {
			s := w.watcher(t, "late")
			s.create(t, &pb.WatchCreateRequest{Key: keyK})
			if r := s.next(t); r.Canceled {
				return errors.New(r.CancelReason)
			}
			return nil
		},
	} {
		tokens.known = false
		if err := ask(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = w.kv.Range(w.as(unknown), get)
	wantError(t, "a token that nobody gave out", err, rpctypes.ErrGRPCInvalidAuthToken)
	cut := func() error { return replica.ErrTimeout }
	w.replica.onBarrier.Store(&cut)
	_, err = w.kv.Range(w.as(unknown), get)
	wantError(t, "a token on a member that is cut off", err, rpctypes.ErrGRPCInvalidAuthToken)
}
