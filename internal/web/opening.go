package web

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
)

const (
	// maxOpeningBytes bounds what a client may send until its server is known: a header of the largest size,
	// and as much of a body as HTTP/2 lets it send unasked.
	maxOpeningBytes = maxHeaderBytes + 2*(64<<10)

	// maxPreludeBytes bounds what a client may send before its first request, in bytes. Clients send a few small
	// frames; what is more would be kept for as long as the client keeps silent.
	maxPreludeBytes = 16 << 10

	// maxOpeningPings is how many pings a minute are answered on a connection that has not asked anything.
	maxOpeningPings = 60

	// openingWriteTimeout is how long a client may take to accept a few bytes.
	openingWriteTimeout = 10 * time.Second
)

// How the first request is found.
//
// Clients of gRPC send nothing but their settings until they have seen ours, so waiting in silence would
// wait for ever. We therefore say "my settings are the defaults", an empty frame, which every server may say,
// and look at the frames that come until one begins a request. Then the server that is chosen reads all of it
// from the beginning and sends settings of its own, which is a change of settings and allowed at any time.
//
// The client acknowledges settings in the order that they came. Our server of HTTP refuses an answer to a
// question that it never asked, so the first acknowledgement is taken out here; a connection for HTTP is not
// handed on before it came. gRPC's server ignores what is too much, and is given the connection at once.
//
// Pings are answered here, so a client may keep an idle connection alive for as long as it likes.

// Frames of HTTP/2, as RFC 9113 numbers them.
const (
	frameHeaderLen = 9
	maxFrameLen    = 16 << 10

	frameHeaders      = 1
	frameSettings     = 4
	framePing         = 6
	frameGoAway       = 7
	frameContinuation = 9

	flagAck        = 1
	flagEndHeaders = 4
	flagPadded     = 8
	flagPriority   = 0x20

	pingLen          = 8
	priorityLen      = 5
	headerTableBytes = 4096 // the table that a client may use before it has seen our settings

	// readAhead is how much room a read is given at least, in bytes.
	readAhead = 256
)

const fullPreface = preface + "\r\n\r\nSM\r\n\r\n"

var errOpening = errors.New("not an HTTP/2 connection")

// opening is the beginning of an HTTP/2 connection, up to its first request.
type opening struct {
	conn    net.Conn
	timeout time.Duration // for everything but the silence before the first request

	buf    []byte // what the server will read: all that came but what was answered here
	at     int    // where the next frame begins
	acked  bool   // our settings were acknowledged
	asked  bool   // the first request has come
	isGRPC bool   // what it is for

	pings     int
	pingsFrom time.Time
}

func newOpening(conn net.Conn, timeout time.Duration) *opening {
	return &opening{conn: conn, timeout: timeout, buf: make([]byte, 0, 512)}
}

// read reads until it is known whether the connection carries gRPC, and may be handed on.
func (o *opening) read() (isGRPC bool, err error) {
	_ = o.conn.SetReadDeadline(time.Now().Add(o.timeout))
	if err := o.fill(len(fullPreface)); err != nil {
		return false, err
	}
	if string(o.buf[:len(fullPreface)]) != fullPreface {
		return false, errOpening
	}
	if err := o.write(appendFrame(nil, frameSettings, 0, nil)); err != nil {
		return false, err
	}
	o.at = len(fullPreface)
	if f, err := o.frame(); err != nil || f.kind != frameSettings || f.flags&flagAck != 0 {
		return false, errors.Join(errOpening, err)
	}
	for !o.asked || !o.isGRPC && !o.acked {
		if err := o.step(); err != nil {
			return false, err
		}
	}
	return o.isGRPC, o.conn.SetReadDeadline(time.Time{})
}

// frame is one frame in the buffer.
type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

// frame reads the frame at o.at and steps behind it.
func (o *opening) frame() (frame, error) {
	if err := o.fill(o.at + frameHeaderLen); err != nil {
		return frame{}, err
	}
	head := o.buf[o.at:]
	length := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	if length > maxFrameLen {
		return frame{}, fmt.Errorf("%w: a frame of %d bytes", errOpening, length)
	}
	end := o.at + frameHeaderLen + length
	if err := o.fill(end); err != nil {
		return frame{}, err
	}
	head = o.buf[o.at:end]
	o.at = end
	return frame{head[3], head[4], binary.BigEndian.Uint32(head[5:9]) & (1<<31 - 1), head[frameHeaderLen:]}, nil
}

// step looks at one more frame.
func (o *opening) step() error {
	if !o.asked && o.at == len(o.buf) {
		// Before its first request a client may be silent for as long as it likes, but not inside a frame.
		_ = o.conn.SetReadDeadline(time.Time{})
		if err := o.fill(o.at + 1); err != nil {
			return err
		}
	}
	_ = o.conn.SetReadDeadline(time.Now().Add(o.timeout))
	start := o.at
	f, err := o.frame()
	if err != nil {
		return err
	}
	switch {
	case f.kind == frameSettings && f.flags&flagAck != 0 && !o.acked:
		o.acked = true
		o.cut(start)
	case f.kind == framePing && f.flags&flagAck == 0:
		err = o.pong(f)
		o.cut(start)
	case f.kind == frameHeaders && !o.asked:
		err = o.request(f)
	case f.kind == frameGoAway:
		err = errOpening
	}
	if !o.asked && o.at > maxPreludeBytes {
		return errors.Join(err, fmt.Errorf("%w: more than %d bytes before the first request", errOpening, maxPreludeBytes))
	}
	return err
}

// request reads the header of the first request.
func (o *opening) request(f frame) error {
	block, err := headerFragment(f)
	if err != nil {
		return err
	}
	block = append([]byte(nil), block...) // the buffer may move while the rest comes
	for f.flags&flagEndHeaders == 0 {
		stream := f.stream
		if f, err = o.frame(); err != nil {
			return err
		}
		if f.kind != frameContinuation || f.stream != stream {
			return errOpening
		}
		block = append(block, f.payload...)
	}
	decoder := hpack.NewDecoder(headerTableBytes, func(h hpack.HeaderField) {
		if h.Name == "content-type" {
			o.isGRPC = isGRPC(h.Value)
		}
	})
	decoder.SetMaxStringLength(maxHeaderBytes)
	_, err = decoder.Write(block)
	if err = errors.Join(err, decoder.Close()); err != nil {
		return fmt.Errorf("%w: %w", errOpening, err)
	}
	o.asked = true
	return nil
}

// headerFragment is what a HEADERS frame has of the header, without padding and priority.
func headerFragment(f frame) ([]byte, error) {
	b, padding := f.payload, 0
	if f.flags&flagPadded != 0 {
		if len(b) == 0 {
			return nil, errOpening
		}
		padding, b = int(b[0]), b[1:]
	}
	if f.flags&flagPriority != 0 {
		if len(b) < priorityLen {
			return nil, errOpening
		}
		b = b[priorityLen:]
	}
	if len(b) < padding {
		return nil, errOpening
	}
	return b[:len(b)-padding], nil
}

// isGRPC reports whether a content type is gRPC's. That of gRPC for the web begins alike and is another.
func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(contentType), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// pong answers a ping.
func (o *opening) pong(f frame) error {
	now := time.Now()
	if now.Sub(o.pingsFrom) > time.Minute {
		o.pings, o.pingsFrom = 0, now
	}
	if o.pings++; o.pings > maxOpeningPings || len(f.payload) != pingLen {
		return fmt.Errorf("%w: too many pings, or wrong ones", errOpening)
	}
	return o.write(appendFrame(nil, framePing, flagAck, f.payload))
}

func (o *opening) write(b []byte) error {
	_ = o.conn.SetWriteDeadline(time.Now().Add(openingWriteTimeout))
	_, err := o.conn.Write(b)
	return errors.Join(err, o.conn.SetWriteDeadline(time.Time{}))
}

// cut takes the frame from start to o.at out of what the server will read.
func (o *opening) cut(start int) {
	o.buf = append(o.buf[:start], o.buf[o.at:]...)
	o.at = start
}

// fill reads until the buffer holds n bytes.
func (o *opening) fill(n int) error {
	if n > maxOpeningBytes {
		return fmt.Errorf("%w: more than %d bytes before it was clear what they are for", errOpening, maxOpeningBytes)
	}
	for len(o.buf) < n {
		o.buf = slices.Grow(o.buf, max(n-len(o.buf), readAhead))
		m, err := o.conn.Read(o.buf[len(o.buf):cap(o.buf)])
		o.buf = o.buf[:len(o.buf)+m]
		if err != nil && len(o.buf) < n {
			return err
		}
	}
	return nil
}

// appendFrame appends a frame of the connection itself.
func appendFrame(b []byte, kind, flags byte, payload []byte) []byte {
	b = append(b, 0, 0, byte(len(payload)), kind, flags, 0, 0, 0, 0)
	return append(b, payload...)
}
