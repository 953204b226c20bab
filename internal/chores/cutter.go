package chores

import (
	"context"
	"fmt"
	"time"

	"github.com/keelson-db/keelson/internal/state"
)

const (
	// MaxLogBytes is the size of the raft log from which on the state is written out early so that the log
	// can be cut. The log exceeds it by what arrives meanwhile.
	MaxLogBytes = 128 << 20
	// MaxKeptBytes is the size of the raft log up to which it is kept for members that still need it: those that
	// follow at a distance, and those that fetch a copy of the state. Beyond it they have to fetch one anew.
	MaxKeptBytes = 1 << 30
	// cutInterval is how often the size of the log is looked at.
	cutInterval = time.Second
)

// Log is the raft log as the cutter needs it.
type Log interface {
	Compact(to uint64) error
	Size() int64
}

// Engine is the storage engine as the cutter needs it.
type Engine interface {
	Flush() error
	Flushes() <-chan struct{} // closed at the next finished flush
}

// Followers tells what of the log others still need.
type Followers interface {
	// KeepBehind returns the index behind which entries may still be needed.
	KeepBehind() uint64
}

// CutterOptions are what a cutter is built from.
type CutterOptions struct {
	Log       Log
	Engine    Engine
	Machine   *state.Machine
	Followers Followers
	// CatchUp is how many applied entries are kept for members that are behind and not heard now.
	CatchUp uint64
}

// Cutter cuts the raft log behind what the state machine holds durably and other members need no longer.
type Cutter struct {
	opts      CutterOptions
	max, kept int64
}

// NewCutter builds the cutter of a log and the state that it feeds.
func NewCutter(o CutterOptions) *Cutter {
	return &Cutter{opts: o, max: MaxLogBytes, kept: MaxKeptBytes}
}

// Run cuts after each flush of the engine and once in a while, until the context ends, and asks for a flush when the
// log has grown beyond MaxLogBytes because of what is not flushed. An error is a failing disk.
func (c *Cutter) Run(ctx context.Context) error {
	ticker := time.NewTicker(cutInterval)
	defer ticker.Stop()
	for {
		flushed := c.opts.Engine.Flushes()
		unflushed, err := c.cut()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-flushed:
		case <-ticker.C:
			if unflushed && c.opts.Log.Size() > c.max {
				if err := c.opts.Engine.Flush(); err != nil {
					return fmt.Errorf("write out the state so that the log can be cut: %w", err)
				}
			}
		}
	}
}

// cut forgets what nobody needs, and reports whether more could be forgotten if the engine were flushed.
func (c *Cutter) cut() (unflushed bool, err error) {
	durable, err := c.opts.Machine.DurableApplied()
	if err != nil {
		return false, fmt.Errorf("cut the log: %w", err)
	}
	to := c.opts.Machine.Applied().Index
	if c.opts.Log.Size() <= c.kept {
		to = min(to-min(to, c.opts.CatchUp), c.opts.Followers.KeepBehind())
	}
	unflushed = to > durable.Index
	if err := c.opts.Log.Compact(min(to, durable.Index)); err != nil {
		return false, fmt.Errorf("cut the log: %w", err)
	}
	return unflushed, nil
}
