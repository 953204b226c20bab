package frames

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// HeadBytes is how long the head of a frame is. A frame is a head and a body; numbers are little-endian.
//
//	0  4  length of the body
//	4  1  version of the wire format
//	5  1  kind
//	6  1  flags
//	7  1  zero
//	8  4  CRC-32C of bytes 0-7 and the body
//	12    body
const HeadBytes = 12

// The versions of the wire format that this release speaks. Both sides say theirs when they greet, and speak the
// highest that both know.
const (
	LowestVersion  = 1
	HighestVersion = 1
)

const (
	// DefaultBytes is the longest body of a frame, in bytes, unless somebody wants another limit. A body holds at least one
	// whole message, and so the largest request of a client.
	DefaultBytes = 512 << 20
	// fullBytes is how long the body of a frame of messages grows before the next message begins another one, in
	// bytes: a receiver hands on what it has while the rest is still on its way.
	fullBytes = 256 << 10
	// maxMessages and maxEntries bound what one frame unfolds to in memory, in messages and entries. The
	// entries of one message are at most 1 MiB, or one entry, and an empty one takes some bytes of it.
	maxMessages = 8192
	maxEntries  = 1 << 18
	// MaxTalkBytes is the longest body of any other frame, in bytes. It is less than what is read at once, so that such a
	// frame needs no memory of its own.
	MaxTalkBytes = 60 << 10
)

// Kind says what a frame's body is.
type Kind byte

// The kinds.
const (
	Messages Kind = 1 // raft's messages
	Here     Kind = 2 // empty: the sender is there
	Ping     Kind = 3 // mark (8): to be answered by a pong with the same mark
	Pong     Kind = 4 // mark (8), the answerer's clock in nanoseconds since 1970 (8)
	Question Kind = 5
	Answer   Kind = 6
)

// flagData says that there are bytes in the body which outlive its reading: those of entries.
const flagData = 1

// ErrMalformed means that what came is no frame of ours. The connection is of no more use then, because nobody knows
// where the next frame would begin.
var ErrMalformed = errors.New("a malformed frame came")

// castagnoli is never written to; the checksum of it runs in the processor.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// head is the beginning of a frame.
type head struct {
	length uint32
	kind   Kind
	flags  byte
	crc    uint32
}

// openFrame appends room for a head. closeFrame fills it in.
func openFrame(b []byte) []byte { return append(b, make([]byte, HeadBytes)...) }

// closeFrame ends the frame that began at an offset.
func closeFrame(b []byte, at int, k Kind, flags byte) {
	h := b[at:]
	binary.LittleEndian.PutUint32(h, uint32(len(h)-HeadBytes))
	h[4], h[5], h[6], h[7] = HighestVersion, byte(k), flags, 0
	binary.LittleEndian.PutUint32(h[8:], checksum(h[:8], h[HeadBytes:]))
}

// Append appends a whole frame.
func Append(b []byte, k Kind, body ...byte) []byte {
	at := len(b)
	b = append(openFrame(b), body...)
	closeFrame(b, at, k, 0)
	return b
}

func checksum(first, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(first, castagnoli), castagnoli, body)
}

// parseHead reads the head of a frame. The body of one of messages is at most limit bytes long.
func parseHead(b []byte, limit int) (head, error) {
	h := head{
		length: binary.LittleEndian.Uint32(b), kind: Kind(b[5]), flags: b[6],
		crc: binary.LittleEndian.Uint32(b[8:]),
	}
	if h.kind != Messages {
		limit = min(limit, MaxTalkBytes)
	}
	switch {
	case b[4] < LowestVersion || b[4] > HighestVersion:
		return h, fmt.Errorf("%w: its version is %d", ErrMalformed, b[4])
	case uint64(h.length) > uint64(limit):
		return h, fmt.Errorf("%w: its body has %d bytes and may have %d", ErrMalformed, h.length, limit)
	case h.kind < Messages || h.kind > Answer || h.flags > flagData || b[7] != 0:
		return h, fmt.Errorf("%w: its head is %x", ErrMalformed, b[:HeadBytes])
	}
	return h, nil
}

// check holds a frame against its checksum. The bytes are those of the head as they came.
func (h head) check(bytes, body []byte) error {
	if sum := checksum(bytes[:8], body); sum != h.crc {
		return fmt.Errorf("%w: its checksum is %08x and should be %08x", ErrMalformed, sum, h.crc)
	}
	return nil
}
