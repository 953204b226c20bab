package server

import (
	"time"

	"github.com/keelson-db/keelson/internal/chores"
	"github.com/keelson-db/keelson/internal/replica"
)

// upkeep is what this member does by itself so that nobody has to.
type upkeep struct {
	sweeper   *chores.Sweeper
	cutter    *chores.Cutter
	quota     *chores.Quota
	compactor *chores.Compactor
	checker   *chores.Checker
	levels    *chores.Levels
	autopilot *chores.Autopilot
	comparer  *chores.Comparer
}

func (s *Server) newUpkeep() upkeep {
	c, m := s.config, s.data.machine
	var compacted time.Duration
	if c.FeatureGates["CompactHashCheck"] {
		compacted = c.CompactHashCheckTime
	}
	quota := chores.NewQuota(chores.QuotaOptions{
		Bytes: c.QuotaBackendBytes, SelfClear: c.AlarmSelfClear, Machine: m, Proposer: s.replica, Logger: s.log,
	})
	return upkeep{
		sweeper: chores.NewSweeper(m.KV(), s.metrics.MVCC, s.log),
		cutter: chores.NewCutter(chores.CutterOptions{
			Log: s.data.log, Engine: s.data.engine, Machine: m, Followers: s.replica, CatchUp: c.SnapshotCatchUpEntries,
		}),
		quota: quota,
		compactor: chores.NewCompactor(chores.CompactorOptions{
			Retention: chores.Retention{
				Mode: c.AutoCompactionMode, Time: c.AutoCompactionRetention, Revisions: c.AutoCompactionRevisions,
			},
			Store: m.KV(), Proposer: s.replica, Leadership: leadership{s.replica}, Tight: quota.Tight, Logger: s.log,
		}),
		levels: chores.NewLevels(chores.LevelsOptions{
			Machine: m, Proposer: s.replica, Leadership: leadership{s.replica}, Logger: s.log,
		}),
		autopilot: chores.NewAutopilot(chores.AutopilotOptions{
			Promote: c.AutopilotPromote, RemoveDeadAfter: c.AutopilotRemoveDeadAfter,
			Machine: m, Ensemble: ensemble{s.replica}, Leadership: leadership{s.replica}, Logger: s.log,
		}),
		comparer: chores.NewComparer(chores.ComparerOptions{
			Every: c.CompareInterval, Machine: m, Proposer: s.replica, Leadership: leadership{s.replica}, Others: others{s}, Logger: s.log,
		}),
		checker: chores.NewChecker(chores.CheckerOptions{
			Every: c.CorruptCheckTime, Compacted: compacted, Machine: m, Proposer: s.replica, Logger: s.log,
		}),
	}
}

// ensemble is the replica as the autopilot sees it.
type ensemble struct{ *replica.Replica }

// Followers implements chores.Ensemble.
func (e ensemble) Followers() (all []chores.Follower) {
	now := time.Now()
	for id, p := range e.Progress() {
		all = append(all, chores.Follower{ID: id, Match: p.Match, Learner: p.Learner, Active: p.Active, Silent: p.Silent(now)})
	}
	return all
}
