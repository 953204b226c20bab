package raftlog

import (
	"errors"
	"fmt"
)

// ErrOldCopy is returned (wrapped) by a Reset to a place that the log has left behind.
var ErrOldCopy = errors.New("it lies before what this log has forgotten, so nothing would be left between the two; a newer copy of the state is needed")

// ErrOtherHistory is returned (wrapped) by a Reset to an entry that contradicts one that this log knows to be committed.
var ErrOtherHistory = errors.New("this log knows another entry to be committed there: the copy is of another cluster, or of one that was restored from a backup")

// reset is what one Reset will write, fixed before the first byte.
type reset struct {
	plan
	to mark
	// replaces is set when the log holds another entry at to.index, and keeps when it
	// holds that very entry: with neither, to is behind the log's end.
	replaces, keeps bool
	next            hardState
}

// Reset makes the log begin behind an entry that is committed and whose effects are in the
// state that is used from now on, durable when it returns. The log keeps its ID. A crash
// meanwhile leaves the old log or the new one.
//
// Entries up to index are dropped, and so are those behind it, unless the log holds the very
// entry of index and term: what follows that may have been counted when it was committed, so
// only a leader may replace it. The term never goes back, and the vote is kept as long as the
// term is. Raft must not run on the log, and no other call be under way.
func (l *Log) Reset(index, term uint64) error {
	r, err := l.planReset(mark{index, term})
	if err != nil {
		return fmt.Errorf("reset raft log to index %d of term %d: %w", index, term, err)
	}
	var t Timing
	if err := l.writeReset(&r, &t); err != nil {
		return l.fail(err)
	}
	if err := l.sync(&t); err != nil {
		return l.fail(err)
	}
	l.publishReset(&r)
	return nil
}

// planReset checks where the log is to begin, and decides what must be written for it.
func (l *Log) planReset(to mark) (reset, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := &l.index
	r := reset{plan: plan{prefix: x.prefix, hard: l.hard, last: x.last()}, to: to, next: l.hard}
	switch {
	case l.failed != nil:
		return r, l.failed
	case l.closed:
		return r, ErrClosed
	case to.term == 0 || to.index > maxIndex:
		return r, errors.New("no leader ever wrote such an entry")
	case to.index < x.prefix.index:
		return r, ErrOldCopy
	case to.index == x.prefix.index:
		r.keeps = to == x.prefix
	case to.index <= x.last():
		r.keeps = x.at(to.index).term == to.term
	}
	r.replaces = to.index <= x.last() && !r.keeps
	if r.replaces && to.index <= max(l.hard.commit, x.prefix.index) {
		return r, ErrOtherHistory
	}
	if to.term > r.next.term {
		r.next.term, r.next.vote = to.term, 0
	}
	r.next.commit = to.index
	if r.keeps {
		r.next.commit = max(to.index, l.hard.commit)
	}
	r.size = recordSize(prefixBytes) + recordSize(stateBytes)
	if r.replaces {
		r.size += recordSize(entryFixed)
	}
	return r, nil
}

// writeReset writes the one batch that makes the difference. A prefix alone says it all where
// it names the last entry, one behind it, or one that stays. To drop what stands behind an
// entry of another term, the entry at that index is replaced first: what that leaves does
// not depend on what a reader knows of the entries before, whose segments may be gone.
func (l *Log) writeReset(r *reset, t *Timing) error {
	w := &l.tail
	if w.off > headerBlock && w.off+r.size > l.opts.SegmentSize {
		if err := l.advance(&r.plan, t); err != nil {
			return err
		}
	}
	records := 2
	if r.begin != nil {
		records++
	}
	if r.replaces {
		records++
	}
	w.enc.reset(w.seg.base, w.off, w.chain, w.synced, records)
	if r.begin != nil {
		w.enc.putBegin(*r.begin)
	}
	if r.replaces {
		w.enc.putEntry(r.to.index, r.to.term, 0, nil)
	}
	w.enc.putPrefix(r.to)
	w.enc.putState(r.next)
	return l.writeBuffer(t)
}

// publishReset makes the log in memory the one on the disk.
func (l *Log) publishReset(r *reset) {
	l.mu.Lock()
	if r.keeps {
		if r.to.index > l.index.prefix.index {
			l.index.compact(r.to.index)
		}
	} else {
		l.index = index{prefix: r.to, limit: l.index.limit}
	}
	l.hard, l.snapshot, l.pending = r.next, nil, false
	l.segments[len(l.segments)-1].used = l.tail.off
	l.durable = l.tail.synced
	l.retire()
	wake := len(l.retired) > 0 || l.wantsNext()
	l.mu.Unlock()
	if wake {
		l.poke()
	}
}
