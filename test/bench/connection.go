package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// receiveWindow is how many bytes a server may have under way to us, per connection and per stream. It is
// far above what any row transfers between two refills, so that flow control never holds a server back.
const receiveWindow = 1 << 30

// bufferSize is the size in bytes of the read and the write buffer of a connection.
const bufferSize = 256 << 10

// connection speaks HTTP/2 as gRPC uses it, from one goroutine and without locks. Frames to send are
// collected and leave in one write just before the connection would wait for input, so that many requests
// share a system call. Header blocks are encoded once per method: after the first request they consist of
// table indices alone.
type connection struct {
	socket   net.Conn
	in       *bufio.Reader
	out      *bufio.Writer
	framer   *http2.Framer
	host     string
	nextID   uint32
	encoder  *hpack.Encoder
	encoded  bytes.Buffer
	lastPath string
	token    string // sent with every call unless empty; set before the first
	block    []byte // the repeatable header block of lastPath
	decoder  *hpack.Decoder
	status   string // grpc-status of the header block being decoded
	message  string // grpc-message of the header block being decoded

	window       int64 // bytes the peer still accepts on the connection
	streamWindow int64 // bytes the peer accepts on a fresh stream
	maxFrame     int
	maxStreams   uint32
	blocked      []blockedBody // bodies that wait for window, oldest first
	owed         int           // bytes received on the connection since its last refill
}

// blockedBody is the part of a request that the connection window had no room for.
type blockedBody struct {
	stream uint32
	rest   []byte
}

// event is something a stream received: data, or its end.
type event struct {
	stream uint32
	data   []byte // valid until the next call of next
	ended  bool
	err    error // set with ended, when the call failed
}

// dial connects and exchanges settings. The deadline bounds the handshake alone.
func dial(address string, deadline time.Time) (*connection, error) {
	socket, err := (&net.Dialer{Deadline: deadline}).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	c := &connection{
		socket: socket,
		in:     bufio.NewReaderSize(socket, bufferSize),
		out:    bufio.NewWriterSize(socket, bufferSize),
		host:   address, nextID: 1,
		window: 65535, streamWindow: 65535, maxFrame: 16384, maxStreams: 1 << 31,
	}
	c.framer = http2.NewFramer(c.out, c.in)
	c.framer.SetReuseFrames()
	c.encoder = hpack.NewEncoder(&c.encoded)
	c.decoder = hpack.NewDecoder(4096, c.header)
	if err := c.handshake(deadline); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *connection) close() { _ = c.socket.Close() }

func (c *connection) setDeadline(t time.Time) { _ = c.socket.SetDeadline(t) }

// handshake sends the preface and waits for the server's settings, because limits that arrive after the
// first requests would have to be applied to streams already open.
func (c *connection) handshake(deadline time.Time) error {
	c.setDeadline(deadline)
	_, _ = c.out.WriteString(http2.ClientPreface)
	if err := c.framer.WriteSettings(
		http2.Setting{ID: http2.SettingEnablePush, Val: 0},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: receiveWindow},
	); err != nil {
		return fmt.Errorf("send settings: %w", err)
	}
	if err := c.framer.WriteWindowUpdate(0, receiveWindow-65535); err != nil {
		return fmt.Errorf("send settings: %w", err)
	}
	if err := c.out.Flush(); err != nil {
		return fmt.Errorf("send settings: %w", err)
	}
	frame, err := c.framer.ReadFrame()
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok || settings.IsAck() {
		return fmt.Errorf("read settings: the server began with %v", frame.Header())
	}
	return c.applySettings(settings)
}

func (c *connection) applySettings(f *http2.SettingsFrame) error {
	err := f.ForeachSetting(func(s http2.Setting) error {
		switch s.ID {
		case http2.SettingInitialWindowSize:
			c.streamWindow = int64(s.Val)
		case http2.SettingMaxFrameSize:
			c.maxFrame = int(s.Val)
		case http2.SettingMaxConcurrentStreams:
			c.maxStreams = s.Val
		case http2.SettingHeaderTableSize:
			c.encoder.SetMaxDynamicTableSizeLimit(s.Val)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("apply settings: %w", err)
	}
	return c.framer.WriteSettingsAck()
}

// open starts a stream with the given first message (gRPC frame header included). Unless more messages
// follow, last ends our side of the stream.
func (c *connection) open(path string, message []byte, last bool) (uint32, error) {
	id := c.nextID
	c.nextID += 2
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: c.headerBlock(path), EndHeaders: true,
	})
	if err != nil {
		return 0, fmt.Errorf("send headers: %w", err)
	}
	return id, c.send(id, message, last)
}

// send writes one message on an open stream, as far as the connection's window allows; the rest follows
// when the window opens. A message larger than a fresh stream's window is refused: no benchmark needs one
// and a stalled one would read as a slow server. Long streams may send only that much in total.
func (c *connection) send(id uint32, message []byte, last bool) error {
	if int64(len(message)) > c.streamWindow {
		return fmt.Errorf("send message: %d bytes exceed the stream window of %d", len(message), c.streamWindow)
	}
	if len(c.blocked) > 0 || int64(len(message)) > c.window {
		if !last {
			return fmt.Errorf("send message: no window for a message that does not end its stream")
		}
		c.blocked = append(c.blocked, blockedBody{id, bytes.Clone(message)})
		return c.sendBlocked()
	}
	_, err := c.sendData(id, message, last)
	return err
}

// sendData writes what the connection window allows and returns the rest.
func (c *connection) sendData(id uint32, body []byte, last bool) ([]byte, error) {
	for len(body) > 0 && c.window > 0 {
		n := min(len(body), c.maxFrame, int(min(c.window, 1<<30)))
		if err := c.framer.WriteData(id, last && n == len(body), body[:n]); err != nil {
			return nil, fmt.Errorf("send data: %w", err)
		}
		c.window -= int64(n)
		body = body[n:]
	}
	return body, nil
}

func (c *connection) sendBlocked() error {
	for len(c.blocked) > 0 && c.window > 0 {
		head := &c.blocked[0]
		rest, err := c.sendData(head.stream, head.rest, true)
		if err != nil {
			return err
		}
		if head.rest = rest; len(rest) == 0 {
			c.blocked = c.blocked[1:]
		}
	}
	return nil
}

// headerBlock returns the request headers of a method. The first request fills the dynamic table; what the
// encoder makes of the same headers afterwards is only indices and is kept. Another method's headers move
// the table, so only the latest method's block is remembered.
func (c *connection) headerBlock(path string) []byte {
	if path == c.lastPath {
		return c.block
	}
	first := c.encodeHeaders(path)
	c.block, c.lastPath = c.encodeHeaders(path), path
	return first
}

func (c *connection) encodeHeaders(path string) []byte {
	c.encoded.Reset()
	for _, f := range [...]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: path},
		{Name: ":authority", Value: c.host}, {Name: "content-type", Value: "application/grpc"},
		{Name: "user-agent", Value: "keelson-bench"}, {Name: "te", Value: "trailers"},
	} {
		_ = c.encoder.WriteField(f) // a bytes.Buffer does not fail
	}
	if c.token != "" {
		_ = c.encoder.WriteField(hpack.HeaderField{Name: "token", Value: c.token})
	}
	return bytes.Clone(c.encoded.Bytes())
}
