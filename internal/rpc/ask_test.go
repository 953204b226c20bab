package rpc

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/keelson-db/keelson/internal/expiry"
	"github.com/keelson-db/keelson/internal/replica"
)

const askLimit = 7 * time.Second

var errUnreachable = errors.New("connection refused")

// asked puts a question that this member answers with "here" and another one with "there".
func asked(ctx context.Context, r Proposer, here, there func() error) (string, error) {
	return askedIn(ctx, r, here, func(context.Context) error { return there() })
}

func askedIn(ctx context.Context, r Proposer, here func() error, there func(context.Context) error) (string, error) {
	say := func(name string, f func(context.Context) error) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) { return name, f(ctx) }
	}
	hereIn := func(context.Context) error { return here() }
	return question[string]{here: say("here", hereIn), there: say("there", there), final: isVerdict}.ask(ctx, r, askLimit)
}

func TestQuestionsGoToWhoeverLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(loneReplica)
		fine := func() error { return nil }
		for leader, want := range map[uint64]string{houseMember: "here", 2: "there"} {
			r.lead(leader)
			if got, err := asked(t.Context(), r, fine, fine); got != want || err != nil {
				t.Errorf("with leader %x: %q, %v", leader, got, err)
			}
		}
		// Who is asked while it loses the lead passes the question on.
		r.lead(houseMember)
		deposed := func() error { r.lead(2); return expiry.ErrNotPrimary }
		if got, err := asked(t.Context(), r, deposed, fine); got != "there" || err != nil {
			t.Errorf("of a leader that is deposed: %q, %v", got, err)
		}
		// And who still leads and cannot answer says so.
		r.lead(houseMember)
		if _, err := asked(t.Context(), r, func() error { return replica.ErrNotLeader }, fine); !errors.Is(err, replica.ErrNotLeader) {
			t.Errorf("of a leader that cannot answer: %v", err)
		}
		// What does not get through, or gets to somebody else, is asked again.
		r.lead(2)
		answers := []error{errUnreachable, rpctypes.ErrGRPCNotLeader, errUnreachable, rpctypes.ErrGRPCLearnerNotReady}
		begun := time.Now()
		_, err := asked(t.Context(), r, fine, func() error { one := answers[0]; answers = answers[1:]; return one })
		if !errors.Is(err, rpctypes.ErrGRPCLearnerNotReady) || time.Since(begun) != 3*askPause {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		// A leader that says nothing is asked until there is another one.
		r.lead(2)
		go func() { time.Sleep(time.Second); r.lead(3) }()
		begun = time.Now()
		got, err := askedIn(t.Context(), r, fine, func(ctx context.Context) error {
			if r.Status().Leader == 2 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		if got != "there" || err != nil || time.Since(begun) != time.Second {
			t.Errorf("with a leader that is silent: after %v %q, %v", time.Since(begun), got, err)
		}
		// It waits for a leader as long as it takes, and not longer.
		r.lead(0)
		go func() { time.Sleep(3 * time.Second); r.lead(2) }()
		if got, err := asked(t.Context(), r, fine, fine); got != "there" || err != nil {
			t.Errorf("with a leader after 3 s: %q, %v", got, err)
		}
	})
}

func TestQuestionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(loneReplica)
		lost := func() error { return errUnreachable }
		begun := time.Now()
		_, err := asked(t.Context(), r, lost, lost)
		wantError(t, "without a leader", err, rpctypes.ErrGRPCNoLeader)
		r.lead(2)
		_, err = asked(t.Context(), r, lost, lost)
		wantError(t, "with a leader out of reach", err, rpctypes.ErrGRPCTimeout)
		if took := time.Since(begun); took != 2*askLimit {
			t.Errorf("both took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err = asked(ctx, r, lost, lost); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a client that waits no longer: %v", err)
		}
	})
}
