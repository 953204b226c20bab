package frames

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
	firstStepBytes = 4 << 20
)

// Reader reads frames from a connection.
type Reader struct {
	conn    net.Conn
	timeout time.Duration // how long the connection may be silent
	limit   int           // of a body
	buf     []byte
	at, end int // what has come and was not handed on
}

// NewReader reads what came with the request first.
func NewReader(conn net.Conn, came []byte, timeout time.Duration, limit int) *Reader {
	r := &Reader{conn: conn, timeout: timeout, limit: limit, buf: make([]byte, max(readBufferBytes, len(came)))}
	r.end = copy(r.buf, came)
	return r
}

// Next returns a frame. The body is overwritten by the next call, apart from the bytes that messages unpacked
// from it refer to.
func (r *Reader) Next() (Kind, []byte, error) {
	if err := r.fill(HeadBytes); err != nil {
		return 0, nil, err
	}
	h, err := parseHead(r.buf[r.at:], r.limit)
	if err != nil {
		return 0, nil, err
	}
	var first [HeadBytes]byte
	copy(first[:], r.buf[r.at:])
	body, err := r.body(h)
	if err == nil {
		err = h.check(first[:], body)
	}
	if err == nil && h.flags&flagData != 0 && len(body) <= len(r.buf)-HeadBytes {
		body = bytes.Clone(body)
	}
	return h.kind, body, err
}

func (r *Reader) body(h head) ([]byte, error) {
	if whole := HeadBytes + int(h.length); whole <= len(r.buf) {
		if err := r.fill(whole); err != nil {
			return nil, err
		}
		body := r.buf[r.at+HeadBytes : r.at+whole]
		r.at += whole
		return body, nil
	}
	r.at += HeadBytes
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
func (r *Reader) fill(n int) error {
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
func (r *Reader) read(into []byte) (int, error) {
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
