package token

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
)

// turns lets few callers work at a time. Bcrypt is work for a core and tens of milliseconds; requests that need no
// password are not to wait for it.
type turns struct {
	slots   chan struct{}
	waiting atomic.Int64
}

// newTurns leaves half of the cores to everybody else.
func newTurns() *turns {
	return &turns{slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// take waits for a turn. Who got one gives it back.
func (t *turns) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for a login's turn: %w", err)
	}
	select {
	case t.slots <- struct{}{}:
		return nil
	default:
	}
	defer t.waiting.Add(-1)
	if t.waiting.Add(1) > maxWaiting {
		return ErrBusy
	}
	select {
	case t.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a login's turn: %w", ctx.Err())
	}
}

// give gives a turn back.
func (t *turns) give() { <-t.slots }
