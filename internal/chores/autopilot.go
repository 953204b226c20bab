package chores

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/state"
)

const (
	// autopilotPause is the time between two looks at the members.
	autopilotPause = time.Second
	// steadyLooks is for how many looks in a row a learner must have kept up before it is made a voter.
	steadyLooks = 3
	// maxBehind is how many entries a learner that has caught up may be behind the leader, in entries.
	maxBehind = 1000
)

// Follower is another member as the leader sees it.
type Follower struct {
	ID      uint64
	Match   uint64        // it holds this entry durably
	Learner bool          // it has no vote
	Active  bool          // it was heard a moment ago
	Silent  time.Duration // since it was last heard
}

// Ensemble is all members as the leader sees and changes them.
type Ensemble interface {
	// Followers returns the others; none on a member that does not lead.
	Followers() []Follower
	// ChangeIn carries out one change of the membership if this member leads in that term.
	ChangeIn(ctx context.Context, term uint64, c command.MemberChange) (state.Result, error)
}

// AutopilotOptions are what an autopilot is built from.
type AutopilotOptions struct {
	// Promote makes voters of learners that have caught up.
	Promote bool
	// RemoveDeadAfter removes a voter that was silent for so long, when a learner waits to take its place and the
	// voters that are left are all heard; 0 removes nobody.
	RemoveDeadAfter time.Duration
	Machine         *state.Machine
	Ensemble        Ensemble
	Leadership      Leadership
	Logger          *slog.Logger
}

// Autopilot does to the membership what an operator would do, where it was told that it may.
type Autopilot struct {
	opts   AutopilotOptions
	term   uint64
	steady map[uint64]int // looks for which a learner has kept up
}

// NewAutopilot builds an autopilot.
func NewAutopilot(o AutopilotOptions) *Autopilot { return &Autopilot{opts: o} }

// Run looks at the members until the context ends. With nothing to do it returns at once.
func (a *Autopilot) Run(ctx context.Context) error {
	if !a.opts.Promote && a.opts.RemoveDeadAfter <= 0 {
		return nil
	}
	ticker := time.NewTicker(autopilotPause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			a.look(ctx)
		}
	}
}

// look does one thing at most: the next look sees what became of it.
func (a *Autopilot) look(ctx context.Context) {
	term, leads := a.opts.Leadership.Leading()
	if !leads || term != a.term {
		a.term, a.steady = term, map[uint64]int{}
	}
	if !leads {
		return
	}
	followers := a.opts.Ensemble.Followers()
	ready := a.ready(followers)
	if dead := a.dead(followers); dead != 0 && ready != 0 {
		a.opts.Logger.Warn("removing a member that was silent for too long: a replacement waits",
			"member", fmt.Sprintf("%x", dead), "limit", a.opts.RemoveDeadAfter.String(), "replacement", fmt.Sprintf("%x", ready))
		a.change(ctx, command.MemberChange{Kind: command.RemoveMember, Member: dead})
		return
	}
	if ready != 0 && (a.opts.Promote || a.short(followers)) {
		a.opts.Logger.Info("making a voter of a learner that has caught up", "member", fmt.Sprintf("%x", ready))
		a.change(ctx, command.MemberChange{Kind: command.PromoteMember, Member: ready})
	}
}

func (a *Autopilot) change(ctx context.Context, c command.MemberChange) {
	result, err := a.opts.Ensemble.ChangeIn(ctx, a.term, c)
	if err == nil {
		err = result.Err
	}
	if err != nil && ctx.Err() == nil {
		a.opts.Logger.Warn("change the membership: looking again", "member", fmt.Sprintf("%x", c.Member), "error", err.Error())
	}
}

// ready counts how long learners have kept up, and returns one that has done so for long enough; 0 if none has.
func (a *Autopilot) ready(followers []Follower) (id uint64) {
	applied := a.opts.Machine.Applied().Index
	for _, f := range followers {
		switch {
		case !f.Learner:
		case f.Active && f.Match+maxBehind >= applied:
			if a.steady[f.ID]++; a.steady[f.ID] >= steadyLooks && (id == 0 || f.ID < id) {
				id = f.ID
			}
		default:
			delete(a.steady, f.ID)
		}
	}
	return id
}

// dead returns a voter that may be removed because nothing is heard of it; 0 if there is none, or if those that
// are left would not all be heard.
func (a *Autopilot) dead(followers []Follower) (id uint64) {
	if a.opts.RemoveDeadAfter <= 0 {
		return 0
	}
	for _, f := range followers {
		switch {
		case f.Learner || f.Active:
		case f.Silent >= a.opts.RemoveDeadAfter && id == 0:
			id = f.ID
		default:
			return 0 // a second one is missing
		}
	}
	return id
}

// short reports whether the voters are all heard and their number is even, as it is after one was removed: then the
// replacement is due, also where learners are not made voters otherwise.
func (a *Autopilot) short(followers []Follower) bool {
	if a.opts.RemoveDeadAfter <= 0 {
		return false
	}
	voters := 1
	for _, f := range followers {
		if f.Learner {
			continue
		}
		if !f.Active {
			return false
		}
		voters++
	}
	return voters%2 == 0
}
