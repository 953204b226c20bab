package chores

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
)

const (
	// sweepKeys is how many changes one step of a sweep looks at. The engine makes batches visible in order,
	// so a put waits for the step that was committed before it, and steps are short.
	sweepKeys = 100
	// sweepRest is how many times as long as it worked a sweep rests: the other half of the processor's time,
	// and the gaps in the engine's queue, belong to writers.
	sweepRest = 1
	// sweepStint is how long a sweep works, in steps, before it rests. Falling asleep and being woken costs
	// more processor time than a short step, and a timer sleeps for a millisecond at least.
	sweepStint = time.Millisecond
)

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
	var worked time.Duration // since the last rest
	for done := false; !done; {
		step := time.Now()
		var removed int
		var err error
		if removed, done, err = s.store.Sweep(ctx, sweepKeys); err != nil {
			return fmt.Errorf("remove compacted versions: %w", err)
		}
		total += removed
		s.metrics.CompactedKeys.Add(uint64(removed))
		took := time.Since(step)
		s.metrics.CompactionPause.Observe(float64(took.Milliseconds()))
		if worked += took; done || worked < sweepStint {
			continue
		}
		if !pause(ctx, sweepRest*worked) {
			return ctx.Err()
		}
		worked = 0
	}
	took := time.Since(start)
	s.metrics.CompactionTotal.Observe(float64(took.Milliseconds()))
	s.metrics.LastCompaction.SetToCurrentTime()
	s.logger.Info("finished scheduled compaction", "compact-revision", int64(s.store.Stats().CompactRev), "removed", total, "took", took.String())
	return nil
}
