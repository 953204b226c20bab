package auth

import (
	"bytes"
	"encoding/binary"
)

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

func appendText[T string | []byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func appendTexts(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

// reader takes a row apart. After the first thing that is wrong it finds nothing more, and end tells what it was.
type reader struct {
	rest []byte
	why  string
}

func newReader(row []byte) *reader {
	r := &reader{rest: row}
	if f := r.byte(); f != rowFormat && r.why == "" {
		r.fail("the format is not known: a newer release may have written it")
	}
	return r
}

func (r *reader) fail(why string) {
	if r.why == "" {
		r.why = why
	}
	r.rest = nil
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.fail("the row is cut short")
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

// flags takes a byte of which only some bits have a meaning.
func (r *reader) flags(known byte) byte {
	f := r.byte()
	if f&^known != 0 {
		r.fail("a flag is not known")
		return 0
	}
	return f
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail("a number is cut short or too large")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// count takes the length of a list, whose items are at least a byte each.
func (r *reader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.fail("a list is cut short")
		return 0
	}
	return int(n)
}

// text takes a text; an empty one is nil.
func (r *reader) text() []byte {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.fail("a text is cut short")
		return nil
	}
	if n == 0 {
		return nil
	}
	text := bytes.Clone(r.rest[:n])
	r.rest = r.rest[n:]
	return text
}

// end tells what is wrong with the row, or nothing.
func (r *reader) end() string {
	if len(r.rest) > 0 {
		r.fail("something is left over behind the row")
	}
	return r.why
}
