package wire

import "google.golang.org/protobuf/encoding/protowire"

// The tags of the messages that are read and written by hand: field number, shifted by three, and the
// wire type (0 varint, 2 length-delimited). They all fit one byte but Compare.range_end, field 64.
const (
	tag1Varint, tag1Bytes = 1<<3 | 0, 1<<3 | 2
	tag2Varint, tag2Bytes = 2<<3 | 0, 2<<3 | 2
	tag3Varint, tag3Bytes = 3<<3 | 0, 3<<3 | 2
	tag4Varint, tag4Bytes = 4<<3 | 0, 4<<3 | 2
	tag5Varint, tag5Bytes = 5<<3 | 0, 5<<3 | 2
	tag6Varint            = 6<<3 | 0
	tag7Varint, tag7Bytes = 7<<3 | 0, 7<<3 | 2
	tag8Varint            = 8<<3 | 0
	tag9Varint            = 9<<3 | 0
	tag10Varint           = 10<<3 | 0
	tag11Varint           = 11<<3 | 0
	tag12Varint           = 12<<3 | 0
	tag13Varint           = 13<<3 | 0
	tag64Bytes            = 64<<3 | 2
)

// fields walks over the fields of one encoded message. Whatever is not plain (an unknown field, a wrong
// wire type, bytes that end too early) sets odd and ends the walk. The caller then leaves the whole
// message to the protobuf library, which is slower and the judge of what is valid: so the hand-written
// readers can only ever agree with it.
type fields struct {
	b   []byte
	odd bool
}

// next is the tag of the next field; 0, which no valid field has, when there is none.
func (f *fields) next() uint64 {
	if len(f.b) == 0 || f.odd {
		return 0
	}
	tag := uint64(f.b[0])
	f.b = f.b[1:]
	switch {
	case tag == 0:
		f.odd = true
	case tag < 0x80:
	case tag == tag64Bytes&0x7f|0x80 && len(f.b) > 0 && f.b[0] == tag64Bytes>>7:
		f.b = f.b[1:]
		return tag64Bytes
	default:
		f.odd = true
		return 0
	}
	return tag
}

func (f *fields) varint() uint64 {
	if len(f.b) > 0 && f.b[0] < 0x80 {
		v := f.b[0]
		f.b = f.b[1:]
		return uint64(v)
	}
	v, n := protowire.ConsumeVarint(f.b)
	if n < 0 {
		f.odd = true
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) bool() bool { return f.varint() != 0 }

// bytes is a part of the message itself, with no room behind it that an append could write into.
func (f *fields) bytes() []byte {
	n := f.varint()
	if f.odd || n > uint64(len(f.b)) {
		f.odd = true
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}

// unknown ends the walk: this field is not one of ours.
func (f *fields) unknown() { f.odd = true }

// whole says that every byte was understood.
func (f *fields) whole() bool { return !f.odd && len(f.b) == 0 }
