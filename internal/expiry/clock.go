package expiry

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/invariant"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/state"
)

// ErrNotPrimary means that this member does not lead, or is not yet sure of it, and so knows no deadlines.
// The text is the one that etcd's clients are told.
var ErrNotPrimary = errors.New("not a primary lessor")

// Proposer puts a command into the order of all commands and waits until it is applied here. Of two
// proposals made one after the other, the second must not be applied before the first. This member must put it there
// itself, as the leader of the term: the next leader may have promised a lease more time.
type Proposer interface {
	ProposeIn(ctx context.Context, term uint64, op command.Op) (state.Result, error)
}

// Leadership tells whether this member is the one whose clock counts.
type Leadership interface {
	// Leading returns the term and true while this member leads and has applied an entry of that term:
	// before, the log may hold ends and records of leases that the table does not show yet, and a renewal
	// could be answered that one of them breaks. It is called often, and under the clock's mutex.
	Leading() (term uint64, ok bool)
	// LeaderChanged returns a channel that is closed when the leader changes.
	LeaderChanged() <-chan struct{}
}

// reign is the time that this member leads. Its context ends with the leadership, and with it the commands made under it.
type reign struct {
	context.Context
	term uint64
}

// Options are what a clock is built from.
type Options struct {
	Leases     *lease.Table
	Proposer   Proposer
	Leadership Leadership
	// ElectionTimeout is what leases are given on top when this member begins to lead.
	ElectionTimeout time.Duration
	Metrics         *metrics.Lease
	Logger          *slog.Logger
}

// Clock knows the deadlines of all leases while this member leads.
type Clock struct {
	leases     *lease.Table
	proposer   Proposer
	leadership Leadership
	election   time.Duration
	metrics    *metrics.Lease
	logger     *slog.Logger
	start      time.Time

	// wake holds a token when Run should look again.
	wake chan struct{}
	// pen is held by whoever writes records; it holds one token.
	pen chan struct{}

	mu        sync.Mutex // guards what follows, and all entries
	leading   bool
	reign     reign              // while leading
	endReign  context.CancelFunc // nil before the first reign
	since     uint64             // how far the table's changes were followed
	entries   map[lease.ID]*entry
	deadlines deadlines
	longTerm  *list.List  // of *entry, by nextLook: leases that are checkpointed
	clearings []*clearing // that wait for the pen
	revoking  int         // revokes under way
	writing   bool        // a record is under way
	failures  int         // revokes that failed in a row
}

// New builds a clock. It ends nothing until Run is called.
func New(o Options) *Clock {
	invariant.Check(o.Leases != nil && o.Proposer != nil && o.Leadership != nil && o.Metrics != nil,
		"a lease clock is built on a table, a proposer, a leadership and metrics")
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Clock{
		leases:     o.Leases,
		proposer:   o.Proposer,
		leadership: o.Leadership,
		election:   o.ElectionTimeout,
		metrics:    o.Metrics,
		logger:     o.Logger,
		start:      time.Now(),
		wake:       make(chan struct{}, 1),
		pen:        make(chan struct{}, 1),
		entries:    make(map[lease.ID]*entry),
		longTerm:   list.New(),
	}
}

func (c *Clock) now() instant { return instant(time.Since(c.start)) }

// poke makes Run look again.
func (c *Clock) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Renew gives a lease its full time again and returns it, in seconds. It returns 0 for a lease that does not
// exist or whose time has passed; of the latter it waits until it is revoked. On a member that does not lead
// it returns ErrNotPrimary. Any other error means that the renewal may or may not have happened.
func (c *Clock) Renew(ctx context.Context, id lease.ID) (ttl int64, err error) {
	for {
		ttl, step, err := c.renew(id)
		if step == nil {
			return ttl, err
		}
		select {
		case <-step.done:
			if step.clearing == nil || errors.Is(step.clearing.err, ErrNotPrimary) {
				continue
			}
			if err := step.clearing.err; err != nil {
				return 0, fmt.Errorf("renew lease: %w", err)
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// step is what a renewal has to wait for before it looks again.
type step struct {
	done     <-chan struct{}
	clearing *clearing // nil when it waits for the end of the lease
}

func (c *Clock) renew(id lease.ID) (int64, *step, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if !c.follow(now) {
		return 0, nil, ErrNotPrimary
	}
	e, ok := c.entries[id]
	if !ok {
		return 0, nil, nil
	}
	if e.expiring || e.deadline <= now {
		return 0, &step{done: e.wait()}, nil
	}
	e.deadline = max(e.deadline, now.plusSeconds(e.ttl))
	if e.noted != 0 {
		// The time is given at once, so that the lease does not end while its record is cleared, and
		// again when the answer goes out.
		clearing := c.clear(e)
		return 0, &step{done: clearing.done, clearing: clearing}, nil
	}
	c.metrics.Renewed.Inc()
	return e.ttl, nil, nil
}

// Leads reports whether this clock is the one that counts, and begins to count if it has just become so.
func (c *Clock) Leads() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.follow(c.now())
}

// Remaining returns the whole seconds that a lease has left, and how many it was granted. It is not ok for a
// lease that does not exist or whose time has passed, and on a member that does not lead, where nothing can
// be said: a caller that must tell these apart asks who leads.
func (c *Clock) Remaining(id lease.ID) (left, granted int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if !c.follow(now) {
		return 0, 0, false
	}
	e, ok := c.entries[id]
	if !ok || e.expiring || e.deadline <= now {
		return 0, 0, false
	}
	return int64(e.left(now) / time.Second), e.ttl, true
}

// ByExpiry returns all leases, those that end first in front. A member that does not lead orders them by
// the time that it would give them.
func (c *Clock) ByExpiry() []lease.ID {
	type timed struct {
		id  lease.ID
		end instant
	}
	var order []timed
	c.mu.Lock()
	leading := c.follow(c.now())
	for _, e := range c.entries {
		order = append(order, timed{e.id, e.deadline})
	}
	c.mu.Unlock()
	if !leading {
		for _, l := range c.leases.List() {
			order = append(order, timed{l.ID, instant(0).plusSeconds(l.Left())})
		}
	}
	slices.SortFunc(order, func(a, b timed) int {
		return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.id, b.id))
	})
	ids := make([]lease.ID, len(order))
	for i, o := range order {
		ids[i] = o.id
	}
	return ids
}
