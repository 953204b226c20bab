package transport

import (
	"encoding/binary"
	"io"

	"google.golang.org/grpc/mem"
)

// prefixBytes is the length of what gRPC puts before each message: a flag and four bytes of length.
const prefixBytes = 5

// inbound is what a call has received and not taken yet. The connection's lock guards it.
type inbound struct {
	bufs   mem.BufferSlice
	one    [1]mem.Buffer // where the first of bufs lies
	used   bool          // one is, or was
	size   int           // bytes in bufs
	window int           // what the client may still send
	ended  bool          // the client sends no more
	front  int           // length of the message in front with its prefix; 0 if not known yet
	max    int           // how long a message may be
}

// put takes in what has come. took is how much of the window it had, with padding.
func (i *inbound) put(b mem.Buffer, took int) {
	i.window -= took
	if b == nil || b.Len() == 0 {
		return
	}
	if !i.used {
		i.bufs, i.used = i.one[:0], true
	}
	i.bufs = append(i.bufs, b)
	i.size += b.Len()
	i.look()
}

// look finds out how long the message in front is.
func (i *inbound) look() {
	if i.front > 0 || i.size < prefixBytes {
		return
	}
	var prefix [prefixBytes]byte
	n := 0
	for _, b := range i.bufs {
		if n += copy(prefix[n:], b.ReadOnlyData()); n == prefixBytes {
			break
		}
	}
	i.front = prefixBytes + int(binary.BigEndian.Uint32(prefix[1:]))
}

// tooLong reports whether the message in front is longer than one may be.
func (i *inbound) tooLong() bool { return i.front-prefixBytes > i.max }

// ready reports whether there is something to take: a message, the end, or one that is refused.
func (i *inbound) ready() bool { return i.ended || i.front > 0 && i.size >= i.front || i.tooLong() }

// complete reports whether a call that asks one question can be answered: no more is to come, or more than may.
func (i *inbound) complete() bool { return i.ended || i.tooLong() || i.front > 0 && i.size > i.front }

// take takes the message in front, with its flag. ready must have reported true. At the end it returns io.EOF.
func (i *inbound) take() (flag byte, message mem.BufferSlice, err error) {
	switch {
	case i.size == 0:
		return 0, nil, io.EOF
	case i.front == 0 || i.size < i.front:
		return 0, nil, io.ErrUnexpectedEOF
	}
	var prefix [prefixBytes]byte
	i.skip(prefix[:])
	length := i.front - prefixBytes
	i.size -= i.front
	i.front = 0
	if len(i.bufs) == 1 && i.bufs[0].Len() == length {
		message, i.bufs = i.bufs, nil
		return prefix[0], message, nil
	}
	n := 0
	for length > 0 {
		b := i.bufs[n]
		if b.Len() > length {
			var rest mem.Buffer
			b, rest = mem.SplitUnsafe(b, length)
			i.bufs[n] = rest
		} else {
			n++
		}
		length -= b.Len()
		message = append(message, b)
	}
	i.bufs = append(mem.BufferSlice(nil), i.bufs[n:]...)
	i.look()
	return prefix[0], message, nil
}

// skip takes bytes off the front.
func (i *inbound) skip(to []byte) {
	n := 0
	if own, ok := i.bufs[0].(*mem.SliceBuffer); ok && len(*own) > len(to) {
		*own = (*own)[copy(to, *own):]
		return
	}
	for len(to) > 0 {
		m, rest := mem.ReadUnsafe(to, i.bufs[n])
		to = to[m:]
		if rest == nil {
			n++
		} else {
			i.bufs[n] = rest
		}
	}
	i.bufs = i.bufs[n:]
}

// drop throws away what nobody will take.
func (i *inbound) drop() {
	i.bufs.Free()
	i.bufs, i.size, i.front = nil, 0, 0
}

// credit is how much more the client is to be told it may send; 0 while it is not worth a frame. A message that is
// longer than the window is let in as a whole, because nothing of it is taken before it is complete.
func (i *inbound) credit() int {
	allowed := streamWindow
	if !i.tooLong() {
		allowed = max(allowed, i.front)
	}
	more := allowed - i.window - i.size
	if i.ended || more <= 0 || more < streamWindow/4 && i.front <= i.window+i.size {
		return 0
	}
	i.window += more
	return more
}
