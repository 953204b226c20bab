package chores

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/state"
)

const (
	// rangeWait is how long it may take to find where two members differ. One that must end serves for so long.
	rangeWait = 15 * time.Second
	// maxNamed is how many keys of a revision are named, in keys.
	maxNamed = 5
)

// Others are asked what they hold.
type Others interface {
	// HashKV returns a member's hash of the keys up to a revision, and the compact revision that it was computed for. The
	// error wraps mvcc.ErrFutureRev where the member has not come so far.
	HashKV(ctx context.Context, member uint64, rev mvcc.Rev) (mvcc.Hash, error)
}

// tell logs where this member differs from one of those who told something else.
func (c *Comparer) tell(ctx context.Context, m state.Mark, v verdict) {
	ctx, cancel := context.WithTimeout(ctx, rangeWait)
	defer cancel()
	for _, id := range v.others {
		where, err := c.findRange(ctx, id, m.Rev)
		if err == nil {
			c.opts.Logger.Error("this member's data differs from that of another one", "first-difference", where, "compared-with", hexIDs([]uint64{id}), "revision", int64(m.Rev))
			return
		}
		c.opts.Logger.Warn("find out where this member differs", "compared-with", hexIDs([]uint64{id}), "error", err.Error())
	}
}

// findRange halves history until it has the first revision at which two members' keys differ, and names the keys that
// were changed there.
func (c *Comparer) findRange(ctx context.Context, other uint64, at mvcc.Rev) (string, error) {
	same := func(rev mvcc.Rev) (bool, error) {
		own, _, err := c.opts.Machine.KV().HashKV(ctx, rev)
		if err != nil {
			return false, err
		}
		theirs, err := c.opts.Others.HashKV(ctx, other, rev)
		if errors.Is(err, mvcc.ErrFutureRev) {
			return false, nil // it has told what it held at the mark: it has fewer revisions there
		}
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
		return fmt.Sprintf("the keys are the same up to revision %d: either the other one has more revisions there, or members, voters, alarms, "+
			"versions, users or leases differ", at), nil
	}
	low := max(c.opts.Machine.KV().Stats().CompactRev, 1) // the keys may differ there already
	if equal, err := same(low); err == nil && !equal {
		return fmt.Sprintf("at or before revision %d, which history begins with", low), nil
	}
	high := at
	for low+1 < high {
		middle := low + (high-low)/2
		equal, err := same(middle)
		if ctx.Err() != nil {
			return fmt.Sprintf("between revisions %d and %d", low+1, high), nil // so far
		}
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
