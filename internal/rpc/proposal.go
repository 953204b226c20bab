package rpc

import (
	"context"
	"time"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
)

// proposing is how one kind of command gets into the log, under a clock, and how its response comes back.
type proposing[Out any] struct {
	access
	replica Proposer
	links   links
	took    metrics.Outcomes
}

// newProposing names the kind of command as the metrics know it.
func newProposing[Out any](d Deps, kind string) proposing[Out] {
	return proposing[Out]{access: d.access(), replica: d.Replica, links: d.links(), took: d.Metrics.Server.RequestOutcomes(kind)}
}

// propose puts a command into the log, with the caller's name on it while users are on, and returns its
// response and the revision after it. It is the only way into the log from here. Whether the command was
// refused or failed when it was applied makes no difference to a client; to the metrics, only the former is a
// request that failed.
func (p proposing[Out]) propose(ctx context.Context, op command.Op) (out Out, rev mvcc.Rev, err error) {
	start := time.Now()
	if op, err = p.sign(ctx, op); err != nil {
		return out, 0, err
	}
	res, err := p.replica.Propose(ctx, op)
	err = p.links.blame(err, start)
	p.took.Observe(time.Since(start), err)
	if err == nil {
		spentOnCommand(ctx, res.Took)
		err = res.Err
	}
	if err != nil {
		return out, 0, err
	}
	return res.Response.(Out), res.Rev, nil
}
