package chores

import (
	"context"
	"errors"
	"log/slog"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// The modes of automatic compaction, as etcd's flag names them.
const (
	ByTime     = "periodic"
	ByRevision = "revision"
)

const (
	// byRevisionPause is the time between two compactions by revision.
	byRevisionPause = 5 * time.Minute
	// longestPause is the longest time between two compactions by time, however long history is kept.
	longestPause = time.Hour
	// looksPerPause is how often the revision is noted, and a failed compaction tried again, in one pause.
	looksPerPause = 10
	// shortestStep is the shortest time between two notes of the revision.
	shortestStep = time.Millisecond
	// tightPause is how often it is asked whether space is running out.
	tightPause = time.Second
)

// Retention says how much history to keep. With neither a time nor a count nothing is compacted.
type Retention struct {
	Mode      string        // ByTime or ByRevision
	Time      time.Duration // with ByTime: how long history is kept
	Revisions int64         // with ByRevision: how many revisions are kept
}

// CompactorOptions are what a compactor is built from.
type CompactorOptions struct {
	Retention  Retention
	Store      *mvcc.Store
	Proposer   Proposer
	Leadership Leadership
	// Tight reports that space is running out. Then what need not be kept any longer goes at once and not at
	// the next appointed time. Nil means never.
	Tight  func() bool
	Logger *slog.Logger
}

// Compactor compacts history by itself, at the times and revisions at which etcd does.
type Compactor struct {
	opts CompactorOptions
	last int64 // compacted by this compactor, or found compacted
}

// NewCompactor builds a compactor.
func NewCompactor(o CompactorOptions) *Compactor {
	if o.Tight == nil {
		o.Tight = func() bool { return false }
	}
	return &Compactor{opts: o}
}

// Run compacts until the context ends. With nothing to do it returns at once.
func (c *Compactor) Run(ctx context.Context) error {
	r := c.opts.Retention
	switch {
	case r.Mode == ByTime && r.Time > 0:
		c.byTime(ctx, r.Time)
	case r.Mode == ByRevision && r.Revisions > 0:
		c.byRevision(ctx, r.Revisions)
	}
	return nil
}

// byTime notes the revision in regular steps, so many that the oldest note is as old as history is to
// become, and compacts to that one: for the first time when the whole time has passed, then in pauses of that
// time or an hour, whichever is shorter. Members that do not lead note the revision too, so that whoever
// begins to lead knows what was.
func (c *Compactor) byTime(ctx context.Context, keep time.Duration) {
	pause := min(keep, longestPause)
	step := max(pause/looksPerPause, shortestStep)
	notes := make([]int64, 0, keep/step+1)
	due := time.Now().Add(keep)
	for {
		if len(notes) == cap(notes) {
			notes = append(notes[:0], notes[1:]...)
		}
		notes = append(notes, c.revision())
		// Once they reach back far enough, the oldest may go early if space is short.
		early := func() int64 { return notes[0] }
		if len(notes) < cap(notes) {
			early = nil
		}
		if !c.wait(ctx, step, early) {
			return
		}
		if time.Now().Before(due) || notes[0] == c.last || !c.leads() {
			continue
		}
		if c.compact(ctx, notes[0]) {
			due = time.Now().Add(pause)
		}
	}
}

// byRevision compacts to what lies so many revisions back, in regular pauses.
func (c *Compactor) byRevision(ctx context.Context, keep int64) {
	oldest := func() int64 { return c.revision() - keep }
	for c.wait(ctx, byRevisionPause, oldest) {
		if rev := oldest(); rev > 0 && rev != c.last && c.leads() {
			c.compact(ctx, rev)
		}
	}
}

func (c *Compactor) revision() int64 { return int64(c.opts.Store.Stats().Rev) }

func (c *Compactor) leads() bool {
	_, ok := c.opts.Leadership.Leading()
	return ok
}

// wait lets a pause pass; it returns false when the context ended first. When space runs out meanwhile, it
// compacts to the revision that oldest names, which is one that may go anyway.
func (c *Compactor) wait(ctx context.Context, pause time.Duration, oldest func() int64) bool {
	end := time.NewTimer(pause)
	defer end.Stop()
	look := time.NewTicker(tightPause)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-end.C:
			return true
		case <-look.C:
			if oldest == nil || !c.opts.Tight() || !c.leads() {
				continue
			}
			if rev := oldest(); rev > max(c.last, int64(c.opts.Store.Stats().CompactRev)) {
				c.opts.Logger.Warn("space is running out: compacting early what need not be kept", "revision", rev)
				c.compact(ctx, rev)
			}
		}
	}
}

// compact proposes one compaction and reports whether everything below the revision is gone now.
func (c *Compactor) compact(ctx context.Context, rev int64) bool {
	start := time.Now()
	c.opts.Logger.Info("starting auto compaction", "revision", rev, "mode", c.opts.Retention.Mode)
	err := propose(ctx, c.opts.Proposer, &pb.CompactionRequest{Revision: rev})
	if ctx.Err() != nil {
		return false
	}
	if err != nil && !errors.Is(err, mvcc.ErrCompacted) {
		c.opts.Logger.Warn("auto compaction failed: it is tried again at the next appointed time", "revision", rev, "error", err.Error())
		return false
	}
	c.last = rev
	c.opts.Logger.Info("completed auto compaction", "revision", rev, "took", time.Since(start).String())
	return true
}
