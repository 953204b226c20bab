package rpc

import (
	"context"
	"errors"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/replica"
)

// school is a village with the learner 5. The log of its leader ends at 77.
func school(t *testing.T) *village {
	t.Helper()
	v := newVillage(t, nil)
	v.move(t, 5, command.AddLearner, "five")
	return v
}

func (v *village) promote(id uint64) (*pb.MemberPromoteResponse, error) {
	return v.cluster.MemberPromote(context.Background(), &pb.MemberPromoteRequest{ID: id})
}

// reach is how far the leader knows others to be.
func (v *village) reach(matches map[uint64]uint64) {
	all := map[uint64]replica.Progress{}
	for id, match := range matches {
		all[id] = replica.Progress{Match: match}
	}
	v.replica.progress.Store(&all)
}

func TestALearnerBecomesAVoterWhenItHasCaughtUp(t *testing.T) {
	v := school(t)
	v.move(t, 6, command.AddVoter, "six")
	for _, tc := range []struct {
		id      uint64
		matches map[uint64]uint64
		want    error
	}{
		{5, nil, rpctypes.ErrGRPCLearnerNotReady},
		{5, map[uint64]uint64{5: 69}, rpctypes.ErrGRPCLearnerNotReady}, // 90 % of 77 are 69.3
		{404, map[uint64]uint64{5: 77}, rpctypes.ErrGRPCMemberNotFound},
		{6, map[uint64]uint64{6: 77}, rpctypes.ErrGRPCMemberNotLearner},
		{6, map[uint64]uint64{6: 1}, rpctypes.ErrGRPCLearnerNotReady},
		{houseMember, nil, rpctypes.ErrGRPCMemberNotLearner},
		{5, map[uint64]uint64{5: 70}, nil},
		{5, map[uint64]uint64{5: 70}, rpctypes.ErrGRPCMemberNotLearner},
	} {
		v.reach(tc.matches)
		r, err := v.promote(tc.id)
		if tc.want != nil {
			wantError(t, "promote", err, tc.want)
			continue
		}
		if err != nil || len(r.Members) != 3 || r.Members[0].ID != 5 || r.Members[0].IsLearner {
			t.Fatalf("%v, %v", r, err)
		}
		wantHeader(t, "promote", r.Header, 0)
	}
	if n := series(t, v.deps.Metrics.Registry, "etcd_server_learner_promote_successes", nil); n != 1 {
		t.Errorf("%v promotions are counted", n)
	}
	reason := map[string]string{"Reason": rpctypes.ErrorDesc(rpctypes.ErrGRPCLearnerNotReady)}
	if n := series(t, v.deps.Metrics.Registry, "etcd_server_learner_promote_failures", reason); n != 3 {
		t.Errorf("%v learners are counted that were not ready", n)
	}
}

func TestNoLearnerIsPromotedAmongTooFewThatHaveStarted(t *testing.T) {
	v := school(t)
	v.move(t, 6, command.AddVoter, "")
	v.move(t, 7, command.AddVoter, "")
	v.reach(map[uint64]uint64{5: 77})
	_, err := v.promote(5)
	wantError(t, "promote", err, errNotEnoughStarted) // two of four, with the learner
	v.move(t, 6, command.RemoveMember, "")
	if _, err := v.promote(5); err != nil {
		t.Error(err)
	}
}

// TestWhatALearnerHasConfirmedIsHeardInAMoment: the leader looks only now and then how far others are.
func TestWhatALearnerHasConfirmedIsHeardInAMoment(t *testing.T) {
	v := school(t)
	v.reach(map[uint64]uint64{5: 1})
	go func() {
		<-time.After(askPause)
		v.reach(map[uint64]uint64{5: 77})
	}()
	if _, err := v.promote(5); err != nil {
		t.Error(err)
	}
}

// TestTheLeaderIsAskedToPromote: any member takes the request, and the leader decides.
func TestTheLeaderIsAskedToPromote(t *testing.T) {
	v := school(t)
	v.replica.lead(5)
	for _, verdict := range []error{
		rpctypes.ErrGRPCLearnerNotReady, rpctypes.ErrGRPCMemberNotFound, rpctypes.ErrGRPCMemberNotLearner, errNotEnoughStarted,
	} {
		v.far.promote = func(uint64) error { return verdict }
		_, err := v.promote(5)
		wantError(t, "promote elsewhere", err, verdict)
	}
	asked := 0
	v.far.promote = func(id uint64) error {
		if asked++; asked == 1 {
			return rpctypes.ErrGRPCNotLeader // it has just lost the lead
		}
		_, err := v.replica.Change(context.Background(), command.MemberChange{Kind: command.PromoteMember, Member: id})
		return err
	}
	barriers := v.replica.barriers.Load()
	r, err := v.promote(5)
	if err != nil || asked != 2 || len(r.Members) != 2 || r.Members[0].IsLearner || v.replica.barriers.Load() == barriers {
		t.Errorf("asked %d times: %v, %v", asked, r, err)
	}
}

// TestPromotersAnswerInStatuses: between members nothing of an answer is kept but code and text.
func TestPromotersAnswerInStatuses(t *testing.T) {
	v := school(t)
	p := NewPromoter(v.deps)
	wantError(t, "unknown", p.Promote(t.Context(), 404), rpctypes.ErrGRPCMemberNotFound)
	v.replica.lead(5)
	err := p.Promote(t.Context(), 5)
	wantError(t, "elsewhere", err, rpctypes.ErrGRPCNotLeader)
	if isVerdict(err) {
		t.Error("that somebody else leads is taken for the leader's answer")
	}
	v.replica.lead(houseMember)
	timeout := replica.ErrTimeout
	v.replica.refuse.Store(&timeout)
	v.reach(map[uint64]uint64{5: 77})
	err = p.Promote(t.Context(), 5)
	var has interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &has) {
		t.Errorf("%T", err)
	}
	wantError(t, "in time", err, rpctypes.ErrGRPCTimeoutDueToConnectionLost)
	v.replica.progress.Store(nil) // raft says first that it leads no longer
	wantError(t, "no progress", p.Promote(t.Context(), 5), rpctypes.ErrGRPCNotLeader)
}
