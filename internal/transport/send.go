package transport

import (
	"encoding/binary"
	"math"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// reply encodes and sends a message. The last one ends the call with the status OK, in the same write.
func (k *call) reply(v any, last bool) error {
	var plain mem.BufferSlice
	if v != nil {
		var err error
		if plain, err = k.conn.server.o.Codec.Marshal(v); err != nil {
			return status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
		}
	}
	defer plain.Free()
	flag, data := byte(flagPlain), plain
	if k.compressor != nil {
		var err error
		if flag, data, err = k.pack(plain, k.compressor); err != nil {
			return err
		}
		defer data.Free()
	}
	n := data.Len()
	switch {
	case n > math.MaxUint32:
		return status.Errorf(codes.ResourceExhausted, "grpc: message too large (%d bytes)", n)
	case n > k.conn.server.o.MaxSendBytes:
		return status.Errorf(codes.ResourceExhausted, "trying to send message larger than max (%d vs. %d)", n, k.conn.server.o.MaxSendBytes)
	}
	s := outgoing{bufs: data, left: prefixBytes + n, prefixed: true}
	s.prefix[0] = flag
	binary.BigEndian.PutUint32(s.prefix[1:], uint32(n))
	return k.send(&s, last)
}

// WriteMessages sends whole messages, each with gRPC's prefix, as they are. The references of its argument stay
// with the caller. It is for calls that compress nothing.
func (k *call) WriteMessages(messages mem.BufferSlice) error {
	return k.send(&outgoing{bufs: messages, left: messages.Len()}, false)
}

// SendCompress is the encoding of what is sent, or "".
func (k *call) SendCompress() string { return k.sendEncoding }

// send sends something, in as many frames as it takes, and waits while the client takes no more.
func (k *call) send(s *outgoing, last bool) error {
	c := k.conn
	c.out.Lock()
	for waited := false; ; waited = true {
		if k.closed || c.out.err != nil || k.Err() != nil {
			err := k.unsendable()
			c.out.wakeNext()
			c.out.Unlock()
			return err
		}
		if !k.headerSent {
			if err := k.appendHeader(); err != nil {
				c.out.wakeNext()
				c.out.push()
				return err
			}
		}
		for s.left > 0 && k.allowance() > 0 {
			k.appendData(s, min(s.left, k.allowance()))
		}
		if s.left == 0 {
			break
		}
		k.waitToSend(waited)
	}
	c.out.wakeNext()
	if last {
		k.returned = true
		k.endStream(nil)
	}
	c.out.push()
	return nil
}

// unsendable says why nothing can be sent. The lock is held.
func (k *call) unsendable() error {
	if k.conn.out.err != nil {
		return errClosing
	}
	return k.ended()
}

// allowance is how much data may be appended at once; 0 if it must wait. The lock is held.
func (k *call) allowance() int {
	c := k.conn
	if c.out.congested() {
		return 0
	}
	return int(max(0, min(k.sendWindow, c.out.window, maxFrameBytes)))
}

// waitToSend waits until it is worth another try, for the connection or for the stream's own window. The lock is held,
// before and after.
func (k *call) waitToSend(again bool) {
	out := &k.conn.out
	if k.canSend == nil {
		k.canSend = make(chan struct{}, 1)
	}
	if out.congested() {
		out.block(k, again)
	} else {
		out.wakeNext()
	}
	out.push()
	select {
	case <-k.canSend:
	case <-k.Done():
	}
	out.Lock()
	if k.queued {
		out.unblock(k)
	}
}

// appendData appends a frame with n bytes. The lock is held.
func (k *call) appendData(s *outgoing, n int) {
	c := k.conn
	c.out.reserve(frameHeaderBytes + n)
	b := appendFrameHeader(c.out.pending, n, http2.FrameData, 0, k.id)
	c.out.pending = s.appendTo(b, n)
	k.sendWindow -= int64(n)
	c.out.window -= int64(n)
	c.sent = true
}

// finish ends the call with a status, nil for OK. It does nothing if the stream has ended. returned says that the
// handler has.
func (k *call) finish(st *status.Status, returned bool) {
	c := k.conn
	c.out.Lock()
	if returned && !k.returned {
		k.returned = true
		if k.closed {
			c.abandoned--
			c.forget()
		}
	}
	if !k.closed {
		k.endStream(st)
	}
	c.out.push()
	k.cancel()
}

// endStream appends the trailer and takes the call out of the books. The lock is held.
func (k *call) endStream(st *status.Status) {
	c := k.conn
	if c.out.err == nil {
		if !k.headerSent && len(k.header) > 0 && k.appendHeader() != nil {
			return // the client does not take such a header, and the stream is reset
		}
		if !k.appendTrailer(st, 0) {
			c.resetStream(k.id, http2.ErrCodeInternal, k)
			return
		}
		if !k.in.ended {
			_ = c.framer.WriteRSTStream(k.id, http2.ErrCodeNo)
			c.remember(k.id)
		}
	}
	c.leave(k)
}

// outgoing is what is sent: a prefix, and behind it buffers.
type outgoing struct {
	prefix   [prefixBytes]byte
	prefixed bool // the prefix is still to be sent
	bufs     mem.BufferSlice
	at       int // how much of the first buffer was sent
	left     int // bytes that are still to be sent
}

// appendTo appends the next n bytes. They are never fewer than a prefix that is still to be sent, or else that goes
// in pieces.
func (s *outgoing) appendTo(b []byte, n int) []byte {
	s.left -= n
	if s.prefixed {
		m := min(n, prefixBytes-s.at)
		b = append(b, s.prefix[s.at:s.at+m]...)
		s.at += m
		n -= m
		if s.at < prefixBytes {
			return b
		}
		s.prefixed, s.at = false, 0
	}
	for n > 0 {
		data := s.bufs[0].ReadOnlyData()[s.at:]
		m := min(n, len(data))
		b = append(b, data[:m]...)
		n -= m
		s.at += m
		if m == len(data) {
			s.bufs, s.at = s.bufs[1:], 0
		}
	}
	return b
}

func appendFrameHeader(b []byte, length int, kind http2.FrameType, flags http2.Flags, stream uint32) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags))
	return binary.BigEndian.AppendUint32(b, stream)
}
