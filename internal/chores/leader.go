package chores

import (
	"context"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/state"
)

// Proposer puts a command into the order of all commands and waits until it is applied here.
type Proposer interface {
	Propose(ctx context.Context, op command.Op) (state.Result, error)
}

// Leadership tells whether this member is the one that does what one member is to do for all.
type Leadership interface {
	// Leading returns the term and true while this member leads and has applied an entry of that term.
	Leading() (term uint64, ok bool)
}

// propose hands in a command in the member's own name and returns what stood in its way.
func propose(ctx context.Context, p Proposer, op command.Op) error {
	result, err := p.Propose(ctx, command.Signed{By: command.Identity{Member: true}, Op: op})
	if err != nil {
		return err
	}
	return result.Err
}
