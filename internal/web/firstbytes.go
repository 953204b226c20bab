package web

import (
	"io"
	"net"
)

// preface is how every HTTP/2 connection begins. The rest of the 24 bytes is left to the gRPC server to
// check; no HTTP/1 request can begin like this, because PRI is reserved.
const preface = "PRI * HTTP/2.0"

// A TLS handshake record begins with its type and the major version.
const (
	tlsHandshake = 0x16
	tlsMajor     = 0x03
)

// speech is what a connection turned out to speak.
type speech int

const (
	undecided speech = iota // too few bytes to tell
	speaksHTTP1
	speaksGRPC
	speaksTLS
)

// classify tells from the first bytes what is spoken. It answers as early as it can: the shortest HTTP/1
// request differs from the preface in its second byte at the latest.
func classify(b []byte) speech {
	n := min(len(b), len(preface))
	switch {
	case len(b) == 0:
		return undecided
	case b[0] == tlsHandshake && len(b) == 1:
		return undecided
	case b[0] == tlsHandshake && b[1] == tlsMajor:
		return speaksTLS
	case string(b[:n]) != preface[:n]:
		return speaksHTTP1
	case n < len(preface):
		return undecided
	default:
		return speaksGRPC
	}
}

// firstBytes are the bytes that were read to find out who shall serve a connection, until they have been
// read again by whoever does.
type firstBytes struct {
	buf  [len(preface)]byte
	read uint8 // bytes of buf that came from the connection
	sent uint8 // bytes of buf that were handed on
}

// sniff reads until it is clear what is spoken.
func (f *firstBytes) sniff(r io.Reader) (speech, error) {
	for {
		n, err := r.Read(f.buf[f.read:])
		f.read += uint8(n)
		if s := classify(f.buf[:f.read]); s != undecided {
			return s, nil
		}
		if err != nil {
			return undecided, err
		}
	}
}

// replay copies what has not been handed on yet; it returns 0 once all has been.
func (f *firstBytes) replay(p []byte) int {
	n := copy(p, f.buf[f.sent:f.read])
	f.sent += uint8(n)
	return n
}

// sniffed is a connection whose first bytes were looked at.
type sniffed interface {
	net.Conn
	sniff() (speech, error)
}

// newSniffed wraps a connection so that it can be looked into and still be read from its beginning.
func newSniffed(c net.Conn, held *slot) sniffed {
	if tcp, ok := c.(*net.TCPConn); ok {
		return &tcpConn{TCPConn: tcp, held: held}
	}
	return &otherConn{Conn: c, held: held}
}

// tcpConn is a TCP connection that replays its first bytes. It embeds the concrete type, so everything a
// server may look for is still there: sendfile, vectored writes, half close, the raw descriptor. After
// the first bytes a Read costs one comparison more than on the bare connection.
//
// Reads must come one after another, as both servers make them; writes may come from anywhere.
type tcpConn struct {
	*net.TCPConn
	first firstBytes
	held  *slot
}

func (c *tcpConn) sniff() (speech, error) { return c.first.sniff(c.TCPConn) }

// Close implements net.Conn.
func (c *tcpConn) Close() error {
	defer c.held.give()
	return c.TCPConn.Close()
}

// Read implements net.Conn.
func (c *tcpConn) Read(p []byte) (int, error) {
	if c.first.sent < c.first.read {
		return c.first.replay(p), nil
	}
	return c.TCPConn.Read(p)
}

// WriteTo implements io.WriterTo. Without it the embedded one would skip the first bytes.
func (c *tcpConn) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(c.first.buf[c.first.sent:c.first.read])
	c.first.sent += uint8(n)
	if err != nil {
		return int64(n), err
	}
	m, err := c.TCPConn.WriteTo(w)
	return int64(n) + m, err
}

// otherConn is any other connection that replays its first bytes: a Unix socket, or memory in tests.
type otherConn struct {
	net.Conn
	first firstBytes
	held  *slot
}

func (c *otherConn) sniff() (speech, error) { return c.first.sniff(c.Conn) }

// Close implements net.Conn.
func (c *otherConn) Close() error {
	defer c.held.give()
	return c.Conn.Close()
}

// Read implements net.Conn.
func (c *otherConn) Read(p []byte) (int, error) {
	if c.first.sent < c.first.read {
		return c.first.replay(p), nil
	}
	return c.Conn.Read(p)
}
