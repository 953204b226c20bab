package raftlog

import (
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

// RecordInfo is one record as Dump shows it. Only the fields of its kind are set.
type RecordInfo struct {
	File     string
	Segment  uint64
	Offset   int64
	Kind     Kind
	BatchEnd bool
	Synced   int64 // what was durable in this file when the record was written

	Index     uint64 // entry, prefix; of a begin record the prefix
	Term      uint64 // of Index
	Last      uint64 // begin: the last entry before the segment
	EntryType raftpb.EntryType
	Data      []byte // entry; valid during the call only

	HardTerm, Vote, Commit uint64 // begin, state

	Note string // stop: why reading ended here, and what stands behind
}

// Dump calls fn for every record of a log, in the order of the files, and with
// KindStop where reading a file ends and why. It opens files for reading only and
// gets through damaged logs: a segment that cannot be read does not keep it from the
// next. It does not judge; Open does. It takes no lock, so a log that is in use can be
// dumped; what is written or forgotten meanwhile may be missing, and where that ends
// the reading of a file, KindStop says so. An error is fn's or the disk's.
func Dump(fs vfs.FS, dir string, fn func(RecordInfo) error) error {
	found, err := list(fs, dir)
	if err != nil {
		return fmt.Errorf("dump raft log: %w", err)
	}
	if len(found.segments) == 0 {
		return fmt.Errorf("dump raft log in %s: %w", dir, ErrNotFound)
	}
	for i, number := range found.segments {
		if i > 0 && found.segments[i-1]+1 != number {
			gap := RecordInfo{File: segmentName(number - 1), Segment: number - 1, Kind: KindStop, Note: "this segment is not there"}
			if err := fn(gap); err != nil {
				return err
			}
		}
		if err := dumpSegment(fs, dir, number, fn); err != nil {
			return fmt.Errorf("dump raft log segment %s: %w", segmentName(number), err)
		}
	}
	return nil
}

func dumpSegment(fs vfs.FS, dir string, number uint64, fn func(RecordInfo) error) error {
	name := segmentName(number)
	f, err := fs.Open(fs.PathJoin(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return fn(RecordInfo{File: name, Segment: number, Kind: KindStop, Note: "this segment was forgotten since the files were listed: the log is in use"})
	}
	if err != nil {
		return err
	}
	defer f.Close() // opened for reading; there is nothing to lose
	info, err := f.Stat()
	if err != nil {
		return err
	}
	w := window{file: f, size: info.Size()}
	b, err := w.at(0, headerBytes)
	if err != nil {
		return err
	}
	head, why := parseSegmentHeader(b)
	if why == "" && head.version != segmentVersion {
		why = fmt.Sprintf("the segment has format version %d", head.version)
	}
	if why != "" {
		return fn(RecordInfo{File: name, Segment: number, Kind: KindStop, Note: why})
	}
	r := newRecordReader(f, info.Size(), head.base)
	for {
		rec, stop, err := r.dumpNext()
		if err != nil {
			return err
		}
		if stop != "" {
			return fn(RecordInfo{File: name, Segment: number, Offset: r.off, Kind: KindStop, Note: stop})
		}
		if err := fn(rec.info(name, number)); err != nil {
			return err
		}
	}
}

// dumpNext returns the next record, or says why reading stops here and what can still
// be recognised behind this place. A running server may write to the file or make
// another segment of it meanwhile; that must not look like damage.
func (r *recordReader) dumpNext() (rec record, stop string, err error) {
	rec, stop, err = r.next()
	if stop == "" || err != nil {
		return rec, stop, err
	}
	found, err := r.search(r.off)
	if err != nil {
		return rec, "", err
	}
	damaged := found.synced > r.off
	if damaged {
		// What was read of this place may be older than what was found behind it.
		r.w.forget()
		if rec, stop, err = r.next(); stop == "" || err != nil {
			return rec, stop, err
		}
	}
	if recycled, err := r.recycled(); recycled || err != nil {
		return rec, "the file became another segment while it was read: the log is in use", err
	}
	if found.count > 0 {
		stop += fmt.Sprintf("; %d record headers of this segment follow, the first at offset %d", found.count, found.first)
	}
	if damaged {
		stop += ", written after this place was durable: this is damage"
	}
	return rec, stop, nil
}

// recycled says whether the file has another header than when reading began.
func (r *recordReader) recycled() (bool, error) {
	w := window{file: r.w.file, size: headerBytes}
	b, err := w.at(0, headerBytes)
	if err != nil {
		return false, err
	}
	head, why := parseSegmentHeader(b)
	return why != "" || head.base != r.base, nil
}

func (rec *record) info(file string, segment uint64) RecordInfo {
	i := RecordInfo{
		File: file, Segment: segment, Offset: rec.off,
		Kind: rec.kind, BatchEnd: rec.batchEnd(), Synced: int64(rec.synced),
	}
	c := rec.change(segment)
	switch rec.kind {
	case KindBegin:
		i.Index, i.Term, i.Last = c.begin.prefix.index, c.begin.prefix.term, c.begin.last
		i.HardTerm, i.Vote, i.Commit = c.begin.hard.term, c.begin.hard.vote, c.begin.hard.commit
	case KindState:
		i.HardTerm, i.Vote, i.Commit = c.hard.term, c.hard.vote, c.hard.commit
	case KindPrefix:
		i.Index, i.Term = c.at.index, c.at.term
	case KindEntry:
		i.Index, i.Term = c.at.index, c.at.term
		i.EntryType, i.Data = raftpb.EntryType(rec.entryType), rec.payload[entryFixed:]
	}
	return i
}
