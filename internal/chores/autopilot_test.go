package chores

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/state"
)

// ensemble is members as a story tells of them.
type ensemble struct {
	followers []Follower
	done      []string
}

func (e *ensemble) Followers() []Follower { return e.followers }

func (e *ensemble) ChangeIn(_ context.Context, _ uint64, c command.MemberChange) (state.Result, error) {
	kind := map[command.ChangeKind]string{command.PromoteMember: "promote", command.RemoveMember: "remove"}[c.Kind]
	e.done = append(e.done, fmt.Sprintf("%s %d", kind, c.Member))
	rest := e.followers[:0]
	for _, f := range e.followers {
		if f.ID == c.Member {
			if c.Kind == command.RemoveMember {
				continue
			}
			f.Learner = false
		}
		rest = append(rest, f)
	}
	e.followers = rest
	return state.Result{}, nil
}

// reign is leadership as a story tells of it.
type reign struct {
	term  uint64
	leads bool
}

func (r *reign) Leading() (uint64, bool) { return r.term, r.leads }

func TestTheAutopilotDoesWhatItMayAndNoMore(t *testing.T) {
	voter := func(id uint64, silent time.Duration) Follower {
		return Follower{ID: id, Match: 1, Active: silent == 0, Silent: silent}
	}
	learner := func(id uint64, active bool) Follower {
		return Follower{ID: id, Match: 1, Learner: true, Active: active}
	}
	for name, story := range map[string]struct {
		promote bool
		dead    time.Duration
		members []Follower
		follows bool
		want    string
	}{
		"a learner that keeps up":                {promote: true, members: []Follower{voter(2, 0), learner(3, true)}, want: "promote 3"},
		"one that is not heard":                  {promote: true, members: []Follower{voter(2, 0), learner(3, false)}},
		"without being told to":                  {dead: time.Minute, members: []Follower{voter(2, 0), voter(4, 0), learner(3, true)}},
		"a follower's autopilot":                 {promote: true, follows: true, members: []Follower{learner(3, true)}},
		"a dead voter and a replacement":         {dead: time.Minute, members: []Follower{voter(2, 0), voter(4, time.Hour), learner(3, true)}, want: "remove 4, promote 3"},
		"a dead voter and none":                  {dead: time.Minute, members: []Follower{voter(2, 0), voter(4, time.Hour)}},
		"not dead for long enough":               {dead: time.Minute, members: []Follower{voter(2, 0), voter(4, time.Second), learner(3, true)}},
		"a second one missing":                   {dead: time.Minute, members: []Follower{voter(2, time.Second), voter(4, time.Hour), voter(5, 0), learner(3, true)}},
		"two learners are promoted in order":     {promote: true, members: []Follower{voter(2, 0), learner(9, true), learner(3, true)}, want: "promote 3, promote 9"},
		"a replacement that does not catch up":   {dead: time.Minute, members: []Follower{voter(2, 0), voter(4, time.Hour), learner(3, false)}},
		"the dead are left alone unless told so": {promote: true, members: []Follower{voter(2, 0), voter(4, time.Hour)}},
	} {
		e, m := open(t)
		members := &ensemble{followers: story.members}
		a := NewAutopilot(AutopilotOptions{
			Promote: story.promote, RemoveDeadAfter: story.dead, Machine: m, Ensemble: members,
			Leadership: &reign{term: 4, leads: !story.follows}, Logger: slog.New(slog.DiscardHandler),
		})
		for range 3 * steadyLooks {
			a.look(t.Context())
		}
		if got := strings.Join(members.done, ", "); got != story.want {
			t.Errorf("%s: %q, want %q", name, got, story.want)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestALearnerHasToKeepUpForAWhile(t *testing.T) {
	e, m := open(t)
	defer e.Close()
	members := &ensemble{followers: []Follower{{ID: 3, Match: 1, Learner: true, Active: true}}}
	lead := &reign{term: 4, leads: true}
	a := NewAutopilot(AutopilotOptions{Promote: true, Machine: m, Ensemble: members, Leadership: lead, Logger: slog.New(slog.DiscardHandler)})
	for i := range 3 * steadyLooks {
		members.followers[0].Active = i%steadyLooks != 0
		a.look(t.Context())
	}
	lead.term++ // a new leader counts for itself
	members.followers[0].Active = true
	for range steadyLooks - 1 {
		a.look(t.Context())
	}
	if len(members.done) > 0 {
		t.Fatalf("done too early: %v", members.done)
	}
	a.look(t.Context())
	if len(members.done) != 1 {
		t.Fatal("it is not promoted")
	}
}
