package chores

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
)

// sweepKeys is how many old versions one step of a sweep removes.
const sweepKeys = 1000

// Sweeper removes old versions after compactions.
type Sweeper struct {
	store   *mvcc.Store
	metrics *metrics.MVCC
	logger  *slog.Logger
}

// NewSweeper builds the sweeper of a store.
func NewSweeper(store *mvcc.Store, m *metrics.MVCC, logger *slog.Logger) *Sweeper {
	return &Sweeper{store: store, metrics: m, logger: logger}
}

// Run sweeps whenever a compaction has left something to sweep, until the context ends. An error is a
// failing disk.
func (s *Sweeper) Run(ctx context.Context) error {
	for {
		changed := s.store.Changed()
		if s.store.SweepPending() {
			if err := s.sweep(ctx); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// sweep removes everything that is unreachable now.
func (s *Sweeper) sweep(ctx context.Context) error {
	start := time.Now()
	var total int
	for done := false; !done; {
		step := time.Now()
		var removed int
		var err error
		if removed, done, err = s.store.Sweep(ctx, sweepKeys); err != nil {
			return fmt.Errorf("remove compacted versions: %w", err)
		}
		total += removed
		s.metrics.CompactedKeys.Add(uint64(removed))
		s.metrics.CompactionPause.Observe(float64(time.Since(step).Milliseconds()))
	}
	took := time.Since(start)
	s.metrics.CompactionTotal.Observe(float64(took.Milliseconds()))
	s.metrics.LastCompaction.SetToCurrentTime()
	s.logger.Info("finished scheduled compaction", "compact-revision", int64(s.store.Stats().CompactRev), "removed", total, "took", took.String())
	return nil
}
