package raftlog

import (
	"hash/crc32"
)

// keepBuffer is the bytes of encoding buffer kept from one append to the next. A
// rare huge batch gives its memory back.
const keepBuffer = 4 << 20

// encoder builds the bytes of one batch. The buffer is reused.
type encoder struct {
	buf    []byte
	base   uint32
	start  int64  // file offset of buf[0]
	chain  uint32 // header CRC of the record before
	synced uint32
	left   int // records still to come, so that the last one gets its flag
}

// reset starts a batch of n records at an offset of a segment.
func (e *encoder) reset(base uint32, start int64, chain uint32, synced int64, n int) {
	if cap(e.buf) > keepBuffer {
		e.buf = nil
	}
	e.buf = e.buf[:0]
	e.base, e.start, e.chain, e.synced, e.left = base, start, chain, uint32(synced), n
}

// begin makes room for a record header and returns where it stands in the buffer.
func (e *encoder) begin() int {
	at := len(e.buf)
	e.buf = append(e.buf, make([]byte, recordHeader)...)
	return at
}

// finish pads the payload that was appended since begin and fills in the header.
func (e *encoder) finish(at int, kind Kind, entryType uint8) {
	length := len(e.buf) - at - recordHeader
	if pad := int(padded(int64(length))) - length; pad > 0 {
		e.buf = append(e.buf, make([]byte, pad)...)
	}
	e.left--
	h := e.buf[at : at+recordHeader]
	le.PutUint32(h[4:], crc32.Checksum(e.buf[at+recordHeader:], castagnoli))
	le.PutUint32(h[8:], uint32(length))
	le.PutUint32(h[12:], e.chain)
	le.PutUint32(h[16:], e.synced)
	h[20] = byte(kind)
	if e.left == 0 {
		h[21] = flagBatchEnd
	}
	h[22] = entryType
	off := uint32(e.start) + uint32(at)
	e.chain = crc32.Update(e.base^off, castagnoli, h[4:])
	le.PutUint32(h, e.chain)
}

func (e *encoder) putBegin(b beginning) {
	at := e.begin()
	e.buf = le.AppendUint32(e.buf, b.prevEnd)
	e.buf = le.AppendUint32(e.buf, b.prevCRC)
	e.buf = le.AppendUint64(e.buf, b.last)
	e.buf = le.AppendUint64(e.buf, b.prefix.index)
	e.buf = le.AppendUint64(e.buf, b.prefix.term)
	e.buf = appendState(e.buf, b.hard)
	e.finish(at, KindBegin, 0)
}

func appendState(buf []byte, s hardState) []byte {
	buf = le.AppendUint64(buf, s.term)
	buf = le.AppendUint64(buf, s.vote)
	return le.AppendUint64(buf, s.commit)
}

func (e *encoder) putState(s hardState) {
	at := e.begin()
	e.buf = appendState(e.buf, s)
	e.finish(at, KindState, 0)
}

func (e *encoder) putPrefix(m mark) {
	at := e.begin()
	e.buf = le.AppendUint64(e.buf, m.index)
	e.buf = le.AppendUint64(e.buf, m.term)
	e.finish(at, KindPrefix, 0)
}

func (e *encoder) putMark() {
	e.finish(e.begin(), KindMark, 0)
}

// putEntry adds an entry and returns where its record starts in the file.
func (e *encoder) putEntry(index, term uint64, entryType uint8, data []byte) (off int64) {
	at := e.begin()
	e.buf = le.AppendUint64(e.buf, index)
	e.buf = le.AppendUint64(e.buf, term)
	e.buf = append(e.buf, data...)
	e.finish(at, KindEntry, entryType)
	return e.start + int64(at)
}
