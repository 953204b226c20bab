package raftlog

import (
	"fmt"
)

// secure makes durable what recovery read and sees to it that what it cut can never
// be read again. Interrupted anywhere, it can be done again with the same result.
func (r *recovery) secure() error {
	tail := r.segments[len(r.segments)-1]
	// What the last batch did not know to be durable may be in memory only: the
	// process may have died without the machine, or a sync may have failed and left
	// pages that look clean. Writing the bytes again makes the sync that follows mean
	// something.
	if err := rewrite(tail.segment, r.end.synced, r.end.off); err != nil {
		return fmt.Errorf("secure the last batch: %w", err)
	}
	if r.end.remains.count > 0 {
		r.opts.Logger.Warn("cut an unfinished write from the end of the raft log; nothing of it had been acknowledged",
			"file", r.path(tail.name), "offset", r.end.off, "records", r.end.remains.count)
		if err := wipe(tail.segment, r.end.off, r.end.remains.end); err != nil {
			return fmt.Errorf("cut an unfinished write: %w", err)
		}
	}
	if err := tail.file.SyncData(); err != nil {
		return fmt.Errorf("sync segment %s: %w", tail.name, err)
	}
	if r.unused != nil && r.unusedAt.count > 0 {
		if err := wipe(r.unused.segment, headerBlock, r.unusedAt.end); err != nil {
			return fmt.Errorf("cut an unfinished write: %w", err)
		}
		if err := r.unused.file.SyncData(); err != nil {
			return fmt.Errorf("sync segment %s: %w", r.unused.name, err)
		}
	}
	return syncDir(r.opts.FS, r.opts.Dir)
}

// rewrite writes the bytes between two offsets once more.
func rewrite(s *segment, from, to int64) error {
	buf := make([]byte, min(readChunk, max(0, to-from)))
	for from < to {
		b := buf[:min(int64(len(buf)), to-from)]
		if _, err := s.file.ReadAt(b, from); err != nil {
			return err
		}
		if _, err := s.file.WriteAt(b, from); err != nil {
			return err
		}
		from += int64(len(b))
	}
	return nil
}

// wipe writes zeros between two offsets.
func wipe(s *segment, from, to int64) error {
	zeros := make([]byte, min(readChunk, max(0, to-from)))
	for from < to {
		b := zeros[:min(int64(len(zeros)), to-from)]
		if _, err := s.file.WriteAt(b, from); err != nil {
			return err
		}
		from += int64(len(b))
	}
	return nil
}

// log builds the log from what was recovered.
func (r *recovery) log(d *directory) *Log {
	active := r.segments[len(r.segments)-1].segment
	l := &Log{
		opts:    r.opts,
		id:      r.logID,
		files:   make(chan *directory, 1),
		wake:    make(chan struct{}, 1),
		tail:    tail{seg: active, off: r.end.off, chain: r.end.chain, synced: r.end.off},
		hard:    r.replay.hard,
		retired: r.older,
		durable: r.end.off,
		index:   index{prefix: r.replay.prefix, pos: r.replay.pos, limit: r.opts.CacheBytes},
	}
	for _, s := range r.segments {
		l.segments = append(l.segments, s.segment)
	}
	if r.unused != nil {
		l.next = r.unused.segment
		l.next.used = headerBlock
	}
	l.retire()
	l.files <- d
	return l
}
