package chores

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

const (
	// checkBytes is how much is read between two pauses of a check, in bytes.
	checkBytes = 256 << 10
	// checkBytesPerSecond bounds how fast a check in the background reads, in bytes per second.
	checkBytesPerSecond = 32 << 20
	// checkIdle is how many times as long as it worked a check in the background rests: it takes a tenth
	// of one processor at most.
	checkIdle = 9
)

// CheckerOptions are what a checker is built from.
type CheckerOptions struct {
	// Every is the pause between two checks of everything; 0 means none.
	Every time.Duration
	// Compacted is the pause after which it is looked whether there was a compaction, and what it left is
	// checked up to its revision; 0 means never.
	Compacted time.Duration
	Machine   *state.Machine
	Proposer  Proposer
	Logger    *slog.Logger
}

// Checker compares what this member has stored with what it noted when it stored it, and raises the alarm
// CORRUPT for itself where they differ.
type Checker struct {
	opts    CheckerOptions
	covered mvcc.Rev // compaction up to which it was checked last
}

// NewChecker builds a checker.
func NewChecker(o CheckerOptions) *Checker {
	return &Checker{opts: o, covered: o.Machine.KV().Stats().CompactRev}
}

// Run checks when it is time, until the context ends or damage was found: then the alarm stands, and more of
// the same would tell nothing new. With nothing to do it returns at once. An error is a failing disk.
func (c *Checker) Run(ctx context.Context) error {
	every, stopEvery := ticks(c.opts.Every)
	defer stopEvery()
	compacted, stopCompacted := ticks(c.opts.Compacted)
	defer stopCompacted()
	if every == nil && compacted == nil {
		return nil
	}
	for {
		upTo := mvcc.Rev(0)
		select {
		case <-ctx.Done():
			return nil
		case <-every:
			upTo = c.opts.Machine.KV().Stats().Rev
		case <-compacted:
			swept := c.opts.Machine.KV().Stats().SweptRev
			if swept == c.covered {
				continue
			}
			upTo, c.covered = swept, swept
		}
		if found, err := c.check(ctx, upTo); found || err != nil {
			return err
		}
	}
}

// ticks is a ticker that with a pause of 0 never ticks.
func ticks(pause time.Duration) (<-chan time.Time, func()) {
	if pause <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(pause)
	return t.C, t.Stop
}

// check looks at everything up to a revision, and reports whether there was damage.
func (c *Checker) check(ctx context.Context, upTo mvcc.Rev) (found bool, err error) {
	start := time.Now()
	total, err := eachPart(ctx, c.opts.Machine.KV(), upTo, rest)
	damaged, ok := errors.AsType[*storage.DamagedError](err)
	switch {
	case ctx.Err() != nil:
		return false, nil
	case ok:
		c.alarm(ctx, damaged)
		return true, nil
	case err != nil:
		return false, fmt.Errorf("check the stored records: %w", err)
	}
	c.opts.Logger.Info("checked the stored records: all are as they were written", "revision", int64(upTo), "bytes", total, "took", time.Since(start).String())
	return false, nil
}

func (c *Checker) alarm(ctx context.Context, damaged *storage.DamagedError) {
	id := uint64(c.opts.Machine.Members().Local())
	c.opts.Logger.Error("stored data is damaged: raising the alarm CORRUPT, writes are refused from now on", "key", fmt.Sprintf("%q", damaged.Key), "error", damaged.Error())
	for {
		err := propose(ctx, c.opts.Proposer, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: id, Alarm: pb.AlarmType_CORRUPT})
		if err == nil {
			return
		}
		c.opts.Logger.Warn("raise the alarm CORRUPT: trying again", "error", err.Error())
		if !pause(ctx, raiseWait) {
			return
		}
	}
}

// rest pauses a check that worked for a while.
func rest(ctx context.Context, worked time.Duration, read int64) {
	pause(ctx, max(checkIdle*worked, time.Duration(read)*time.Second/checkBytesPerSecond))
}

// eachPart verifies a store part by part and returns how much was read.
func eachPart(ctx context.Context, store *mvcc.Store, upTo mvcc.Rev, after func(ctx context.Context, worked time.Duration, read int64)) (total int64, err error) {
	var from mvcc.Pos
	for done := false; !done; {
		if ctx.Err() != nil {
			return total, context.Cause(ctx)
		}
		start := time.Now()
		var read int64
		if from, read, done, err = store.Verify(from, upTo, checkBytes); err != nil {
			return total, err
		}
		total += read
		if !done && after != nil {
			after(ctx, time.Since(start), read)
		}
	}
	return total, nil
}

// CheckAll is the check before a member serves: as fast as it goes, and an error ends the start.
func CheckAll(ctx context.Context, store *mvcc.Store, logger *slog.Logger) error {
	start := time.Now()
	total, err := eachPart(ctx, store, store.Stats().Rev, nil)
	if err != nil {
		return fmt.Errorf("check the stored records before serving: %w", err)
	}
	logger.Info("initial corruption checking passed; no corruption", "bytes", total, "took", time.Since(start).String())
	return nil
}
