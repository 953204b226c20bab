package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/keelson-db/keelson/internal/replica"
)

const (
	// dialTimeout is how long one address may take to answer a dial. It is short, so that after a cut a fresh try comes
	// through where an old one waits longer and longer to repeat itself.
	dialTimeout = time.Second
	// resolveTimeout is how long it may take to find the addresses of a name.
	resolveTimeout = 5 * time.Second
	// greetTimeout is how long both greetings may take together, and before them the TLS handshake.
	greetTimeout = 5 * time.Second
	// maxAnswerBytes is the longest head of an answer to a greeting, and as much of a refusal's text, in bytes.
	maxAnswerBytes = 16 << 10
	// unackedTimeout is how long bytes may lie at the other machine's door without a word from it before the connection
	// is given up.
	unackedTimeout = 3 * time.Second
)

// streamPath is where lanes begin, on every member's peer port; the lane's name follows.
const streamPath = "/raft/stream/"

// upgradeTo is what such a connection becomes.
const upgradeTo = "keelson-raft/1"

// laneNames are the lanes' names on the wire.
var laneNames = [replica.Lanes]string{replica.Urgent: "urgent", replica.Bulk: "bulk"}

// connect opens the lane: to one of the member's URLs, tried in turn. It returns the one that it is connected to. The
// error wraps ECONNREFUSED only if nobody listens at any of them.
func (s *sender) connect(ctx context.Context) (net.Conn, string, error) {
	urls := s.remote.addresses()
	if len(urls) == 0 {
		return nil, "", errors.New("the member has no peer URL")
	}
	var failed error
	for _, text := range urls {
		conn, err := s.greet(ctx, text)
		if err == nil {
			return conn, text, nil
		}
		// What is not a refused dial is told rather than one.
		if failed == nil || errors.Is(failed, syscall.ECONNREFUSED) {
			failed = fmt.Errorf("connect to %s: %w", text, err)
		}
		var no *refusal
		if ctx.Err() != nil || errors.As(err, &no) {
			break
		}
	}
	return nil, "", failed
}

// greet dials one URL and exchanges greetings.
func (s *sender) greet(ctx context.Context, text string) (_ net.Conn, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	plain, err := s.dial(ctx, u)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = plain.Close() // the first error is the one to tell
		}
	}()
	defer context.AfterFunc(ctx, func() { _ = plain.Close() })()
	if err := plain.SetDeadline(time.Now().Add(greetTimeout)); err != nil {
		return nil, fmt.Errorf("set the time to greet: %w", err)
	}
	conn, err := s.remote.mesh.secure(ctx, plain, u)
	if err != nil {
		return nil, err
	}
	if err := s.exchange(conn, u); err != nil {
		return nil, err
	}
	if err := plain.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("unset the time to greet: %w", err)
	}
	return conn, nil
}

// dial opens a connection to the socket that a URL names. Right after a connection broke the address is tried where
// it was, without asking for the name again: who is there no longer is known at once then.
func (s *sender) dial(ctx context.Context, u *url.URL) (net.Conn, error) {
	m := s.remote.mesh
	if u.Scheme == "unix" || u.Scheme == "unixs" {
		return m.dialAddress(ctx, "unix", u.Host+u.Path)
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		return nil, err
	}
	if s.last != "" && s.lastURL == u.String() {
		return m.dialAddress(ctx, "tcp", s.last)
	}
	addresses, err := resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	var failed error
	for _, one := range addresses {
		address := net.JoinHostPort(one, port)
		conn, err := m.dialAddress(ctx, "tcp", address)
		if err == nil {
			s.lastURL, s.last = u.String(), address
			return conn, nil
		}
		if failed == nil || errors.Is(failed, syscall.ECONNREFUSED) {
			failed = err
		}
	}
	return nil, failed
}

// resolve returns the addresses of a host, by number.
func resolve(ctx context.Context, host string) ([]string, error) {
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{host}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupHost(ctx, host)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s has no address", host)
	}
	return found, err
}

func (m *Mesh) dialAddress(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := m.o.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	boundUnacked(conn, unackedTimeout)
	return conn, nil
}

// secure makes the connection a TLS one where the URL asks for it.
func (m *Mesh) secure(ctx context.Context, plain net.Conn, u *url.URL) (net.Conn, error) {
	if u.Scheme != "https" && u.Scheme != "unixs" {
		return plain, nil
	}
	if m.o.TLS == nil {
		return nil, errors.New("the URL asks for TLS and this member has no certificates for other members: give it --peer-cert-file and --peer-key-file")
	}
	config := m.o.TLS().Clone()
	config.NextProtos = []string{"http/1.1"}
	if config.ServerName == "" {
		config.ServerName = u.Hostname()
	}
	conn := tls.Client(plain, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("shake hands over TLS: %w", err)
	}
	return conn, nil
}

// exchange says who this member is and judges what the other one answers.
func (s *sender) exchange(conn net.Conn, u *url.URL) error {
	m, host := s.remote.mesh, u.Host
	if u.Scheme == "unix" || u.Scheme == "unixs" {
		host = "localhost" // a path is no host
	}
	request := &http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: streamPath + laneNames[s.lane]}, Host: host, Header: make(http.Header),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", upgradeTo)
	request.Header.Set("User-Agent", "keelson")
	m.greet(request.Header)
	request.Header.Set(headerTo, s.remote.name)
	if err := request.Write(conn); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	from := bufio.NewReader(io.LimitReader(conn, maxAnswerBytes))
	answer, err := http.ReadResponse(from, request)
	if err != nil {
		return fmt.Errorf("wait for the answer to the greeting: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return m.readRefusal(answer, s.remote.id)
	}
	g, err := readGreeting(answer.Header)
	switch {
	case err != nil:
		return err
	case answer.Header.Get(headerCluster) != hex(m.cluster):
		return fmt.Errorf("%w: %.40q", errClusterMismatch, answer.Header.Get(headerCluster))
	case g.From != s.remote.id:
		return fmt.Errorf("%w: %x answers", errToMismatch, g.From)
	case from.Buffered() > 0:
		return errUnwanted
	}
	return m.admit(&g)
}
