package snapshot

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/storage"
)

const (
	// runBytes is the memory for records that are sorted at once, in bytes; later the runs are read back into it.
	// Less makes more runs, and shorter reads from each.
	runBytes = 8 << 20
	// runRows bounds a run of small records, in rows. What is noted of them takes 24 bytes each.
	runRows = 64 << 10
	// directBytes is the size of a record from which on it is read from where it lies, in bytes: its transfer costs
	// more than looking for it.
	directBytes = 32 << 10
	// runHeader is what stands in front of a record in a run, in bytes: its revision (8), its place in it (4) and
	// its length (4), little-endian.
	runHeader = 8 + 4 + 4
	// spillBytes is how much of a run is written in a go, in bytes.
	spillBytes = 256 << 10
	// spillPause is the least time from one such write to the next: 256 MiB a second. A disk that is given all at once
	// makes the log wait for its syncs.
	spillPause = time.Second / 1024
	// garbageShare is how many times the size of what is wanted a scan may bring: tables keep what was removed until
	// they are compacted. Where there is more, looking up what is wanted is not slower.
	garbageShare = 3
	// askEvery is the number of records after which a scan looks whether anybody still wants it.
	askEvery = 1 << 12
)

// limits bound the memory for sorting.
type limits struct{ bytes, rows int64 }

// measure tells what is to be sorted.
type measure struct {
	rows, bytes   int64 // of all records
	small, packed int64 // of those that are sorted: how many, and their bytes in runs
}

func (m *measure) add(r mvcc.Row) {
	if r.Delete {
		return
	}
	m.rows++
	m.bytes += int64(r.Value.Len)
	if sorted(r.Value.Len) {
		m.small++
		m.packed += int64(r.Value.Len) + runHeader
	}
}

// pays reports whether sorting is worth a scan over everything: not where most of it is records that are read from
// where they lie.
func (m *measure) pays() bool { return m.packed > m.bytes/2 }

// sorted reports whether records of a length are sorted. Both sides have to agree.
func sorted(n uint64) bool { return n < directBytes }

// entry is a record in a run that is in memory.
type entry struct {
	at       mvcc.Pos
	from, to uint32
}

// sorter brings the records of a moment from the order of keys into that of history.
type sorter struct {
	arena   []byte  // records, each with its header
	entries []entry // into the arena
	file    *storage.Scratch
	ends    []int64 // of the runs in the file
	out     []byte  // what is written next
	scratch func(need int64) (*storage.Scratch, error)
	room    int64 // in the file
}

// gather scans the records of a moment into runs. The sorter must be closed, whatever comes out.
func (s *sorter) gather(ctx context.Context, m *mvcc.Moment, want measure, most limits, scratch func(need int64) (*storage.Scratch, error)) error {
	s.room, s.scratch = garbageShare*want.packed, scratch
	s.arena = make([]byte, 0, min(s.room, most.bytes))
	s.entries = make([]entry, 0, min(garbageShare*want.small, most.rows))
	seen := 0
	err := m.Records(func(at mvcc.Pos, record []byte) error {
		if seen++; seen%askEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !sorted(uint64(len(record))) {
			return nil
		}
		if len(s.arena)+runHeader+len(record) > cap(s.arena) || len(s.entries) == cap(s.entries) {
			if err := s.spill(ctx); err != nil {
				return err
			}
		}
		s.add(at, record)
		return nil
	})
	if err != nil {
		return err
	}
	if s.file != nil {
		return s.spill(ctx)
	}
	s.sort()
	return nil
}

func (s *sorter) add(at mvcc.Pos, record []byte) {
	from := len(s.arena)
	s.arena = binary.LittleEndian.AppendUint64(s.arena, uint64(at.Rev))
	s.arena = binary.LittleEndian.AppendUint32(s.arena, uint32(at.Sub))
	s.arena = binary.LittleEndian.AppendUint32(s.arena, uint32(len(record)))
	s.arena = append(s.arena, record...)
	s.entries = append(s.entries, entry{at, uint32(from), uint32(len(s.arena))})
}

func (s *sorter) sort() {
	slices.SortFunc(s.entries, func(a, b entry) int {
		if a.at.Rev != b.at.Rev {
			return cmp.Compare(a.at.Rev, b.at.Rev)
		}
		return cmp.Compare(a.at.Sub, b.at.Sub)
	})
}

// errCrowded says that there was much more than the rows have announced.
var errCrowded = errors.New("most records that the storage holds were removed and are not yet compacted")

// spill sorts what is in memory and writes it as a run.
func (s *sorter) spill(ctx context.Context) (err error) {
	if len(s.entries) == 0 {
		return nil
	}
	if s.file == nil {
		if s.file, err = s.scratch(s.room); err != nil {
			return err
		}
		s.out = make([]byte, 0, spillBytes)
	}
	if s.file.Size()+int64(len(s.arena)) > s.room {
		return fmt.Errorf("sort records: %w", errCrowded)
	}
	s.sort()
	for _, e := range s.entries {
		b := s.arena[e.from:e.to]
		if len(s.out)+len(b) > cap(s.out) {
			if err := s.flush(ctx); err != nil {
				return err
			}
		}
		s.out = append(s.out, b...)
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	s.ends = append(s.ends, s.file.Size())
	s.arena, s.entries = s.arena[:0], s.entries[:0]
	return nil
}

// flush writes a piece and rests.
func (s *sorter) flush(ctx context.Context) error {
	rest := time.NewTimer(spillPause)
	defer rest.Stop()
	if err := s.file.Append(s.out); err != nil {
		return err
	}
	s.out = s.out[:0]
	select {
	case <-rest.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *sorter) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
