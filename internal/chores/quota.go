package chores

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/state"
)

const (
	// clearPercent is how far below the quota, in percent of it, the size must fall before an alarm is
	// cleared: one that were cleared at once would be raised again by the next writes.
	clearPercent = 10
	// clearMostBytes is enough of a distance for any quota, in bytes.
	clearMostBytes = 64 << 20
	// clearPause is how often it is looked whether the alarm can be cleared.
	clearPause = time.Second
	// raiseWait is how long a refused request waits for the alarm to be raised, so that whoever asks for the
	// alarms after a refusal finds it.
	raiseWait = time.Second
)

// QuotaOptions are what a quota is built from.
type QuotaOptions struct {
	// Bytes is the limit; negative means none.
	Bytes int64
	// SelfClear has the alarm cleared when there is space again.
	SelfClear bool
	Machine   *state.Machine
	Proposer  Proposer
	Logger    *slog.Logger
}

// Quota refuses what would make the state larger than it may become, and says so with an alarm.
type Quota struct {
	opts   QuotaOptions
	member uint64
	lease  int64 // what one lease counts for

	wake chan struct{} // holds a token when somebody was refused

	mu     sync.Mutex    // guards raised
	raised chan struct{} // closed and replaced after each attempt to raise the alarm

	// mine says that the alarm is this member's own finding: it raised it, or adopted it. What an operator
	// raises by hand, an operator clears.
	mine atomic.Bool
}

// NewQuota builds the quota of a state.
func NewQuota(o QuotaOptions) *Quota {
	return &Quota{
		opts: o, member: uint64(o.Machine.Members().Local()), lease: state.Cost(&pb.LeaseGrantRequest{}),
		wake: make(chan struct{}, 1), raised: make(chan struct{}),
	}
}

// Adopt takes an alarm of this member that is raised now for its own finding: it is one of an earlier run.
// Call it before clients come, once the log is applied as far as it goes.
func (q *Quota) Adopt() { q.mine.Store(q.alarmed()) }

// Size is what counts for the quota, in bytes: keys and values of all versions that are kept, and leases.
func (q *Quota) Size() int64 {
	m := q.opts.Machine
	return m.KV().Bytes() + int64(m.Leases().Len())*q.lease
}

// Admit refuses a request that costs more than is left of the quota, with state.ErrNoSpace. What costs
// nothing always passes, so that room can be made.
func (q *Quota) Admit(cost int64) error {
	if cost <= 0 || q.opts.Bytes < 0 || q.Size()+cost < q.opts.Bytes {
		return nil
	}
	q.waitRaised()
	return state.ErrNoSpace
}

// Tight reports that the size is so close to the quota that an alarm would not be cleared.
func (q *Quota) Tight() bool { return q.opts.Bytes >= 0 && q.Size() > q.clearBelow() }

// clearBelow is the size at or below which an alarm is cleared.
func (q *Quota) clearBelow() int64 {
	return q.opts.Bytes - min(q.opts.Bytes/100*clearPercent, clearMostBytes)
}

// waitRaised asks for the alarm and waits a moment for it. All who are refused at once share one command.
func (q *Quota) waitRaised() {
	q.mu.Lock()
	done := q.raised
	q.mu.Unlock()
	if q.opts.Machine.Raised(pb.AlarmType_NOSPACE) {
		return
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	timer := time.NewTimer(raiseWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// Run raises the alarm when a request was refused, and clears it when there is space again, until the
// context ends.
func (q *Quota) Run(ctx context.Context) error {
	ticker := time.NewTicker(clearPause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-q.wake:
			q.raise(ctx)
		case <-ticker.C:
			q.clear(ctx)
		}
	}
}

// alarmed reports whether this member's alarm is raised.
func (q *Quota) alarmed() bool {
	for _, a := range q.opts.Machine.Alarms() {
		if a.MemberID == q.member && a.Alarm == pb.AlarmType_NOSPACE {
			return true
		}
	}
	return false
}

func (q *Quota) propose(ctx context.Context, action pb.AlarmRequest_AlarmAction) error {
	return propose(ctx, q.opts.Proposer, &pb.AlarmRequest{Action: action, MemberID: q.member, Alarm: pb.AlarmType_NOSPACE})
}

func (q *Quota) raise(ctx context.Context) {
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		close(q.raised)
		q.raised = make(chan struct{})
	}()
	if q.alarmed() {
		return
	}
	if err := q.propose(ctx, pb.AlarmRequest_ACTIVATE); err != nil {
		q.opts.Logger.Warn("raise the alarm NOSPACE: the next refused request tries again", "error", err.Error())
		return
	}
	q.mine.Store(true)
	q.opts.Logger.Warn("the database has reached its quota: what would make it larger is refused until keys are deleted "+
		"and history is compacted", "size", q.Size(), "quota", q.opts.Bytes)
}

func (q *Quota) clear(ctx context.Context) {
	if !q.mine.Load() || !q.opts.SelfClear {
		return
	}
	if !q.alarmed() {
		q.mine.Store(false) // an operator was faster
		return
	}
	if q.Tight() {
		return
	}
	if err := q.propose(ctx, pb.AlarmRequest_DEACTIVATE); err != nil {
		q.opts.Logger.Warn("clear the alarm NOSPACE: trying again", "error", err.Error())
		return
	}
	q.mine.Store(false)
	q.opts.Logger.Info("there is space again: the alarm NOSPACE is cleared", "size", q.Size(), "quota", q.opts.Bytes)
}
