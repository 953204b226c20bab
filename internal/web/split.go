package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/keelson-db/keelson/internal/metrics"
)

const (
	// firstBytesTimeout is how long a connection may stay without saying what it speaks. It is long enough
	// for a browser or a pool that connects ahead of its first request, and short enough that dead
	// connections go away.
	firstBytesTimeout = 30 * time.Second

	// maxUndecided is how many connections may be undecided at once. A new one past it takes the place of
	// the oldest silent one: real clients speak at once, so the silent ones are the ones to lose.
	maxUndecided = 8192

	// keepAlivePeriod is after how much silence the system asks whether the other side still exists.
	keepAlivePeriod = 30 * time.Second

	// acceptBackoffMin and acceptBackoffMax bound the pause after a failed accept, which doubles.
	acceptBackoffMin = 5 * time.Millisecond
	acceptBackoffMax = time.Second

	// complaintInterval is the least time between two log lines of the same complaint about clients.
	complaintInterval = time.Minute
)

// SplitOptions is what a Splitter is built from.
type SplitOptions struct {
	Log     *slog.Logger
	Metrics *metrics.Web

	// TLS makes the Splitter speak TLS. TLSOnly refuses plain text then; without it both are served.
	TLS     *tls.Config
	TLSOnly bool

	// NoGRPC and NoHTTP say that nobody accepts from that branch: its connections are closed.
	NoGRPC, NoHTTP bool

	// HandshakeTimeout and MaxHandshakes replace this package's limits; 0 keeps them.
	HandshakeTimeout time.Duration
	MaxHandshakes    int

	// Slots bound the connections, together with those of other Splitters that have the same; nil is no bound.
	Slots *Slots

	// FirstBytesTimeout and MaxUndecided replace this package's limits; 0 keeps them.
	FirstBytesTimeout time.Duration
	MaxUndecided      int
}

// Splitter parts one listener into two: gRPC, and HTTP. On plain text the HTTP/2 preface tells them apart, under
// TLS the protocol that was agreed upon and the first request (secure.go). It speaks plain text, TLS or both,
// as a connection's first byte asks; one that asks for what is not spoken is closed.
type Splitter struct {
	base    net.Listener
	log     *slog.Logger
	metrics *metrics.Web
	timeout time.Duration

	tls              *tls.Config // nil for plain text alone
	tlsOnly          bool
	noGRPC, noHTTP   bool
	handshakeTimeout time.Duration

	slots      *Slots       // nil for as many connections as come
	waiting    *waitingRoom // connections that have said nothing
	handshakes *waitingRoom // connections in the middle of a TLS handshake
	grpc       *branch
	http       *branch

	tlsComplaint, plainComplaint, handshakeComplaint, crowdComplaint, acceptComplaint, fullComplaint complaint
}

// NewSplitter builds a Splitter of base. Nothing is accepted until Run.
func NewSplitter(base net.Listener, o SplitOptions) *Splitter {
	if o.FirstBytesTimeout == 0 {
		o.FirstBytesTimeout = firstBytesTimeout
	}
	if o.MaxUndecided == 0 {
		o.MaxUndecided = maxUndecided
	}
	if o.HandshakeTimeout == 0 {
		o.HandshakeTimeout = handshakeTimeout
	}
	if o.MaxHandshakes == 0 {
		o.MaxHandshakes = maxHandshakes
	}
	return &Splitter{
		base: base, log: o.Log, metrics: o.Metrics, timeout: o.FirstBytesTimeout,
		tls: o.TLS, tlsOnly: o.TLSOnly, noGRPC: o.NoGRPC, noHTTP: o.NoHTTP, handshakeTimeout: o.HandshakeTimeout,
		slots:      o.Slots,
		waiting:    newWaitingRoom(o.MaxUndecided),
		handshakes: newWaitingRoom(o.MaxHandshakes),
		grpc:       newBranch(base.Addr()),
		http:       newBranch(base.Addr()),
	}
}

// GRPC is the listener of connections that speak HTTP/2. Closing it makes the Splitter close further such
// connections; it does not end the Splitter.
func (s *Splitter) GRPC() net.Listener { return s.grpc }

// HTTP is the listener of all other connections. Closing it is as for GRPC.
func (s *Splitter) HTTP() net.Listener { return s.http }

// Run accepts and parts connections until the context is done, then closes the base listener, what is
// still undecided, and both branches, and returns nil. It returns an error only if somebody else closes
// the base listener; failures to accept are waited out.
func (s *Splitter) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var deciding sync.WaitGroup
	defer func() {
		cancel()
		s.base.Close()
		s.waiting.shut()
		s.handshakes.shut()
		deciding.Wait()
		s.grpc.Close()
		s.http.Close()
	}()
	stop := context.AfterFunc(ctx, func() { s.base.Close() })
	defer stop()

	for backoff := acceptBackoffMin; ; {
		conn, err := s.base.Accept()
		switch {
		case err == nil:
			backoff = acceptBackoffMin
			s.admit(ctx, conn, &deciding)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept client connections: %w", err)
		default:
			s.acceptFailed(ctx, err, backoff)
			backoff = min(2*backoff, acceptBackoffMax)
		}
	}
}

// acceptFailed waits before the next try. When files have run out, one silent connection is given up for
// the next client: the two cannot both be served, and only one of them is known to say nothing.
func (s *Splitter) acceptFailed(ctx context.Context, err error, backoff time.Duration) {
	hint := "the server retries; no connection is lost that was already accepted"
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		hint = "all file descriptors are in use; raise the limit (ulimit -n) or find the client that opens so many"
		s.evict(s.waiting.takeOldest())
	}
	if missed, ok := s.acceptComplaint.due(); ok {
		s.log.Warn("could not accept a client connection", "error", err, "hint", hint, "not-logged-before", missed)
	}
	s.metrics.AcceptFailures.Inc()
	pause := time.NewTimer(backoff)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
}

// admit takes a fresh connection into the waiting room and starts to find out what it speaks.
func (s *Splitter) admit(ctx context.Context, conn net.Conn, deciding *sync.WaitGroup) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		// A connection that is already broken refuses these; its first read tells the same.
		_ = tcp.SetKeepAlive(true)
		_ = tcp.SetKeepAlivePeriod(keepAlivePeriod)
	}
	held, ok := s.place(ctx, conn)
	if !ok {
		conn.Close()
		return
	}
	w := &waiter{conn: newSniffed(conn, held)}
	evicted, ok := s.waiting.enter(w)
	s.evict(evicted)
	if !ok {
		w.conn.Close()
		s.crowded(conn)
		return
	}
	deciding.Go(func() {
		if s.decide(ctx, w) == speaksTLS {
			s.secure(ctx, w.conn)
		}
	})
}

// evict closes a connection that lost its place, if there is one.
func (s *Splitter) evict(w *waiter) {
	if w != nil {
		w.conn.Close()
		s.crowded(w.conn)
	}
}

func (s *Splitter) crowded(conn net.Conn) {
	if missed, ok := s.crowdComplaint.due(); ok {
		s.log.Warn("closed a client connection that had said nothing, to make room for others",
			"remote", conn.RemoteAddr().String(), "not-logged-before", missed,
			"hint", "some client opens very many connections without using them")
	}
	s.metrics.CrowdedClosed.Inc()
}

// decide finds out what one connection speaks and hands it to its branch. It owns the connection from the
// moment the waiting room lets it go. What it returns is speaksTLS if a handshake is left to the caller, who
// then owns the connection.
func (s *Splitter) decide(ctx context.Context, w *waiter) speech {
	defer s.waiting.leave()
	// The deadline is for all first bytes together, so a client cannot stretch it byte by byte.
	_ = w.conn.SetReadDeadline(time.Now().Add(s.timeout))
	said, err := w.conn.sniff()
	if !s.waiting.take(w) {
		return undecided // Somebody else has closed it to make room.
	}
	if err != nil {
		w.conn.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.metrics.SilentClosed.Inc()
		}
		return undecided
	}
	_ = w.conn.SetReadDeadline(time.Time{})
	switch {
	case said == speaksTLS && s.tls != nil:
		return speaksTLS
	case said == speaksTLS:
		w.conn.Close()
		s.refusedTLS(w.conn)
	case s.tlsOnly:
		s.refusedPlain(w.conn, said)
	case said == speaksGRPC && !s.noGRPC:
		s.grpc.deliver(ctx, w.conn, s.timeout)
	case said == speaksHTTP1 && !s.noHTTP:
		s.http.deliver(ctx, w.conn, s.timeout)
	default:
		w.conn.Close() // etcd's port for one of the two closes the other as well
	}
	return undecided
}

func (s *Splitter) refusedTLS(conn net.Conn) {
	if missed, ok := s.tlsComplaint.due(); ok {
		s.log.Warn("a client speaks TLS to a plain-text port",
			"remote", conn.RemoteAddr().String(), "local", conn.LocalAddr().String(), "not-logged-before", missed,
			"hint", "use http:// in the client's endpoints, or https:// in --listen-client-urls")
	}
	s.metrics.TLSClosed.Inc()
}

// complaint keeps a client that misbehaves often from filling the log.
type complaint struct {
	mu     sync.Mutex
	next   time.Time // no line before this
	missed int       // lines not written since the last one
}

// due says whether to log now, and how many times it was not logged since the last line.
func (c *complaint) due() (missed int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Before(c.next) {
		c.missed++
		return 0, false
	}
	missed, c.missed = c.missed, 0
	c.next = now.Add(complaintInterval)
	return missed, true
}
