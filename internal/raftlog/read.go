package raftlog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// readChunk is the bytes read from a segment at once.
const readChunk = 1 << 20

// window reads a file front to back through one reused buffer. What it returns is
// valid until the next call.
type window struct {
	file  vfs.File
	size  int64
	start int64
	buf   []byte
}

// at returns the n bytes at off, or fewer where the file ends.
func (w *window) at(off int64, n int) ([]byte, error) {
	n = int(min(int64(n), max(0, w.size-off)))
	if n == 0 {
		return nil, nil
	}
	if off >= w.start && off+int64(n) <= w.start+int64(len(w.buf)) {
		return w.buf[off-w.start:][:n], nil
	}
	want := int(min(int64(max(n, readChunk)), w.size-off))
	if cap(w.buf) < want {
		w.buf = make([]byte, want)
	}
	w.start, w.buf = off, w.buf[:want]
	got, err := w.file.ReadAt(w.buf, off)
	w.buf = w.buf[:got]
	if err != nil && !errors.Is(err, io.EOF) {
		w.forget()
		return nil, fmt.Errorf("read %d bytes at offset %d: %w", want, off, err)
	}
	return w.buf[:min(n, got)], nil
}

// forget makes the next call read from the file.
func (w *window) forget() { w.buf = w.buf[:0] }

// record is one record as it stands in a file.
type record struct {
	recordHead
	off     int64
	payload []byte // valid until the reader moves on
}

// recordReader walks the records of one segment.
type recordReader struct {
	w     window
	base  uint32
	off   int64  // where the next record starts
	chain uint32 // what the next record's chain field must say

	changes []change // of one batch, reused
}

func newRecordReader(f vfs.File, size int64, base uint32) *recordReader {
	return &recordReader{w: window{file: f, size: size}, base: base, off: headerBlock, chain: base}
}

// next returns the record at the reader's offset and moves behind it. If the bytes
// there are no valid record it says why and stays. The error is the disk's.
func (r *recordReader) next() (rec record, why string, err error) {
	b, err := r.w.at(r.off, recordHeader)
	if err != nil {
		return rec, "", err
	}
	if len(b) < recordHeader {
		return rec, "the file ends", nil
	}
	h, ok := parseHead(b, r.base, r.off)
	if !ok {
		return rec, "there is no valid record header", nil
	}
	rec = record{recordHead: h, off: r.off}
	if h.end(r.off) > r.w.size || !payloadFits(h.kind, h.length) {
		return rec, fmt.Sprintf("a %s record cannot have a payload of %d bytes here", h.kind, h.length), nil
	}
	b, err = r.w.at(r.off, int(h.end(r.off)-r.off))
	if err != nil {
		return rec, "", err
	}
	if int64(len(b)) < h.end(r.off)-r.off || crc32.Checksum(b[recordHeader:], castagnoli) != h.payloadCRC {
		return rec, "the checksum of the record's payload does not match", nil
	}
	if h.chain != r.chain {
		return rec, "the record does not follow the one before it", nil
	}
	rec.payload = b[recordHeader:][:h.length]
	r.off, r.chain = h.end(r.off), h.crc
	return rec, "", nil
}

// change is a record's meaning without its data, small enough to hold a whole batch
// of them until the batch turns out to be complete.
type change struct {
	kind  Kind
	begin beginning
	hard  hardState
	at    mark
	pos   position
}

func (rec *record) change(segment uint64) change {
	c := change{kind: rec.kind}
	switch rec.kind {
	case KindBegin:
		c.begin = parseBeginning(rec.payload)
	case KindState:
		c.hard = parseState(rec.payload)
	case KindPrefix, KindEntry:
		c.at = mark{le.Uint64(rec.payload), le.Uint64(rec.payload[8:])}
		c.pos = position{term: c.at.term, segment: segment, offset: uint32(rec.off), size: recordHeader + rec.length}
	}
	return c
}

// remains is what a search finds behind the place where reading had to stop.
type remains struct {
	count  int   // record headers that are valid for this segment
	first  int64 // offset of the first
	end    int64 // offset behind the last byte that one of them claims
	synced int64 // the highest synced mark among them
}

// search looks at every aligned offset from off on for record headers that are valid
// in this segment, whatever stands between them. A header's CRC knows the segment
// and the offset, so neither a recycled file's old records nor a client's bytes pass.
func (r *recordReader) search(off int64) (remains, error) {
	var found remains
	for off = padded(off); off+recordHeader <= r.w.size; {
		b, err := r.w.at(off, readChunk)
		if err != nil {
			return found, err
		}
		if len(b) < recordHeader {
			break
		}
		for ; len(b) >= recordHeader; b, off = b[recordAlign:], off+recordAlign {
			// The four bytes of kind, flags, type and zero rule out nearly every offset
			// without a call; a segment has eight million of them.
			if kind := le.Uint32(b[20:]); kind == 0 || kind >= 1<<24 || Kind(kind) > KindMark {
				continue
			}
			h, ok := parseHead(b, r.base, off)
			if !ok {
				continue
			}
			if found.count == 0 {
				found.first = off
			}
			found.count++
			found.end = max(found.end, min(h.end(off), r.w.size))
			found.synced = max(found.synced, int64(h.synced))
		}
	}
	return found, nil
}
