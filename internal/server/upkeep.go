package server

import (
	"time"

	"github.com/keelson-db/keelson/internal/chores"
)

// upkeep is what this member does by itself so that nobody has to.
type upkeep struct {
	sweeper   *chores.Sweeper
	cutter    *chores.Cutter
	quota     *chores.Quota
	compactor *chores.Compactor
	checker   *chores.Checker
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
		cutter:  chores.NewCutter(s.data.log, s.data.engine, m, s.log),
		quota:   quota,
		compactor: chores.NewCompactor(chores.CompactorOptions{
			Retention: chores.Retention{
				Mode: c.AutoCompactionMode, Time: c.AutoCompactionRetention, Revisions: c.AutoCompactionRevisions,
			},
			Store: m.KV(), Proposer: s.replica, Leadership: leadership{s.replica}, Tight: quota.Tight, Logger: s.log,
		}),
		checker: chores.NewChecker(chores.CheckerOptions{
			Every: c.CorruptCheckTime, Compacted: compacted, Machine: m, Proposer: s.replica, Logger: s.log,
		}),
	}
}
