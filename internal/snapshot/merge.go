package snapshot

import (
	"encoding/binary"
	"errors"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/storage"
)

// errScratch says that a scratch file does not hold what was written to it.
var errScratch = errors.New("a scratch file was changed by something else, or the disk returned wrong bytes")

// run is a run that is read back, through a window.
type run struct {
	at     mvcc.Pos // of its first record that was not taken
	from   int64    // where that record is in the file, behind its header
	to     int64    // where it ends
	end    int64    // of the run
	window []byte
	start  int64 // where in the file the window's bytes are
	filled int
}

// merger returns the records of a sorter in order.
type merger struct {
	file   *storage.Scratch
	runs   []run // a heap: the first one has the first record
	arena  []byte
	left   []entry // of the arena, if there is no file
	failed error   // of reading back; then there is nothing more to be had
}

// merge begins to read back. The memory of the sorter becomes that of the merger.
func (s *sorter) merge() *merger {
	m := &merger{file: s.file, arena: s.arena, left: s.entries}
	if s.file == nil {
		return m
	}
	arena := s.arena[:cap(s.arena)]
	share := len(arena) / max(len(s.ends), 1)
	start := int64(0)
	for i, end := range s.ends {
		r := run{to: start, end: end, window: arena[i*share : (i+1)*share]}
		if m.failed = m.advance(&r); m.failed != nil {
			return m
		}
		m.runs = append(m.runs, r)
		start = end
	}
	for i := len(m.runs)/2 - 1; i >= 0; i-- {
		m.sink(i)
	}
	return m
}

// take appends the record of a position that is above all that were asked for before; ok is false if there is none.
func (m *merger) take(dst []byte, at mvcc.Pos) (_ []byte, ok bool) {
	if m.file == nil {
		return m.takeHere(dst, at)
	}
	for m.failed == nil && len(m.runs) > 0 && !at.Less(m.runs[0].at) {
		r := &m.runs[0]
		found := r.at == at
		if found {
			if dst, m.failed = m.read(dst, r); m.failed != nil {
				return dst, false
			}
		}
		m.pop()
		if found {
			return dst, true
		}
	}
	return dst, false
}

func (m *merger) takeHere(dst []byte, at mvcc.Pos) (_ []byte, ok bool) {
	for len(m.left) > 0 && !at.Less(m.left[0].at) {
		e := m.left[0]
		m.left = m.left[1:]
		if e.at == at {
			return append(dst, m.arena[e.from+runHeader:e.to]...), true
		}
	}
	return dst, false
}

// read appends the first record of a run.
func (m *merger) read(dst []byte, r *run) ([]byte, error) {
	n := int(r.to - r.from)
	if n > len(r.window) {
		start := len(dst)
		dst = append(dst, make([]byte, n)...)
		return dst, m.file.ReadAt(dst[start:], r.from)
	}
	b, err := m.look(r, r.from, n)
	return append(dst, b...), err
}

// look returns n bytes of the file through the window of a run, which has room for them.
func (m *merger) look(r *run, at int64, n int) ([]byte, error) {
	if at < r.start || at+int64(n) > r.start+int64(r.filled) {
		r.start, r.filled = at, int(min(int64(len(r.window)), r.end-at))
		if r.filled < n {
			r.filled = 0
			return nil, errScratch
		}
		if err := m.file.ReadAt(r.window[:r.filled], at); err != nil {
			r.filled = 0
			return nil, err
		}
	}
	i := at - r.start
	return r.window[i : i+int64(n)], nil
}

// advance moves a run to its next record. There is one.
func (m *merger) advance(r *run) error {
	h, err := m.look(r, r.to, runHeader)
	if err != nil {
		return err
	}
	r.at = mvcc.Pos{Rev: mvcc.Rev(binary.LittleEndian.Uint64(h)), Sub: int32(binary.LittleEndian.Uint32(h[8:]))}
	r.from = r.to + runHeader
	r.to = r.from + int64(binary.LittleEndian.Uint32(h[12:]))
	if r.to > r.end {
		return errScratch
	}
	return nil
}

// pop moves on behind the first record.
func (m *merger) pop() {
	r := &m.runs[0]
	if r.to < r.end {
		m.failed = m.advance(r)
	} else {
		last := len(m.runs) - 1
		m.runs[0] = m.runs[last]
		m.runs = m.runs[:last]
	}
	m.sink(0)
}

// sink puts the run at i where it belongs in the heap.
func (m *merger) sink(i int) {
	for {
		least := i
		for k := 2*i + 1; k <= 2*i+2 && k < len(m.runs); k++ {
			if m.runs[k].at.Less(m.runs[least].at) {
				least = k
			}
		}
		if least == i {
			return
		}
		m.runs[i], m.runs[least] = m.runs[least], m.runs[i]
		i = least
	}
}
