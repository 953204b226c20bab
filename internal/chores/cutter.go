package chores

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/keelson-db/keelson/internal/state"
)

const (
	// MaxLogBytes is the size of the raft log from which on the state is written out early so that the log
	// can be cut. The log exceeds it by what arrives meanwhile.
	MaxLogBytes = 128 << 20
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

// Cutter cuts the raft log behind what the state machine holds durably.
type Cutter struct {
	log     Log
	engine  Engine
	machine *state.Machine
	max     int64
	logger  *slog.Logger
}

// NewCutter builds the cutter of a log and the state that it feeds.
func NewCutter(log Log, engine Engine, machine *state.Machine, logger *slog.Logger) *Cutter {
	return &Cutter{log: log, engine: engine, machine: machine, max: MaxLogBytes, logger: logger}
}

// Run cuts after each flush of the engine until the context ends, and asks for a flush when the log has
// grown beyond MaxLogBytes. An error is a failing disk.
func (c *Cutter) Run(ctx context.Context) error {
	ticker := time.NewTicker(cutInterval)
	defer ticker.Stop()
	for {
		flushed := c.engine.Flushes()
		if err := c.cut(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-flushed:
		case <-ticker.C:
			if c.log.Size() > c.max {
				if err := c.engine.Flush(); err != nil {
					return fmt.Errorf("write out the state so that the log can be cut: %w", err)
				}
			}
		}
	}
}

func (c *Cutter) cut() error {
	durable, err := c.machine.DurableApplied()
	if err != nil {
		return fmt.Errorf("cut the log: %w", err)
	}
	if err := c.log.Compact(durable.Index); err != nil {
		return fmt.Errorf("cut the log: %w", err)
	}
	return nil
}
