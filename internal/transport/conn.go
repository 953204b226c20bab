package transport

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/peer"
)

const (
	// maxFrameBytes is the size of the largest frame that we read or send, in bytes; it is what HTTP/2 begins with.
	maxFrameBytes = 16 << 10
	// frameHeaderBytes is the length of what stands before each frame.
	frameHeaderBytes = 9
	// defaultWindow is the size in bytes of a window that nobody has said anything about.
	defaultWindow = 65535
	// maxWindow is the size in bytes that no window may pass.
	maxWindow = 1<<31 - 1
	// streamWindow is how much a client may send on a stream before the call has taken it, in bytes. A message that is
	// longer is let in as a whole.
	streamWindow = defaultWindow
	// connWindow is how much a client may send before we have read it, in bytes on all streams together. It is given
	// back as soon as it was read, so that one slow call does not hold up the others.
	connWindow = 1 << 20
	// readBufferBytes is how much is read from a connection at once.
	readBufferBytes = 16 << 10
	// lingerTime is how long a client may take to close a connection that we are done with.
	lingerTime = time.Second
	// maxLeftStreams is how many streams are remembered that we ended before the client did: what was on its way
	// on them is no fault.
	maxLeftStreams = 128
)

// conn is one connection.
type conn struct {
	server  *Server
	raw     net.Conn // as it was accepted
	net     net.Conn // as it is after the handshake
	peer    peer.Peer
	in      *bufio.Reader
	framer  *http2.Framer // reads from in, and appends to what is pending
	readAt  atomic.Int64  // when something came, in nanoseconds of the Unix clock
	request requestReader
	recent  *call // the newest call; only the reader looks
	pings   pingJudge

	out output // its lock guards what follows

	calls     map[uint32]*call // whose streams are open
	open      int              // calls that count against the limit
	abandoned int              // calls without a stream whose handlers still run
	lastID    uint32           // the highest stream that a client has opened
	left      [maxLeftStreams]uint32
	leftNext  int

	initialWindow int64 // what the client lets us send on a new stream
	maxHeaderList uint32
	shrinkTable   bool // the next header begins with the news that we use no dynamic table
	recvWindow    int  // what the client may still send
	sent          bool // something was sent since the last ping of the client

	greeted     bool        // the client has said its settings
	draining    bool        // a stop has begun
	drainAgain  *time.Timer // until the second GOAWAY
	lastAllowed uint32      // no stream above is served any more; 0 before the second GOAWAY
	ended       bool        // the last call is over, and the client is to close
	keepalive   *time.Timer
	pinged      time.Time // when we asked whether the client is there; zero when it has answered
}

func newConn(s *Server, raw net.Conn) *conn {
	c := &conn{
		server: s, raw: raw, net: raw, calls: map[uint32]*call{},
		initialWindow: defaultWindow, recvWindow: connWindow, maxHeaderList: 1<<32 - 1,
	}
	c.out.pool, c.out.window = &s.buffers, defaultWindow
	c.out.written.L = &c.out.Mutex
	return c
}

// serve speaks with the client until one side closes the connection.
func (c *conn) serve() {
	err := c.greet()
	if err == nil {
		err = c.read()
	}
	c.teardown(err)
}

// greet makes the handshake and exchanges settings.
func (c *conn) greet() error {
	_ = c.raw.SetDeadline(time.Now().Add(c.server.o.HandshakeTimeout)) // a broken connection tells at its first read
	if creds := c.server.o.Credentials; creds != nil {
		var err error
		if c.net, c.peer.AuthInfo, err = creds.ServerHandshake(c.raw); err != nil {
			c.net = c.raw
			return err
		}
	}
	c.peer.Addr, c.peer.LocalAddr = c.net.RemoteAddr(), c.net.LocalAddr()
	c.in = bufio.NewReaderSize(source{c}, readBufferBytes)
	c.out.to = c.net
	c.framer = http2.NewFramer(&c.out, c.in)
	c.framer.SetMaxReadFrameSize(maxFrameBytes)
	c.request.init()
	c.out.Lock()
	c.sayHello()
	c.out.push()
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.in, preface); err != nil {
		return err
	}
	if string(preface) != http2.ClientPreface {
		return protocolError("not an HTTP/2 connection")
	}
	head, err := c.framer.ReadFrameHeader()
	if err != nil {
		return readError(err)
	}
	if head.Type != http2.FrameSettings || head.Flags.Has(http2.FlagSettingsAck) {
		return protocolError("the first frame is not SETTINGS")
	}
	if err := c.readFrame(head); err != nil {
		return err
	}
	c.out.Lock()
	defer c.out.Unlock()
	c.greeted = true
	c.startKeepalive()
	return c.raw.SetDeadline(time.Time{})
}

// sayHello appends our settings.
func (c *conn) sayHello() {
	settings := []http2.Setting{{ID: http2.SettingMaxHeaderListSize, Val: maxHeaderListBytes}}
	if n := c.server.o.MaxConcurrentStreams; n != 1<<32-1 {
		settings = append(settings, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: n})
	}
	_ = c.framer.WriteSettings(settings...) // output.Write never fails
	_ = c.framer.WriteWindowUpdate(0, connWindow-defaultWindow)
}

// source is where the reader reads from.
type source struct{ *conn }

// Read implements io.Reader. Before it waits for the client it has written what the client is to hear, all answers
// to what came together in one piece; then it notes when something came.
func (s source) Read(b []byte) (int, error) {
	s.out.Lock()
	s.out.pushElsewhere()
	n, err := s.net.Read(b)
	s.readAt.Store(time.Now().UnixNano())
	return n, err
}

// close ends the connection at once. The lock must not be held.
func (c *conn) close() {
	c.raw.Close()
	c.out.Lock()
	defer c.out.Unlock()
	c.out.fail(errClosing)
}

// teardown ends the calls, tells the client why if it was its fault, and closes.
func (c *conn) teardown(cause error) {
	c.out.Lock()
	c.stopTimers()
	for id, k := range c.calls {
		delete(c.calls, id)
		c.leave(k)
		k.cancel()
	}
	var fault connError
	if errors.As(cause, &fault) && c.out.to != nil {
		_ = c.framer.WriteGoAway(c.lastID, fault.code, []byte(fault.reason))
		_ = c.net.SetWriteDeadline(time.Now().Add(lingerTime))
		c.out.push()
		c.linger()
		c.out.Lock()
	}
	c.out.fail(errClosing)
	c.out.Unlock()
	c.net.Close()
}

// linger lets the client read our last frames: a connection that is closed with something unread is reset, and
// they would be lost.
func (c *conn) linger() {
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		c.out.Lock()
		for (c.out.writing || len(c.out.pending) > 0) && c.out.err == nil {
			c.out.written.Wait()
		}
		c.out.Unlock()
		_ = half.CloseWrite()
	}
	_ = c.net.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.Copy(io.Discard, io.LimitReader(c.net, connWindow))
}

// leave takes a call out of the connection's books whose stream has just ended. The lock is held.
func (c *conn) leave(k *call) {
	k.closed = true
	delete(c.calls, k.id)
	k.in.drop()
	if k.started && !k.returned {
		c.abandoned++
		return
	}
	c.forget()
}

// forget counts a call no longer: its stream has ended and its handler has returned. The lock is held.
func (c *conn) forget() {
	c.open--
	c.endIfDone()
	c.out.written.Broadcast()
}

// remember notes a stream that we have ended before the client did.
func (c *conn) remember(id uint32) {
	c.left[c.leftNext%maxLeftStreams] = id
	c.leftNext++
}

// weLeft reports whether a stream was ended by us, as far as we remember.
func (c *conn) weLeft(id uint32) bool {
	for _, l := range c.left {
		if l == id {
			return true
		}
	}
	return false
}

// resetStream ends a stream with an error. The lock is held; k is nil if there is no call of that stream.
func (c *conn) resetStream(id uint32, code http2.ErrCode, k *call) {
	if c.out.err == nil {
		_ = c.framer.WriteRSTStream(id, code)
		c.out.answer()
	}
	if k != nil {
		c.leave(k)
	}
	c.remember(id)
}
