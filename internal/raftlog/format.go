package raftlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	segmentMagic   = "KEELRLOG"
	segmentVersion = 1

	// headerBlock is the bytes kept for a segment's header, which is also the offset
	// of its first record. It is a block of its own so that no later write reaches it.
	headerBlock = 4096
	// headerBytes is how many bytes of the header block carry something.
	headerBytes = 48
	// recordHeader is the bytes before a record's payload.
	recordHeader = 24
	// recordAlign is the multiple of bytes at which records start. A search for
	// records behind damage looks only there.
	recordAlign = 8

	entryFixed   = 16 // bytes of an entry's payload before its data
	stateBytes   = 24 // bytes of a state record's payload
	prefixBytes  = 16 // bytes of a prefix record's payload
	beginBytes   = 56 // bytes of a begin record's payload
	flagBatchEnd = 1  // set in the last record of a batch
	maxEntryType = 2  // raft's highest entry type, EntryConfChangeV2

	// maxIndex is the highest index that is believed when it is read, so that sums
	// with it cannot overflow. At a million entries a second it lasts 100,000 years.
	maxIndex = 1 << 62
)

// Kind says what a record holds.
type Kind uint8

// The kinds of records. Their numbers are written to disk.
const (
	// KindBegin opens a segment and seals the one before.
	KindBegin Kind = 1
	// KindEntry is one raft entry.
	KindEntry Kind = 2
	// KindState is a hard state.
	KindState Kind = 3
	// KindPrefix says up to where entries are forgotten.
	KindPrefix Kind = 4
	// KindMark says only that all before it is durable.
	KindMark Kind = 5

	// KindStop is never written: Dump reports with it where and why it stopped
	// reading a file.
	KindStop Kind = 255
)

// String returns the kind's name as docs/data.md has it.
func (k Kind) String() string {
	switch k {
	case KindBegin:
		return "begin"
	case KindEntry:
		return "entry"
	case KindState:
		return "state"
	case KindPrefix:
		return "prefix"
	case KindMark:
		return "mark"
	case KindStop:
		return "stop"
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// Both are read-only after the package is loaded: MakeTable returns the shared
// hardware-backed table, and le is a stateless value.
var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

// putSegmentHeader writes a segment's header to the start of b and returns its base.
func putSegmentHeader(b []byte, logID, number uint64) (base uint32) {
	clear(b[:headerBytes])
	copy(b, segmentMagic)
	b[8] = segmentVersion
	le.PutUint64(b[16:], logID)
	le.PutUint64(b[24:], number)
	base = crc32.Checksum(b[:44], castagnoli)
	le.PutUint32(b[44:], base)
	return base
}

// parseSegmentHeader reads what putSegmentHeader wrote, or says what is wrong. A
// version that this program does not know is not damage and is left to the caller.
func parseSegmentHeader(b []byte) (h segmentHead, why string) {
	if len(b) < headerBytes {
		return h, "the file is too short to hold a segment header"
	}
	h = segmentHead{version: b[8], logID: le.Uint64(b[16:]), number: le.Uint64(b[24:]), base: le.Uint32(b[44:])}
	if !bytes.Equal(b[:8], []byte(segmentMagic)) {
		return h, "the file does not start as a segment does"
	}
	if crc32.Checksum(b[:44], castagnoli) != h.base {
		return h, "the checksum of the segment header does not match"
	}
	return h, ""
}

// segmentHead is what a segment's header says.
type segmentHead struct {
	version uint8
	logID   uint64
	number  uint64
	base    uint32
}

// recordHead is a record's header. Its own CRC makes it trustworthy before the
// payload is read, and lets a search tell records from the bytes of some value.
type recordHead struct {
	crc        uint32
	payloadCRC uint32
	length     uint32
	chain      uint32
	synced     uint32
	kind       Kind
	flags      uint8
	entryType  uint8
}

// end returns the offset behind a record that starts at off.
func (h recordHead) end(off int64) int64 {
	return off + recordHeader + padded(int64(h.length))
}

func (h recordHead) batchEnd() bool { return h.flags&flagBatchEnd != 0 }

// padded rounds n up to the records' alignment.
func padded(n int64) int64 {
	return (n + recordAlign - 1) &^ (recordAlign - 1)
}

// recordSize returns the bytes that a record with this payload takes in the file.
func recordSize(payload int) int64 { return recordHeader + padded(int64(payload)) }

// parseHead reads the record header at the start of b, which stands at off in a
// segment with this base. It checks the cheap things first because a search calls it
// for every aligned offset.
func parseHead(b []byte, base uint32, off int64) (recordHead, bool) {
	b = b[:recordHeader]
	h := recordHead{kind: Kind(b[20]), flags: b[21], entryType: b[22]}
	if b[23] != 0 || h.flags > flagBatchEnd || h.entryType > maxEntryType || h.kind < KindBegin || h.kind > KindMark {
		return h, false
	}
	h.crc = le.Uint32(b)
	if crc32.Update(base^uint32(off), castagnoli, b[4:]) != h.crc {
		return h, false
	}
	h.payloadCRC = le.Uint32(b[4:])
	h.length = le.Uint32(b[8:])
	h.chain = le.Uint32(b[12:])
	h.synced = le.Uint32(b[16:])
	return h, true
}

// hardState is raft's hard state as plain numbers.
type hardState struct{ term, vote, commit uint64 }

// mark is a place in the log: an index and its term.
type mark struct{ index, term uint64 }

// beginning is what a begin record says.
type beginning struct {
	prevEnd uint32
	prevCRC uint32
	last    uint64
	prefix  mark
	hard    hardState
}

func parseBeginning(p []byte) beginning {
	return beginning{
		prevEnd: le.Uint32(p),
		prevCRC: le.Uint32(p[4:]),
		last:    le.Uint64(p[8:]),
		prefix:  mark{le.Uint64(p[16:]), le.Uint64(p[24:])},
		hard:    parseState(p[32:]),
	}
}

func parseState(p []byte) hardState {
	return hardState{le.Uint64(p), le.Uint64(p[8:]), le.Uint64(p[16:])}
}

// payloadFits says whether a payload of n bytes is possible for a record of kind k.
func payloadFits(k Kind, n uint32) bool {
	switch k {
	case KindBegin:
		return n == beginBytes
	case KindEntry:
		return n >= entryFixed
	case KindState:
		return n == stateBytes
	case KindPrefix:
		return n == prefixBytes
	case KindMark:
		return n == 0
	}
	return false
}
