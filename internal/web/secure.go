package web

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	// handshakeTimeout is how long a TLS handshake may take, from the first byte that the client sent.
	handshakeTimeout = 10 * time.Second

	// maxHandshakes is how many TLS handshakes may go on at once on one port. A new one past it takes the
	// place of the oldest: a client that means it is done in milliseconds, so the old ones are those to lose.
	maxHandshakes = 1024
)

// plainToTLS is what a browser or curl is told that speaks plain HTTP to a port of TLS, before it is closed.
const plainToTLS = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" +
	"This port speaks TLS: use https:// in the address.\n"

// How a TLS connection finds its server.
//
// Handshakes happen here, each in a goroutine of its own, and not in the servers: both servers get connections
// that are ready. What follows is chosen by ALPN. HTTP/1.1, or a client that names nothing, goes to HTTP as a
// *tls.Conn. HTTP/2 may be gRPC or JSON, and only the first request tells (opening.go); until it comes, the
// connection waits here. gRPC gets its own transport in either case, which costs half of net/http's.

// secure leads one connection through the handshake and hands it to its branch. It owns the connection.
func (s *Splitter) secure(ctx context.Context, conn sniffed) {
	w := &waiter{conn: conn}
	evicted, ok := s.handshakes.enter(w)
	s.evict(evicted)
	if !ok {
		conn.Close()
		s.crowded(conn)
		return
	}
	_ = conn.SetDeadline(time.Now().Add(s.handshakeTimeout))
	secured := tls.Server(conn, s.tls)
	err := secured.HandshakeContext(ctx)
	taken := s.handshakes.take(w)
	s.handshakes.leave()
	switch {
	case !taken:
		return // Somebody else has closed it to make room.
	case err != nil:
		conn.Close()
		s.failedHandshake(ctx, conn, err)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	acknowledge(conn)
	switch h2 := secured.ConnectionState().NegotiatedProtocol == "h2"; {
	case !h2 && s.noHTTP:
		conn.Close()
	case !h2, s.noGRPC:
		s.http.deliver(ctx, secured, s.timeout)
	case s.noHTTP:
		s.grpc.deliver(ctx, secured, s.timeout)
	default:
		s.awaitRequest(ctx, secured)
	}
}

// awaitRequest waits until the first request of an HTTP/2 connection tells which server it is for. A client
// may take its time: gRPC's connect ahead of their first call.
func (s *Splitter) awaitRequest(ctx context.Context, secured *tls.Conn) {
	// The end of the Splitter closes below TLS, where nothing has to be written first.
	stop := context.AfterFunc(ctx, func() { secured.NetConn().Close() })
	defer stop()
	o := newOpening(secured, s.timeout)
	isGRPC, err := o.read()
	if err != nil {
		secured.NetConn().Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.metrics.SilentClosed.Inc()
		}
		return
	}
	conn := &openedConn{Conn: secured, opening: o.buf}
	if isGRPC {
		s.grpc.deliver(ctx, conn, s.timeout)
	} else {
		s.http.deliver(ctx, openedHTTP{conn, conn.ConnectionState()}, s.timeout)
	}
}

// openedHTTP is an opened connection for net/http, which would speak HTTP/1 to one that lets it see its TLS
// state and is no *tls.Conn. So it takes it for a plain one, and requests are told the state by secured.
type openedHTTP struct {
	net.Conn
	state tls.ConnectionState
}

type stateKey struct{}

// keepState keeps the TLS state of a connection for its requests.
func keepState(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(openedHTTP); ok {
		return context.WithValue(ctx, stateKey{}, &c.state)
	}
	return ctx
}

// secured tells requests of the TLS that net/http does not know of.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if state, ok := r.Context().Value(stateKey{}).(*tls.ConnectionState); ok && r.TLS == nil {
			r.TLS = state
		}
		next.ServeHTTP(w, r)
	})
}

// openedConn is a TLS connection that replays what was read to find out what it carries. It tells its TLS
// state, by which both servers learn who the client is.
//
// Reads must come one after another, as both servers make them; writes may come from anywhere.
type openedConn struct {
	*tls.Conn
	opening []byte
}

// Read implements net.Conn.
func (c *openedConn) Read(p []byte) (int, error) {
	if len(c.opening) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.opening)
	if c.opening = c.opening[n:]; len(c.opening) == 0 {
		c.opening = nil // the buffer has no further use
	}
	return n, nil
}

// failedHandshake tells of a client that did not get in. One that only went away is not worth a line.
func (s *Splitter) failedHandshake(ctx context.Context, conn net.Conn, err error) {
	s.metrics.HandshakeFailed.Inc()
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		s.log.Debug("a client left during the TLS handshake", "remote", conn.RemoteAddr().String())
		return
	}
	if missed, ok := s.handshakeComplaint.due(); ok {
		s.log.Warn("rejected connection on client endpoint", "remote-addr", conn.RemoteAddr().String(), "error", err.Error(),
			"not-logged-before", missed)
	}
}

// refusedPlain closes a connection that speaks plain text where only TLS is spoken.
func (s *Splitter) refusedPlain(conn net.Conn, said speech) {
	if said == speaksHTTP1 {
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // an answer as small as this never waits
		_, _ = io.WriteString(conn, plainToTLS)
	}
	conn.Close()
	if missed, ok := s.plainComplaint.due(); ok {
		s.log.Warn("a client speaks plain text to a port of TLS",
			"remote", conn.RemoteAddr().String(), "local", conn.LocalAddr().String(), "not-logged-before", missed,
			"hint", "use https:// in the client's endpoints")
	}
}
