package chores

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/state"
)

const (
	// compareIdle is how many times as long as its part took a comparison is followed by none: it costs a hundredth of
	// one processor at most.
	compareIdle = 100
	// compareWait is how long a mark or a report may take to be applied.
	compareWait = 5 * time.Second
)

// ErrDiverged ends a member that holds something else than most of the others do.
var ErrDiverged = errors.New("this member's data differs from that of the other members")

// ComparerOptions are what a comparer is built from.
type ComparerOptions struct {
	// Every is the pause between two comparisons; 0 makes none.
	Every      time.Duration
	Machine    *state.Machine
	Proposer   Proposer
	Leadership Leadership
	Others     Others
	Logger     *slog.Logger
}

// Comparer has all members compare what they hold, through the log: the leader marks a place in it, every member tells
// what it held there, and each sees what the others told.
type Comparer struct {
	opts ComparerOptions
	self uint64
	took time.Duration    // for this member's part of the last comparison
	seen map[uint64]*seen // by mark, of those that the machine knows
}

// seen is what was done about a mark.
type seen struct {
	reported bool // this member has tried to tell what it held there
	judged   bool // what follows from it was done
}

// NewComparer builds a comparer.
func NewComparer(o ComparerOptions) *Comparer {
	return &Comparer{opts: o, self: uint64(o.Machine.Members().Local()), seen: map[uint64]*seen{}}
}

// Run takes part in comparisons until the context ends. It returns ErrDiverged when most members hold something else than
// this one, which must not go on then; before that it has raised the alarm CORRUPT and said where they differ. A member of
// which that was found before it was started is no better now.
func (c *Comparer) Run(ctx context.Context) error {
	if err := c.recall(); err != nil {
		return err
	}
	next := time.NewTimer(c.pause())
	defer next.Stop()
	for {
		marks, changed := c.opts.Machine.Marks()
		for i, m := range marks {
			if c.seen[m.ID] == nil {
				c.seen[m.ID] = new(seen)
			}
			if err := c.look(ctx, m, i < len(marks)-1); err != nil {
				return err
			}
		}
		maps.DeleteFunc(c.seen, func(id uint64, _ *seen) bool {
			return !slices.ContainsFunc(marks, func(m state.Mark) bool { return m.ID == id })
		})
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-next.C:
			c.mark(ctx)
			next.Reset(c.pause())
		}
	}
}

// pause is the time to the next mark. A comparison that is switched off is still taken part in.
func (c *Comparer) pause() time.Duration {
	if c.opts.Every <= 0 {
		return time.Hour
	}
	return max(c.opts.Every, compareIdle*c.took)
}

// mark proposes a mark, if this member leads others.
func (c *Comparer) mark(ctx context.Context) {
	if _, leads := c.opts.Leadership.Leading(); !leads || c.opts.Every <= 0 || len(c.opts.Machine.Members().List()) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, compareWait)
	defer cancel()
	if err := propose(ctx, c.opts.Proposer, &command.DigestMark{ID: rand.Uint64()}); err != nil {
		c.opts.Logger.Debug("mark a place for a comparison", "error", err.Error())
	}
}

// recall ends a member that was found to differ in an earlier run. One that is alone now, as after a recovery from the
// loss of the others, holds what the cluster holds.
func (c *Comparer) recall() error {
	rev, ok, err := c.opts.Machine.Diverged()
	if err != nil {
		return fmt.Errorf("look whether this member differs from the others: %w", err)
	}
	if !ok {
		return nil
	}
	if len(c.opts.Machine.Members().List()) < 2 {
		return c.opts.Machine.ForgetDiverged()
	}
	return fmt.Errorf("%w, as was found at revision %d before it was restarted; %s", ErrDiverged, rev, wayOut)
}

// wayOut is what to do about a member that differs.
const wayOut = "start this member with --auto-rejoin, or remove it and let a new one join, which also clears the alarm"

// look reports about a mark, once, and judges what was reported. Late says that there is a newer mark.
func (c *Comparer) look(ctx context.Context, m state.Mark, late bool) error {
	own, told := m.Reports[c.self]
	seen := c.seen[m.ID]
	if !told && !seen.reported {
		seen.reported = true
		c.report(ctx, m)
		return nil
	}
	if !told || seen.judged {
		return nil
	}
	v := judge(own, m.Reports, c.opts.Machine.ConfState().GetVoters(), late)
	if !v.differs && !v.undecided {
		return nil
	}
	seen.judged = true
	if v.undecided {
		c.opts.Logger.Error("members differ and none of them is known to be in the majority: raising the alarm CORRUPT, writes are refused from now on; "+
			"find out which member is right (the logs of all of them say what they hold) and replace the others", "mark", fmt.Sprintf("%x", m.ID), "revision", int64(m.Rev))
		c.raise(ctx)
		c.tell(ctx, m, v)
		return nil
	}
	// First what keeps others from harm.
	noted := c.opts.Machine.SetDiverged(m.Rev)
	c.raise(ctx)
	c.tell(ctx, m, v)
	return errors.Join(fmt.Errorf("%w: members %s agree on something else; what differs was logged. The alarm CORRUPT is raised, as operators of etcd expect; "+
		"%s", ErrDiverged, hexIDs(v.others), wayOut), noted)
}

// report computes what this member held at a mark and tells it.
func (c *Comparer) report(ctx context.Context, m state.Mark) {
	start := time.Now()
	h, err := c.opts.Machine.KV().HashAt(ctx, m.Rev)
	c.took = time.Since(start)
	if err != nil {
		c.opts.Logger.Debug("hash the keys for a comparison", "revision", int64(m.Rev), "error", err.Error())
		return // compacted meanwhile: the next mark will do
	}
	ctx, cancel := context.WithTimeout(ctx, compareWait)
	defer cancel()
	r := &command.DigestReport{Mark: m.ID, Member: c.self, Compact: int64(h.Compact), Hash: uint64(h.Hash), Rest: m.Rest}
	if err := propose(ctx, c.opts.Proposer, r); err != nil {
		c.opts.Logger.Debug("report for a comparison", "error", err.Error())
	}
}

// verdict is what follows from the reports about a mark for one member.
type verdict struct {
	differs   bool     // most voters agree, and not with it
	undecided bool     // voters differ, and no majority will agree
	others    []uint64 // voters that told something else than it; those who agree, if differs
}

// judge compares a member's report with the others'. Only reports for the same compact revision can be compared. Of those
// who are silent when there is a newer mark, nothing is expected any more.
func judge(own command.DigestReport, reports map[uint64]command.DigestReport, voters []uint64, late bool) (v verdict) {
	type content struct{ hash, rest uint64 }
	mine := content{own.Hash, own.Rest}
	groups, silent, most := map[content][]uint64{}, 0, 0
	for _, id := range voters {
		r, ok := reports[id]
		if !ok || r.Compact != own.Compact {
			silent++
			continue
		}
		key := content{r.Hash, r.Rest}
		groups[key] = append(groups[key], id)
		most = max(most, len(groups[key]))
		if key != mine {
			v.others = append(v.others, id)
		}
	}
	for key, ids := range groups {
		if len(ids) > len(voters)/2 {
			return verdict{differs: key != mine, others: ids}
		}
	}
	v.undecided = len(groups) > 1 && (late || most+silent <= len(voters)/2)
	return v
}

// raise raises the alarm for this member.
func (c *Comparer) raise(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, compareWait)
	defer cancel()
	alarm := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: c.self, Alarm: pb.AlarmType_CORRUPT}
	if err := propose(ctx, c.opts.Proposer, alarm); err != nil {
		c.opts.Logger.Warn("raise the alarm CORRUPT", "error", err.Error())
	}
}

func hexIDs(ids []uint64) (text string) {
	for i, id := range ids {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%x", id)
	}
	return text
}
