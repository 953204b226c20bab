package raftlog

import (
	"errors"
	"fmt"
)

// recovery turns the files of a directory into a log.
type recovery struct {
	opts     Options
	logID    uint64
	older    []*segment // below a gap in the numbers, not open
	segments []*loaded  // numbers without a gap
	unused   *loaded    // the last segment, if it has no whole batch
	unusedAt remains    // what an unfinished first batch left there
	replay   replay
	end      tailEnd
}

// tailEnd is where the log's last whole batch ends.
type tailEnd struct {
	off     int64
	chain   uint32
	synced  int64   // what that batch knew to be durable
	remains remains // what unfinished batches left behind it
}

func (r *recovery) path(name string) string { return r.opts.FS.PathJoin(r.opts.Dir, name) }

func (r *recovery) damaged(s *loaded, off int64, why string) error {
	return &DamagedError{File: r.path(s.name), Offset: off, Why: why}
}

// close closes all files after an error.
func (r *recovery) close() error {
	var err error
	for _, s := range r.segments {
		err = errors.Join(err, s.file.Close())
	}
	if r.unused != nil {
		err = errors.Join(err, r.unused.file.Close())
	}
	return err
}

// run reads all records. It changes nothing on the disk.
func (r *recovery) run() error {
	if err := r.setUnusedAside(); err != nil {
		return err
	}
	if first := r.segments[0]; first.headless != "" {
		return r.damaged(first, headerBlock, first.headless)
	}
	if why := r.segments[0].begin.implausible(); why != "" {
		return r.damaged(r.segments[0], headerBlock, why)
	}
	r.replay.start(r.segments[0].begin)
	last := len(r.segments) - 1
	for i, s := range r.segments[:last] {
		if next := r.segments[i+1]; next.headless != "" {
			return r.damaged(next, headerBlock, next.headless)
		}
		if err := r.readSealed(s, r.segments[i+1].begin); err != nil {
			return err
		}
	}
	if err := r.readTail(r.segments[last]); err != nil {
		return err
	}
	if missing := r.replay.missing(); missing != "" {
		name := segmentName(r.segments[0].number - 1)
		return &DamagedError{File: r.path(name), Why: "this file is missing, and with it " + missing}
	}
	if r.replay.hard.commit > r.replay.last() {
		return r.damaged(r.segments[last], r.end.off, fmt.Sprintf("the log ends with entry %d, but entry %d was committed", r.replay.last(), r.replay.hard.commit))
	}
	return nil
}

// setUnusedAside takes the last segment out if its first batch is not there, which is
// so when it was only prepared or the crash came during its first write.
func (r *recovery) setUnusedAside() error {
	last := r.segments[len(r.segments)-1]
	whole, err := last.startsWhole()
	if err != nil || whole {
		return err
	}
	found, err := last.reader().search(headerBlock)
	if err != nil {
		return err
	}
	if found.synced > headerBlock {
		return r.damaged(last, headerBlock, "the first batch is not readable, but a record behind it was written after that batch was durable")
	}
	if len(r.segments) == 1 && last.number == 1 {
		return r.damaged(last, headerBlock, "the first batch, which was durable before the file got its name, is not readable")
	}
	if len(r.segments) == 1 {
		name := segmentName(last.number - 1)
		return &DamagedError{File: r.path(name), Why: "this file is missing; the segment after it is empty"}
	}
	r.unused, r.unusedAt = last, found
	r.segments = r.segments[:len(r.segments)-1]
	// A segment is prepared only when the one before holds a durable batch, so a
	// second empty one cannot come from a crash.
	before := r.segments[len(r.segments)-1]
	whole, err = before.startsWhole()
	if err == nil && !whole {
		err = r.damaged(before, headerBlock, "the first batch is not readable, but the segment behind it was prepared after that batch was durable")
	}
	return err
}

// startsWhole says whether the segment's first batch is complete.
func (s *loaded) startsWhole() (bool, error) {
	if s.headless != "" {
		return false, nil
	}
	_, why, err := s.reader().batch(s.number)
	return why == "" && err == nil, err
}

// batch is one append's records and what they knew to be durable.
type batch struct {
	changes []change
	synced  int64
}

// batch reads records up to the end of a batch; what it returns is valid until the
// next call. If it says why it could not, the reader stands at the record that is not
// valid.
func (r *recordReader) batch(segment uint64) (b batch, why string, err error) {
	b.changes = r.changes[:0]
	for {
		rec, why, err := r.next()
		if why != "" || err != nil {
			return b, why, err
		}
		b.changes = append(b.changes, rec.change(segment))
		r.changes = b.changes
		b.synced = int64(rec.synced)
		if rec.batchEnd() {
			return b, "", nil
		}
	}
}

// readSealed reads a segment that has a successor. The successor's first batch was
// written when this segment was durable to its end, so everything must be there.
func (r *recovery) readSealed(s *loaded, next beginning) error {
	rd := s.reader()
	end := int64(next.prevEnd)
	for rd.off < end {
		start := rd.off
		b, why, err := rd.batch(s.number)
		if err != nil {
			return err
		}
		if why == "" {
			why = r.replay.apply(b, start)
		}
		if why != "" {
			return r.damaged(s, rd.off, fmt.Sprintf("%s; the next segment proves that this one was complete up to offset %d", why, end))
		}
	}
	if rd.off != end || rd.chain != next.prevCRC {
		return r.damaged(s, rd.off, fmt.Sprintf("the next segment says that this one ended otherwise, at offset %d", end))
	}
	if next.last != r.replay.last() {
		return r.damaged(s, rd.off, fmt.Sprintf("the next segment says that this one ended with entry %d, but it ends with entry %d", next.last, r.replay.last()))
	}
	s.used = end
	return nil
}

// readTail reads the segment that was being written. Where a batch is not whole, the
// marks of what stands behind it tell a crash from damage: a record that was written
// when this place was durable already proves damage.
func (r *recovery) readTail(s *loaded) error {
	rd := s.reader()
	for {
		r.end.off, r.end.chain = rd.off, rd.chain
		b, why, err := rd.batch(s.number)
		if err != nil {
			return err
		}
		if why == "" {
			if why := r.replay.apply(b, r.end.off); why != "" {
				return r.damaged(s, r.end.off, why)
			}
			r.end.synced = b.synced
			continue
		}
		s.used = r.end.off
		if r.end.remains, err = rd.search(r.end.off); err != nil {
			return err
		}
		if r.end.remains.synced > r.end.off {
			return r.damaged(s, rd.off, why+", but a record further on was written after this place was durable")
		}
		return nil
	}
}

// replay is the log's content as far as it was read.
type replay struct {
	prefix mark
	hard   hardState
	first  uint64 // index of pos[0]; entries between the prefix and it stood in older segments
	pos    []position
}

func (s *replay) last() uint64 { return s.first + uint64(len(s.pos)) - 1 }

// start takes over what the oldest segment says about those before it.
func (s *replay) start(b beginning) {
	s.prefix, s.hard, s.first = b.prefix, b.hard, b.last+1
}

// implausible says why no log can begin a segment like this.
func (b beginning) implausible() string {
	if i := max(b.last, b.prefix.index); i > maxIndex {
		return fmt.Sprintf("no log gets to index %d", i)
	}
	return ""
}

// missing says which entries are neither forgotten nor there.
func (s *replay) missing() string {
	if s.first > s.prefix.index+1 {
		return fmt.Sprintf("entries %d to %d", s.prefix.index+1, s.first-1)
	}
	return ""
}

// apply takes over a batch that starts at an offset, or says why no log like this is
// ever written.
func (s *replay) apply(b batch, off int64) (why string) {
	for i, c := range b.changes {
		if (c.kind == KindBegin) != (off == headerBlock && i == 0) {
			return "a begin record stands elsewhere than at the start of a segment"
		}
		if c.at.index > maxIndex {
			return fmt.Sprintf("no log gets to index %d", c.at.index)
		}
		switch c.kind {
		case KindBegin:
			if why := c.begin.implausible(); why != "" {
				return why
			}
			if c.begin.last != s.last() {
				return fmt.Sprintf("the segment follows entry %d, but the last one is %d", c.begin.last, s.last())
			}
			s.hard = c.begin.hard
			s.forget(c.begin.prefix)
		case KindState:
			s.hard = c.hard
		case KindPrefix:
			s.forget(c.at)
		case KindEntry:
			if c.at.index <= s.prefix.index || c.at.index > s.last()+1 {
				return fmt.Sprintf("entry %d cannot follow entry %d with all up to %d forgotten", c.at.index, s.last(), s.prefix.index)
			}
			s.put(c.at.index, c.pos)
		}
	}
	return ""
}

// put adds an entry or replaces a suffix with it.
func (s *replay) put(i uint64, p position) {
	if i < s.first {
		s.first, s.pos = i, s.pos[:0]
	}
	s.pos = append(s.pos[:i-s.first], p)
}

// forget moves the prefix. A prefix that the log does not contain replaces it all.
func (s *replay) forget(m mark) {
	switch {
	case m.index > s.last(), m.index >= s.first && s.pos[m.index-s.first].term != m.term:
		s.first, s.pos = m.index+1, s.pos[:0]
	case m.index >= s.first:
		s.pos = s.pos[m.index+1-s.first:]
		s.first = m.index + 1
	}
	s.prefix = m
}
