package chores

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/state"
)

const (
	// compareIdle is how many times as long as its part took a comparison is followed by none: it costs a hundredth of
	// one processor at most.
	compareIdle = 100
	// compareWait is how long a mark or a report may take to be applied.
	compareWait = 5 * time.Second
	// rangeWait is how long it may take to find where two members differ.
	rangeWait = time.Minute
)

// ErrDiverged ends a member that holds something else than most of the others do.
var ErrDiverged = errors.New("this member's data differs from that of the other members")

// Others are asked what they hold.
type Others interface {
	// HashKV returns a member's hash of the keys up to a revision, and the compact revision that it was computed for.
	HashKV(ctx context.Context, member uint64, rev mvcc.Rev) (mvcc.Hash, error)
}

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
	opts     ComparerOptions
	self     uint64
	took     time.Duration // for this member's part of the last comparison
	reported uint64        // the newest mark that it reported about
	judged   uint64        // the newest mark that was found to be undecided
}

// NewComparer builds a comparer.
func NewComparer(o ComparerOptions) *Comparer {
	return &Comparer{opts: o, self: uint64(o.Machine.Members().Local())}
}

// Run takes part in comparisons until the context ends. It returns ErrDiverged when most members hold something else than
// this one, which must not go on then; before that it has raised the alarm CORRUPT and said where they differ.
func (c *Comparer) Run(ctx context.Context) error {
	next := time.NewTimer(c.pause())
	defer next.Stop()
	for {
		marks, changed := c.opts.Machine.Marks()
		for _, m := range marks {
			if err := c.look(ctx, m); err != nil {
				return err
			}
		}
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

// look reports about a mark, once, and judges what was reported.
func (c *Comparer) look(ctx context.Context, m state.Mark) error {
	own, told := m.Reports[c.self]
	if !told && c.reported != m.ID {
		c.reported = m.ID
		c.report(ctx, m)
		return nil
	}
	if !told || c.judged == m.ID {
		return nil
	}
	switch v := judge(own, m.Reports, c.opts.Machine.ConfState().GetVoters()); {
	case v.differs:
		c.judged = m.ID
		c.raise(ctx, m, v)
		return fmt.Errorf("%w: members %s agree on something else; what differs was logged. The alarm CORRUPT is raised, as operators of etcd expect; "+
			"start this member with --auto-rejoin, or remove it and let a new one join, which also clears the alarm", ErrDiverged, hexIDs(v.agree))
	case v.undecided:
		c.judged = m.ID
		c.opts.Logger.Error("members differ and none of them is in the majority: raising the alarm CORRUPT, writes are refused from now on; "+
			"find out which member is right (the logs of all of them say what they hold) and replace the others", "mark", fmt.Sprintf("%x", m.ID), "revision", int64(m.Rev))
		c.raise(ctx, m, v)
	}
	return nil
}

// report computes what this member held at a mark and tells it.
func (c *Comparer) report(ctx context.Context, m state.Mark) {
	start := time.Now()
	h, _, err := c.opts.Machine.KV().HashKV(ctx, m.Rev)
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
	undecided bool     // all voters have told, and no majority agrees
	agree     []uint64 // those who agree, if differs
}

// judge compares a member's report with the others'. Only reports for the same compact revision can be compared.
func judge(own command.DigestReport, reports map[uint64]command.DigestReport, voters []uint64) (v verdict) {
	type content struct{ hash, rest uint64 }
	groups, told := map[content][]uint64{}, 0
	for _, id := range voters {
		if r, ok := reports[id]; ok && r.Compact == own.Compact {
			key := content{r.Hash, r.Rest}
			groups[key] = append(groups[key], id)
			told++
		}
	}
	for key, ids := range groups {
		if len(ids) > len(voters)/2 {
			if key == (content{own.Hash, own.Rest}) {
				return verdict{}
			}
			return verdict{differs: true, agree: ids}
		}
	}
	return verdict{undecided: told == len(voters) && len(groups) > 1}
}

// raise says where this member differs from one of those who agree, and raises the alarm for it.
func (c *Comparer) raise(ctx context.Context, m state.Mark, v verdict) {
	for _, id := range v.agree {
		where, err := c.findRange(ctx, id, m.Rev)
		if err == nil {
			c.opts.Logger.Error("this member's data differs from that of most members", "first-difference", where, "compared-with", hexIDs([]uint64{id}), "revision", int64(m.Rev))
			break
		}
		c.opts.Logger.Warn("find out where this member differs", "compared-with", hexIDs([]uint64{id}), "error", err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, compareWait)
	defer cancel()
	alarm := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: c.self, Alarm: pb.AlarmType_CORRUPT}
	if err := propose(ctx, c.opts.Proposer, alarm); err != nil {
		c.opts.Logger.Warn("raise the alarm CORRUPT", "error", err.Error())
	}
}

// findRange halves history until it has the first revision at which two members' keys differ, and names the keys that
// were changed there.
func (c *Comparer) findRange(ctx context.Context, other uint64, at mvcc.Rev) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, rangeWait)
	defer cancel()
	same := func(rev mvcc.Rev) (bool, error) {
		own, _, err := c.opts.Machine.KV().HashKV(ctx, rev)
		if err != nil {
			return false, err
		}
		theirs, err := c.opts.Others.HashKV(ctx, other, rev)
		if err != nil {
			return false, err
		}
		if own.Compact != theirs.Compact {
			return false, fmt.Errorf("the members have compacted to %d and %d", own.Compact, theirs.Compact)
		}
		return own.Hash == theirs.Hash, nil
	}
	if equal, err := same(at); err != nil {
		return "", err
	} else if equal {
		return "the keys are the same; members, voters, alarms, versions, users or leases differ", nil
	}
	low := max(c.opts.Machine.KV().Stats().CompactRev, 1) // the keys may differ there already
	if equal, err := same(low); err == nil && !equal {
		return fmt.Sprintf("at or before revision %d, which history begins with", low), nil
	}
	high := at
	for low+1 < high {
		middle := low + (high-low)/2
		equal, err := same(middle)
		if err != nil {
			return "", err
		}
		if equal {
			low = middle
		} else {
			high = middle
		}
	}
	return c.describe(high), nil
}

// maxNamed is how many keys of a revision are named, in keys.
const maxNamed = 5

// describe names the keys that a revision changed here.
func (c *Comparer) describe(rev mvcc.Rev) string {
	text := fmt.Sprintf("revision %d", rev)
	view := c.opts.Machine.KV().View()
	defer view.Close()
	named := 0
	view.Items([]byte{0}, []byte{0}, func(it *mvcc.Item) bool {
		if it.Mod == rev && named < maxNamed {
			text += fmt.Sprintf(", key %q", it.Key)
			named++
		}
		return named < maxNamed
	})
	if named == 0 {
		text += ", whose keys were changed again since"
	}
	return text
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
