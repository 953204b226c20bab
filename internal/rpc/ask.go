package rpc

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/keelson-db/keelson/internal/expiry"
	"github.com/keelson-db/keelson/internal/replica"
)

const (
	// applyWait is how long a member that leads may take to apply everything acknowledged.
	applyWait = time.Second
	// askPause is the time between two questions to a leader that did not answer.
	askPause = 50 * time.Millisecond
)

// errApplyWait means that this member could not be sure in time of what there is.
var errApplyWait = errors.New("wait until everything acknowledged is applied: took too long")

// catchUp waits until everything acknowledged is applied on this member, which leads and has to be quick about it.
func catchUp(ctx context.Context, r Proposer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, applyWait, errApplyWait)
	defer cancel()
	err := r.Barrier(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errApplyWait) {
		return errApplyWait
	}
	return err
}

// leads says whether this member leads, as far as it knows.
func leads(r Proposer) bool {
	s := r.Status()
	return s.Leader == s.ID
}

// elsewhere reports whether an answer says that it is another member that leads.
func elsewhere(err error) bool {
	return errors.Is(err, expiry.ErrNotPrimary) || errors.Is(err, replica.ErrNotLeader)
}

// question is something that only the member that leads can answer.
type question[T any] struct {
	// here asks this member, and there the one that leads.
	here, there func(context.Context) (T, error)
	// final reports whether an error of there is an answer; otherwise the leader is asked again.
	final func(error) bool
}

// elsewhere asks the leader until it is none any more: one that was stopped would not even refuse.
func (q question[T]) elsewhere(ctx context.Context, changed <-chan struct{}) (T, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return q.there(ctx)
}

// ask puts a question to whoever leads, as often as it takes to get an answer and for so long at most.
func (q question[T]) ask(ctx context.Context, r Proposer, limit time.Duration) (out T, err error) {
	parent := ctx
	ctx, cancel := context.WithTimeout(parent, limit)
	defer cancel()
	for {
		changed, again := r.LeaderChanged(), (<-chan time.Time)(nil)
		late := rpctypes.ErrGRPCTimeout
		switch s := r.Status(); s.Leader {
		case 0:
			late = rpctypes.ErrGRPCNoLeader
		case s.ID:
			// Who lost the lead meanwhile asks its successor. Who has it still and cannot answer says so.
			if out, err = q.here(ctx); !elsewhere(err) || leads(r) {
				return out, err
			}
			continue
		default:
			if out, err = q.elsewhere(ctx, changed); err == nil || q.final(err) {
				return out, err
			}
			again = time.After(askPause)
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			if parent.Err() != nil {
				return out, parent.Err()
			}
			return out, late
		}
	}
}
