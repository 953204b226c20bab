package copies

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/s2"
)

// A copy is a sequence of frames. A frame is a head and a payload; numbers are little-endian.
//
//	0  4  length of the payload
//	4  4  CRC-32C of bytes 0-3, 8-11 and the payload
//	8  4  length of the payload when it is unpacked
//	12    payload: rows, packed as a block of S2
//
// A row is the length of its key as uvarint, the key, the length of its value as uvarint, and the value. The last frame says
// 0 for the unpacked length. Its payload is not packed: number of rows (8), length of all unpacked payloads (8), and
// CRC-32C of all of them (4).
const (
	headBytes = 12
	lastBytes = 8 + 8 + 4
)

const (
	// streamVersion is the version of this form. Only a member that knows it takes a copy.
	streamVersion = 1
	// pieceBytes is the length at which a frame is full, before it is packed, in bytes. Packing it is done without a
	// break, a quarter of a millisecond long.
	pieceBytes = 128 << 10
	// readBytes is how much of a payload is read before more memory is taken for it, in bytes: a length alone costs
	// the one who sends it nothing.
	readBytes = 1 << 20
)

// errBroken means that a frame did not arrive as it was sent, or not whole. The same frame may arrive next time.
var errBroken = errors.New("a frame is damaged")

// errStrange means that a frame arrived as it was sent and no member sends such.
var errStrange = errors.New("what came is no copy of a state")

// castagnoli is never written to; the checksum of it runs in the processor.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// totals are what both sides count.
type totals struct {
	frames uint64
	rows   uint64
	bytes  uint64 // unpacked
	crc    uint32 // of these bytes
}

// add counts one frame.
func (t *totals) add(rows uint64, raw []byte) {
	t.frames++
	t.rows += rows
	t.bytes += uint64(len(raw))
	t.crc = crc32.Update(t.crc, castagnoli, raw)
}

// appendRow appends a row to the unpacked payload of a frame.
func appendRow(raw, key, value []byte) []byte {
	raw = binary.AppendUvarint(raw, uint64(len(key)))
	raw = append(raw, key...)
	raw = binary.AppendUvarint(raw, uint64(len(value)))
	return append(raw, value...)
}

// eachRow yields the rows of an unpacked payload, and counts them.
func eachRow(raw []byte, yield func(key, value []byte) error) (rows uint64, err error) {
	for len(raw) > 0 {
		var key, value []byte
		var ok bool
		if key, raw, ok = take(raw); ok {
			value, raw, ok = take(raw)
		}
		if !ok {
			return rows, fmt.Errorf("%w: row %d of a frame is cut off", errStrange, rows)
		}
		if err := yield(key, value); err != nil {
			return rows, err
		}
		rows++
	}
	return rows, nil
}

// take cuts bytes behind their length from the front.
func take(raw []byte) (b, rest []byte, ok bool) {
	n, w := binary.Uvarint(raw)
	if w <= 0 || n > uint64(len(raw)-w) {
		return nil, nil, false
	}
	return raw[w : w+int(n)], raw[w+int(n):], true
}

// packer makes frames in memory that it uses again.
type packer struct{ out []byte }

// pack makes the frame of an unpacked payload. It is valid until the next one.
func (p *packer) pack(raw []byte) []byte {
	if need := headBytes + s2.MaxEncodedLen(len(raw)); cap(p.out) < need {
		p.out = make([]byte, need)
	}
	p.out = p.out[:cap(p.out)]
	packed := s2.Encode(p.out[headBytes:], raw)
	return seal(p.out[:headBytes+len(packed)], len(raw))
}

// last makes the last frame.
func (p *packer) last(t totals) []byte {
	b := append(p.out[:0], make([]byte, headBytes)...)
	b = binary.LittleEndian.AppendUint64(b, t.rows)
	b = binary.LittleEndian.AppendUint64(b, t.bytes)
	p.out = binary.LittleEndian.AppendUint32(b, t.crc)
	return seal(p.out, 0)
}

// seal fills in the head of a frame.
func seal(frame []byte, unpacked int) []byte {
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-headBytes))
	binary.LittleEndian.PutUint32(frame[8:], uint32(unpacked))
	binary.LittleEndian.PutUint32(frame[4:], frameSum(frame[:headBytes], frame[headBytes:]))
	return frame
}

func frameSum(head, payload []byte) uint32 {
	crc := crc32.Checksum(head[:4], castagnoli)
	crc = crc32.Update(crc, castagnoli, head[8:headBytes])
	return crc32.Update(crc, castagnoli, payload)
}

// reader reads frames in memory that it uses again.
type reader struct {
	limit  int // of an unpacked payload, in bytes
	head   [headBytes]byte
	packed []byte
	raw    []byte
}

// next reads a frame: an unpacked payload, or what the last one says. Errors of the connection and damaged frames
// wrap errBroken.
func (r *reader) next(from io.Reader) (raw []byte, end *totals, err error) {
	if _, err := io.ReadFull(from, r.head[:]); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errBroken, err)
	}
	length, unpacked := int(binary.LittleEndian.Uint32(r.head[:])), int(binary.LittleEndian.Uint32(r.head[8:]))
	if unpacked > r.limit || length > max(s2.MaxEncodedLen(unpacked), lastBytes) {
		// A head that is damaged looks the same, so it is worth another try.
		return nil, nil, fmt.Errorf("%w: it has %d bytes, unpacked %d, and may have %d", errBroken, length, unpacked, r.limit)
	}
	if err := r.read(from, length); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errBroken, err)
	}
	if sum := frameSum(r.head[:], r.packed); sum != binary.LittleEndian.Uint32(r.head[4:]) {
		return nil, nil, fmt.Errorf("%w: its checksum is %08x", errBroken, sum)
	}
	if unpacked == 0 {
		end, err := parseLast(r.packed)
		return nil, end, err
	}
	if n, err := s2.DecodedLen(r.packed); err != nil || n != unpacked {
		return nil, nil, fmt.Errorf("%w: a frame of %d bytes says that it unpacks to %d", errStrange, n, unpacked)
	}
	if r.raw, err = s2.Decode(r.raw[:cap(r.raw)], r.packed); err != nil {
		return nil, nil, fmt.Errorf("%w: a frame cannot be unpacked: %w", errStrange, err)
	}
	return r.raw, nil, nil
}

// read reads a payload, taking memory as it comes.
func (r *reader) read(from io.Reader, length int) error {
	r.packed = r.packed[:0]
	for len(r.packed) < length {
		at := len(r.packed)
		n := min(length-at, readBytes)
		if cap(r.packed) < at+n {
			r.packed = append(make([]byte, 0, min(length, 2*(at+n))), r.packed...)
		}
		r.packed = r.packed[:at+n]
		if _, err := io.ReadFull(from, r.packed[at:]); err != nil {
			return err
		}
	}
	return nil
}

func parseLast(b []byte) (*totals, error) {
	if len(b) != lastBytes {
		return nil, fmt.Errorf("%w: the last frame has %d bytes", errStrange, len(b))
	}
	return &totals{
		rows: binary.LittleEndian.Uint64(b), bytes: binary.LittleEndian.Uint64(b[8:]), crc: binary.LittleEndian.Uint32(b[16:]),
	}, nil
}
