package peer

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	// readBufferBytes is what one read takes from a connection at most, in bytes, and the longest frame that is read
	// without memory of its own.
	readBufferBytes = 64 << 10
	// firstStepBytes is how much memory a longer frame gets before any of it has come, in bytes. What it gets then
	// follows what comes, so that a length which lies reserves nothing.
	firstStepBytes = 1 << 20
)

// reader reads frames from a connection.
type reader struct {
	conn    net.Conn
	timeout time.Duration // how long the connection may be silent
	limit   int           // of a body
	buf     []byte
	at, end int // what has come and was not handed on
}

// newReader reads what came with the request first.
func newReader(conn net.Conn, came []byte, timeout time.Duration, limit int) *reader {
	r := &reader{conn: conn, timeout: timeout, limit: limit, buf: make([]byte, max(readBufferBytes, len(came)))}
	r.end = copy(r.buf, came)
	return r
}

// next returns a frame. The body of one that carries data is the caller's; any other is overwritten by the next call.
func (r *reader) next() (head, []byte, error) {
	if err := r.fill(headBytes); err != nil {
		return head{}, nil, err
	}
	h, err := parseHead(r.buf[r.at:], r.limit)
	if err != nil {
		return h, nil, err
	}
	var first [headBytes]byte
	copy(first[:], r.buf[r.at:])
	body, err := r.body(h)
	if err == nil {
		err = h.check(first[:], body)
	}
	if err == nil && h.flags&flagData != 0 && len(body) <= len(r.buf)-headBytes {
		body = bytes.Clone(body)
	}
	return h, body, err
}

func (r *reader) body(h head) ([]byte, error) {
	if whole := headBytes + int(h.length); whole <= len(r.buf) {
		if err := r.fill(whole); err != nil {
			return nil, err
		}
		body := r.buf[r.at+headBytes : r.at+whole]
		r.at += whole
		return body, nil
	}
	r.at += headBytes
	body := make([]byte, 0, min(int(h.length), firstStepBytes))
	body = append(body, r.buf[r.at:r.end]...)
	r.at, r.end = 0, 0
	for len(body) < int(h.length) {
		if len(body) == cap(body) {
			more := make([]byte, len(body), min(int(h.length), 2*cap(body)))
			copy(more, body)
			body = more
		}
		n, err := r.read(body[len(body):cap(body)])
		if err != nil {
			return nil, err
		}
		body = body[:len(body)+n]
	}
	return body, nil
}

// fill reads until n bytes are there.
func (r *reader) fill(n int) error {
	if r.at == r.end {
		r.at, r.end = 0, 0
	}
	if r.at+n > len(r.buf) {
		r.end = copy(r.buf, r.buf[r.at:r.end])
		r.at = 0
	}
	for r.end-r.at < n {
		m, err := r.read(r.buf[r.end:])
		if err != nil {
			return err
		}
		r.end += m
	}
	return nil
}

// read waits for bytes, for as long as a connection may be silent.
func (r *reader) read(into []byte) (int, error) {
	if err := r.conn.SetReadDeadline(time.Now().Add(r.timeout)); err != nil {
		return 0, fmt.Errorf("set the time to read: %w", err)
	}
	n, err := r.conn.Read(into)
	if n > 0 {
		return n, nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return 0, err
}
