package peer

import (
	"context"
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/expiry"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/replica"
)

// clockOf is a Lessor and a Promoter that knows lease 5 and learner 5.
type clockOf struct {
	err      error
	fetching [2]uint64
}

func (c clockOf) Renew(_ context.Context, id lease.ID) (int64, error) {
	if id == 5 {
		return 60, c.err
	}
	return 0, c.err
}

func (c clockOf) TimeToLive(_ context.Context, id lease.ID) (left, granted int64, ok bool, err error) {
	if id == 5 {
		return -1, 1 << 40, true, c.err
	}
	return 0, 0, false, c.err
}

func (c clockOf) Promote(_ context.Context, id uint64) error {
	if id == 5 {
		return c.err
	}
	return rpctypes.ErrGRPCLearnerNotReady
}

func (c *clockOf) Fetching(id, index uint64) { c.fetching = [2]uint64{id, index} }

func TestTheLeaderIsAsked(t *testing.T) {
	fetches := new(clockOf)
	answers := Answers{Lessor: clockOf{}, Promoter: clockOf{}, Fetches: fetches}
	sites := town(t, 2, func(o *Options) {
		o.Answerer = answering(func(ctx context.Context, from uint64, kind Question, body []byte) ([]byte, error) {
			return answers.Answer(ctx, from, kind, body)
		})
	})
	sites[0].open()
	sites[1].open()
	meet(t, sites...)
	said := replica.Status{ID: 1, Leader: 2}
	leader, ctx := NewLeader(sites[0].mesh, func() replica.Status { return said }), inTime(t)
	if ttl, err := leader.Renew(ctx, 5); ttl != 60 || err != nil {
		t.Errorf("renew: %d, %v", ttl, err)
	}
	if ttl, err := leader.Renew(ctx, -6); ttl != 0 || err != nil {
		t.Errorf("renew a lease that is not there: %d, %v", ttl, err)
	}
	if left, granted, ok, err := leader.TimeToLive(ctx, 5); left != -1 || granted != 1<<40 || !ok || err != nil {
		t.Errorf("time to live: %d, %d, %v, %v", left, granted, ok, err)
	}
	if left, granted, ok, err := leader.TimeToLive(ctx, 6); left != 0 || granted != 0 || ok || err != nil {
		t.Errorf("time to live of a lease that is not there: %d, %d, %v, %v", left, granted, ok, err)
	}
	if err := leader.Promote(ctx, 5); err != nil {
		t.Errorf("promote: %v", err)
	}
	if err := leader.Fetching(ctx, 77); err != nil || fetches.fetching != [2]uint64{1, 77} {
		t.Errorf("fetching: %v, %v", err, fetches.fetching)
	}
	err := leader.Promote(ctx, 6)
	if !errors.Is(err, rpctypes.ErrGRPCLearnerNotReady) || status.Code(err) != codes.FailedPrecondition {
		t.Errorf("promote a learner that is not ready: %v", err)
	}
	for _, c := range []struct{ there, here error }{
		{expiry.ErrNotPrimary, expiry.ErrNotPrimary}, {rpctypes.ErrGRPCNotLeader, rpctypes.ErrGRPCNotLeader},
	} {
		answers = Answers{Lessor: clockOf{err: c.there}, Promoter: clockOf{err: c.there}}
		_, err1 := leader.Renew(ctx, 5)
		_, _, _, err2 := leader.TimeToLive(ctx, 5)
		if err3 := leader.Promote(ctx, 5); !errors.Is(err1, c.here) || !errors.Is(err2, c.here) || !errors.Is(err3, c.here) {
			t.Errorf("%v comes as %v, %v, %v", c.there, err1, err2, err3)
		}
	}
	// What is no answer is no gRPC status, so that it is not taken for one.
	answers = Answers{Lessor: clockOf{err: errors.New("trouble")}, Promoter: clockOf{err: errors.New("trouble")}}
	for _, leads := range []uint64{0, 1, 2, 9} {
		said = replica.Status{ID: 1, Leader: leads}
		_, err1 := leader.Renew(ctx, 5)
		err2 := leader.Promote(ctx, 5)
		var has interface{ GRPCStatus() *status.Status }
		if err1 == nil || err2 == nil || errors.As(err1, &has) || errors.As(err2, &has) {
			t.Errorf("with leader %d: %v, %v", leads, err1, err2)
		}
	}
	if _, err := answers.Answer(ctx, 2, QuestionRenew, []byte{1}); err == nil {
		t.Error("a question about one byte is answered")
	}
	if _, err := answers.Answer(ctx, 2, 99, make([]byte, 8)); !errors.Is(err, ErrUnknownQuestion) {
		t.Errorf("an unknown question: %v", err)
	}
}
