package chores

import (
	"context"
	"log/slog"
	"time"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/state"
)

// levelPause is the time between two tries to raise the cluster's level.
const levelPause = time.Second

// LevelsOptions are what Levels are built from.
type LevelsOptions struct {
	Machine    *state.Machine
	Proposer   Proposer
	Leadership Leadership
	Logger     *slog.Logger
}

// Levels raises the cluster's feature level once every member has announced a release that knows the next one, so
// that an upgrade, one member after the other, needs no last step.
type Levels struct{ opts LevelsOptions }

// NewLevels builds it.
func NewLevels(o LevelsOptions) *Levels { return &Levels{o} }

// Run raises the level when it is time, until the context ends.
func (l *Levels) Run(ctx context.Context) error {
	ticker := time.NewTicker(levelPause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			l.raise(ctx)
		}
	}
}

func (l *Levels) raise(ctx context.Context) {
	to := lowestLevel(l.opts.Machine.Members())
	if _, leads := l.opts.Leadership.Leading(); !leads || to <= l.opts.Machine.Level() {
		return
	}
	if err := propose(ctx, l.opts.Proposer, &command.ClusterLevel{Level: to}); err != nil {
		l.opts.Logger.Warn("raise the cluster's feature level: trying again", "level", to, "error", err.Error())
		return
	}
	l.opts.Logger.Info("every member runs a release that knows it: the cluster's feature level is raised", "level", to)
}

// lowestLevel is the level that all members know, as far as they have announced one.
func lowestLevel(t *member.Table) uint32 {
	lowest := uint32(command.Level)
	for _, m := range t.List() {
		lowest = min(lowest, m.Level)
	}
	return lowest
}
