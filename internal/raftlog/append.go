package raftlog

import (
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/invariant"
)

// Batch is what one Append makes durable together.
type Batch struct {
	// HardState is the new hard state; nil or empty means unchanged.
	HardState *raftpb.HardState
	// Entries follow the last entry, or replace a suffix that is not compacted. They
	// are kept as they are and must not be changed any more.
	Entries []*raftpb.Entry
	// Sync asks that this batch and all before it are durable when Append returns. A
	// commit index alone needs no sync: it is found again.
	Sync bool
}

// Timing says where an Append spent its time, for the caller's metrics.
type Timing struct {
	Write time.Duration // writing to the file
	Sync  time.Duration // waiting for the disk, including a change of segment
	Bytes int           // written
}

// tail is the writing end of the log. It belongs to the appender.
type tail struct {
	seg    *segment
	off    int64  // where the next record goes
	chain  uint32 // header CRC of the last record
	synced int64  // everything before this offset is durable
	enc    encoder
	pos    []position // of the batch being written, reused
	zeros  []byte     // to extend a file with
}

func (t *tail) dirty() bool { return t.synced < t.off }

// plan is what one Append will write, fixed before the first byte.
type plan struct {
	begin   *beginning // set when the batch opens a segment
	prefix  mark
	prefixN int // 1 if the prefix is written
	hard    hardState
	hardN   int // 1 if the hard state is written
	last    uint64
	size    int64
}

func (p *plan) records(entries int) int {
	n := p.prefixN + p.hardN + entries
	if p.begin != nil {
		n++
	}
	return n
}

// Append writes a batch behind all before it and, if asked, waits until it is
// durable. After an error of the disk the log takes no more batches.
func (l *Log) Append(b Batch) (Timing, error) {
	var t Timing
	p, err := l.plan(b)
	if err != nil {
		return t, err
	}
	if p.records(len(b.Entries)) > 0 {
		if err := l.write(&p, b.Entries, &t); err != nil {
			return t, l.fail(err)
		}
	}
	if b.Sync && l.tail.dirty() {
		if err := l.sync(&t); err != nil {
			return t, l.fail(err)
		}
	}
	l.publish(&p, b.Entries)
	return t, nil
}

// plan checks the batch and decides what must be written for it.
func (l *Log) plan(b Batch) (plan, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := plan{prefix: l.index.prefix, hard: l.hard, last: l.index.last()}
	switch {
	case l.failed != nil:
		return p, l.failed
	case l.closed:
		return p, ErrClosed
	}
	if l.pending {
		p.prefixN, p.size = 1, recordSize(prefixBytes)
	}
	newLast := p.last
	if n := len(b.Entries); n > 0 {
		first := b.Entries[0].GetIndex()
		invariant.Check(first > p.prefix.index && first <= p.last+1, "appended entries touch the log and are not compacted")
		newLast = b.Entries[n-1].GetIndex()
		for i, e := range b.Entries {
			invariant.Check(e.GetIndex() == first+uint64(i), "appended entries have consecutive indexes")
			p.size += recordSize(entryFixed + len(e.GetData()))
		}
	}
	if !raft.IsEmptyHardState(b.HardState) {
		p.hard = hardState{b.HardState.GetTerm(), b.HardState.GetVote(), b.HardState.GetCommit()}
		invariant.Check(p.hard.commit <= newLast, "the commit index is not above the last entry")
		if p.hard != l.hard {
			p.hardN = 1
			p.size += recordSize(stateBytes)
		}
	}
	if p.size > MaxBatchBytes {
		return p, fmt.Errorf("append %d entries of %d bytes to raft log: %w", len(b.Entries), p.size, ErrBatchTooLarge)
	}
	return p, nil
}

// write encodes the batch and writes it in one piece.
func (l *Log) write(p *plan, entries []*raftpb.Entry, t *Timing) error {
	w := &l.tail
	if w.off > headerBlock && w.off+p.size > l.opts.SegmentSize {
		if err := l.advance(p, t); err != nil {
			return err
		}
	}
	w.enc.reset(w.seg.base, w.off, w.chain, w.synced, p.records(len(entries)))
	if p.begin != nil {
		w.enc.putBegin(*p.begin)
	}
	if p.prefixN > 0 {
		w.enc.putPrefix(p.prefix)
	}
	if p.hardN > 0 {
		w.enc.putState(p.hard)
	}
	w.pos = w.pos[:0]
	for _, e := range entries {
		off := w.enc.putEntry(e.GetIndex(), e.GetTerm(), uint8(e.GetType()), e.GetData())
		w.pos = append(w.pos, position{
			term:    e.GetTerm(),
			segment: w.seg.number,
			offset:  uint32(off),
			size:    uint32(recordHeader + entryFixed + len(e.GetData())),
		})
	}
	return l.writeBuffer(t)
}

// writeBuffer puts the encoded batch behind the last one.
func (l *Log) writeBuffer(t *Timing) error {
	w := &l.tail
	started := time.Now()
	if _, err := w.seg.file.WriteAt(w.enc.buf, w.off); err != nil {
		return fmt.Errorf("write %d bytes to segment %s at offset %d: %w", len(w.enc.buf), w.seg.name, w.off, err)
	}
	w.off += int64(len(w.enc.buf))
	w.chain = w.enc.chain
	if err := w.extend(l.opts); err != nil {
		return fmt.Errorf("extend segment %s: %w", w.seg.name, err)
	}
	t.Bytes += len(w.enc.buf)
	t.Write += time.Since(started)
	return nil
}

// extend writes zeros behind a batch that reached the end of its file, so that the
// file grows once a step and not with every sync.
func (t *tail) extend(o Options) error {
	if t.off <= t.seg.size {
		return nil
	}
	step := o.step()
	size := max(t.off, min(o.SegmentSize, (t.off+step-1)/step*step))
	if t.zeros == nil {
		t.zeros = make([]byte, step)
	}
	if size > t.off {
		if _, err := t.seg.file.WriteAt(t.zeros[:size-t.off], t.off); err != nil {
			return err
		}
	}
	t.seg.size = size
	return nil
}

// sync makes everything written so far durable.
func (l *Log) sync(t *Timing) error {
	w := &l.tail
	started := time.Now()
	if err := w.seg.file.SyncData(); err != nil {
		return fmt.Errorf("sync segment %s: %w", w.seg.name, err)
	}
	w.synced = w.off
	t.Sync += time.Since(started)
	return nil
}

// advance makes the next segment the active one. The old one is durable first, so
// that a segment with records proves that the one before it is complete.
func (l *Log) advance(p *plan, t *Timing) error {
	w := &l.tail
	if w.dirty() {
		if err := l.sync(t); err != nil {
			return err
		}
	}
	started := time.Now()
	next, err := l.startNext(w.off)
	if err != nil {
		return fmt.Errorf("start segment %d: %w", w.seg.number+1, err)
	}
	t.Sync += time.Since(started)
	p.begin = &beginning{prevEnd: uint32(w.off), prevCRC: w.chain, last: p.last, prefix: p.prefix, hard: p.hard}
	p.prefixN, p.hardN = 0, 0 // the begin record says both
	w.seg, w.off, w.chain, w.synced = next, headerBlock, next.base, headerBlock
	return nil
}

// publish lets readers see what was written, and gives segments free that a durable
// prefix made superfluous.
func (l *Log) publish(p *plan, entries []*raftpb.Entry) {
	w := &l.tail
	l.mu.Lock()
	if len(entries) > 0 {
		l.index.put(entries, w.pos)
	}
	l.hard = p.hard
	if p.prefixN > 0 || p.begin != nil {
		// Compact may have gone on meanwhile; then its prefix is still to be written.
		l.pending = l.index.prefix != p.prefix
	}
	l.segments[len(l.segments)-1].used = w.off
	l.durable = w.synced
	if !w.dirty() && !l.pending {
		l.retire()
	}
	wake := len(l.retired) > 0 || l.wantsNext()
	l.mu.Unlock()
	if wake {
		l.poke()
	}
}

// writeMark writes what is pending and a record that says that all before it is
// durable, durably.
func (l *Log) writeMark() error {
	p, err := l.plan(Batch{})
	if err != nil {
		return err
	}
	var t Timing
	w := &l.tail
	if w.dirty() {
		if err := l.sync(&t); err != nil {
			return l.fail(err)
		}
	}
	w.enc.reset(w.seg.base, w.off, w.chain, w.synced, p.prefixN+1)
	if p.prefixN > 0 {
		w.enc.putPrefix(p.prefix)
	}
	w.enc.putMark()
	if err := l.writeBuffer(&t); err != nil {
		return l.fail(err)
	}
	if err := l.sync(&t); err != nil {
		return l.fail(err)
	}
	l.publish(&p, nil)
	return nil
}
