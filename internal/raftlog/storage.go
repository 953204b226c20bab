package raftlog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

var _ raft.Storage = (*Log)(nil)

// FirstIndex implements raft.Storage.
func (l *Log) FirstIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.index.prefix.index + 1, nil
}

// LastIndex implements raft.Storage.
func (l *Log) LastIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.index.last(), nil
}

// Term implements raft.Storage.
func (l *Log) Term(i uint64) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case i < l.index.prefix.index:
		return 0, raft.ErrCompacted
	case i == l.index.prefix.index:
		return l.index.prefix.term, nil
	case i > l.index.last():
		return 0, raft.ErrUnavailable
	}
	return l.index.at(i).term, nil
}

// SetSnapshot says which snapshot the caller could make now, for Snapshot and for
// InitialState's ConfState. The log keeps it in memory only: configuration and
// applied index belong to the state machine, which tells them again after a restart.
// It must do so before raft starts: what was applied had been committed, though the
// record that said so may not have been synced, and raft refuses an applied index
// above the commit index.
func (l *Log) SetSnapshot(index, term uint64, cs *raftpb.ConfState) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index < l.snapshot.GetIndex() {
		return raft.ErrSnapOutOfDate
	}
	l.snapshot = &raftpb.SnapshotMetadata{Index: new(index), Term: new(term), ConfState: proto.CloneOf(cs)}
	return nil
}

// Snapshot implements raft.Storage. It returns metadata without data: what stands in
// a snapshot is for the sender to stream.
func (l *Log) Snapshot() (*raftpb.Snapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.snapshot == nil || l.snapshot.GetIndex() < l.index.prefix.index {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return &raftpb.Snapshot{Metadata: proto.CloneOf(l.snapshot)}, nil
}

// Entries implements raft.Storage. Recent entries are returned as they were appended;
// older ones are read from their files, with their checksums.
func (l *Log) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	stored, cached, err := l.locate(lo, hi, maxSize)
	if err != nil || len(stored.pos) == 0 {
		return cached, err
	}
	defer l.release(stored.segments)
	entries, err := stored.read(lo, make([]*raftpb.Entry, 0, len(stored.pos)+len(cached)))
	if err != nil {
		var damage *DamagedError
		if errors.As(err, &damage) {
			damage.File = l.opts.FS.PathJoin(l.opts.Dir, damage.File)
		}
		return nil, fmt.Errorf("read raft log entries %d to %d: %w", lo, hi-1, err)
	}
	return append(entries, cached...), nil
}

// stored says where to read entries that are not in memory. Its segments are held.
type stored struct {
	pos      []position
	segments []*segment
}

// locate finds the entries of [lo, hi) that maxSize leaves, the first at least.
func (l *Log) locate(lo, hi, maxSize uint64) (s stored, cached []*raftpb.Entry, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := &l.index
	if lo <= x.prefix.index {
		return s, nil, raft.ErrCompacted
	}
	if hi > x.last()+1 || lo > hi {
		return s, nil, raft.ErrUnavailable
	}
	if lo == hi {
		return s, nil, nil
	}
	end, size := lo, uint64(0)
	for ; end < hi; end++ {
		size += encodedSize(end, x.at(end))
		if size > maxSize && end > lo {
			break
		}
	}
	first := x.firstCached()
	if end > first {
		from := max(lo, first)
		cached = append(cached, x.cached[from-first:end-first]...)
	}
	if lo < first {
		s.pos = append(s.pos, x.pos[lo-x.prefix.index-1:min(end, first)-x.prefix.index-1]...)
		s.segments = l.hold(s.pos)
	}
	return s, cached, nil
}

// encodedSize is the entry's size in raft's own encoding, which is what maxSize
// counts: tags, a type of one byte, and numbers of variable length.
func encodedSize(i uint64, p position) uint64 {
	n := 2 + 1 + varintLen(p.term) + 1 + varintLen(i)
	if data := uint64(p.dataLen()); data > 0 {
		n += 1 + varintLen(data) + data
	}
	return n
}

func varintLen(v uint64) uint64 { return uint64(bits.Len64(v|1)+6) / 7 }

// hold keeps the segments of these positions from being recycled. Log.mu is held.
func (l *Log) hold(pos []position) []*segment {
	var held []*segment
	for _, s := range l.segments {
		if s.number >= pos[0].segment && s.number <= pos[len(pos)-1].segment {
			s.reads++
			held = append(held, s)
		}
	}
	return held
}

func (l *Log) release(held []*segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range held {
		s.reads--
	}
}

// read appends the entries, the first of which has index lo.
func (s stored) read(lo uint64, to []*raftpb.Entry) ([]*raftpb.Entry, error) {
	segments := s.segments
	for pos := s.pos; len(pos) > 0; {
		for segments[0].number != pos[0].segment {
			segments = segments[1:]
		}
		n, end := span(pos)
		start := int64(pos[0].offset)
		buf := make([]byte, end-start)
		if _, err := segments[0].file.ReadAt(buf, start); err != nil {
			return nil, fmt.Errorf("read segment %s at offset %d: %w", segments[0].name, start, err)
		}
		arena := make([]entryMemory, n)
		for i := range arena {
			off := int64(pos[i].offset)
			if !arena[i].decode(buf[off-start:], segments[0].base, off, lo, pos[i]) {
				return nil, &DamagedError{File: segments[0].name, Offset: off, Why: "an entry that was written here does not match its checksum any more"}
			}
			to = append(to, &arena[i].entry)
			lo++
		}
		pos = pos[n:]
	}
	return to, nil
}

// span returns how many of the positions one read covers: those in one segment, up to
// about readChunk bytes, and where the read ends.
func span(pos []position) (n int, end int64) {
	for n < len(pos) && pos[n].segment == pos[0].segment {
		next := int64(pos[n].offset) + padded(int64(pos[n].size))
		if n > 0 && next-int64(pos[0].offset) > readChunk {
			break
		}
		n, end = n+1, next
	}
	return n, end
}

// entryMemory is an entry with the numbers that its pointers point to, so that a
// whole read costs two allocations.
type entryMemory struct {
	entry       raftpb.Entry
	index, term uint64
	kind        raftpb.EntryType
}

// decode fills m from the record at the start of b, if that is the entry expected.
func (m *entryMemory) decode(b []byte, base uint32, off int64, index uint64, p position) bool {
	h, ok := parseHead(b, base, off)
	if !ok || h.kind != KindEntry || recordHeader+h.length != p.size {
		return false
	}
	payload := b[recordHeader:][:padded(int64(h.length))]
	if crc32.Checksum(payload, castagnoli) != h.payloadCRC {
		return false
	}
	m.index, m.term, m.kind = le.Uint64(payload), le.Uint64(payload[8:]), raftpb.EntryType(h.entryType)
	if m.index != index || m.term != p.term {
		return false
	}
	m.entry.Index, m.entry.Term, m.entry.Type = &m.index, &m.term, &m.kind
	if data := payload[entryFixed:h.length:h.length]; len(data) > 0 {
		m.entry.Data = data
	}
	return true
}
