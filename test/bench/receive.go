package main

import (
	"fmt"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// next waits for the next thing that concerns a stream and deals with everything that concerns the
// connection itself. Frames collected for sending leave before it waits.
func (c *connection) next() (event, error) {
	for {
		if c.in.Buffered() == 0 {
			if err := c.out.Flush(); err != nil {
				return event{}, fmt.Errorf("send: %w", err)
			}
		}
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return event{}, fmt.Errorf("read frame: %w", err)
		}
		switch f := frame.(type) {
		case *http2.DataFrame:
			if err := c.received(int(f.Length)); err != nil {
				return event{}, err
			}
			e := event{stream: f.StreamID, data: f.Data(), ended: f.StreamEnded()}
			if e.ended {
				e.err = fmt.Errorf("stream ended without a status")
			}
			return e, nil
		case *http2.HeadersFrame:
			ended, callErr, err := c.headers(f)
			if err != nil {
				return event{}, err
			}
			if ended {
				return event{stream: f.StreamID, ended: true, err: callErr}, nil
			}
		case *http2.RSTStreamFrame:
			return event{stream: f.StreamID, ended: true, err: fmt.Errorf("stream reset: %v", f.ErrCode)}, nil
		default:
			if err := c.control(frame); err != nil {
				return event{}, err
			}
		}
	}
}

// control handles the frames that belong to no call.
func (c *connection) control(frame http2.Frame) error {
	switch f := frame.(type) {
	case *http2.WindowUpdateFrame:
		if f.StreamID != 0 {
			return nil // no message is larger than a fresh stream's window
		}
		c.window += int64(f.Increment)
		return c.sendBlocked()
	case *http2.PingFrame:
		if f.IsAck() {
			return nil
		}
		return c.framer.WritePing(true, f.Data)
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		return c.applySettings(f)
	case *http2.GoAwayFrame:
		return fmt.Errorf("server closes the connection: %v %s", f.ErrCode, f.DebugData())
	}
	return nil
}

// headers decodes a header block, which must be done for each of them to keep the table in step, and
// reports whether it ended the call and with what status.
func (c *connection) headers(f *http2.HeadersFrame) (ended bool, callErr, err error) {
	if !f.HeadersEnded() {
		return false, nil, fmt.Errorf("read headers: a continued header block is not supported")
	}
	c.status, c.message = "", ""
	if _, err := c.decoder.Write(f.HeaderBlockFragment()); err != nil {
		return false, nil, fmt.Errorf("decode headers: %w", err)
	}
	if err := c.decoder.Close(); err != nil {
		return false, nil, fmt.Errorf("decode headers: %w", err)
	}
	if !f.StreamEnded() {
		return false, nil, nil
	}
	if c.status != "0" {
		callErr = &refusal{status: c.status, message: c.message}
	}
	return true, callErr, nil
}

// refusal is a call that the server answered with an error.
type refusal struct{ status, message string }

func (r *refusal) Error() string { return fmt.Sprintf("grpc-status %q: %s", r.status, r.message) }

func (c *connection) header(f hpack.HeaderField) {
	switch f.Name {
	case "grpc-status":
		c.status = f.Value
	case "grpc-message":
		c.message = f.Value
	}
}

// received refills the connection's receive window once half of it is used.
func (c *connection) received(n int) error {
	c.owed += n
	if c.owed < receiveWindow/2 {
		return nil
	}
	owed := c.owed
	c.owed = 0
	return c.framer.WriteWindowUpdate(0, uint32(owed))
}

// call makes one unary call and returns the reply's message.
func (c *connection) call(path string, message []byte) ([]byte, error) {
	id, err := c.open(path, message, true)
	if err != nil {
		return nil, err
	}
	var body []byte
	for {
		e, err := c.next()
		if err != nil {
			return nil, err
		}
		if e.stream != id {
			continue
		}
		body = append(body, e.data...)
		if !e.ended {
			continue
		}
		if e.err != nil {
			return nil, e.err
		}
		var reply []byte
		rest, err := splitMessages(body, func(m []byte) error { reply = m; return nil })
		if err != nil {
			return nil, err
		}
		if reply == nil || len(rest) > 0 {
			return nil, fmt.Errorf("read reply: %d bytes are not one message", len(body))
		}
		return reply, nil
	}
}
