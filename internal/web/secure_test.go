package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/certs"
)

// securePort is a TLS port with both servers behind it.
type securePort struct {
	*split
	pair   tls.Certificate
	client *tls.Config

	mu    sync.Mutex
	peers []string // of gRPC calls: what was known of the client
	asked []string // requests of HTTP: protocol, path, whether TLS is known, length of the body
}

// startSecure serves a port of TLS. Clients may show any certificate: here only the way of what was verified
// is looked at.
func startSecure(t *testing.T, o SplitOptions) *securePort {
	t.Helper()
	cert, key, err := certs.SelfSigned(t.TempDir(), []string{"127.0.0.1"}, 1, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p := &securePort{client: &tls.Config{RootCAs: x509.NewCertPool()}}
	if p.pair, err = tls.LoadX509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	p.client.RootCAs.AddCert(p.pair.Leaf)
	if o.TLS == nil {
		o.TLS = &tls.Config{Certificates: []tls.Certificate{p.pair}, NextProtos: []string{"h2", "http/1.1"}, ClientAuth: tls.RequestClientCert}
	}
	p.split = startSplit(t, nil, o)
	server := grpc.NewServer(grpc.Creds(Credentials()), grpc.UnaryInterceptor(p.notePeer))
	healthpb.RegisterHealthServer(server, grpchealth.NewServer())
	web := NewServer(http.HandlerFunc(p.noteRequest), slog.New(slog.DiscardHandler))
	go server.Serve(p.GRPC())
	go web.Serve(p.HTTP())
	t.Cleanup(func() { server.Stop(); web.Close() })
	return p
}

func (p *securePort) notePeer(ctx context.Context, in any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	known := "plain"
	if who, ok := peer.FromContext(ctx); ok {
		if info, ok := who.AuthInfo.(credentials.TLSInfo); ok {
			known = fmt.Sprintf("TLS %s, %d certificates", info.State.NegotiatedProtocol, len(info.State.PeerCertificates))
		}
	}
	p.mu.Lock()
	p.peers = append(p.peers, known)
	p.mu.Unlock()
	return next(ctx, in)
}

func (p *securePort) noteRequest(w http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	p.mu.Lock()
	p.asked = append(p.asked, fmt.Sprintf("%s %s TLS %t %d", r.Proto, r.URL.Path, r.TLS != nil, n))
	p.mu.Unlock()
	io.WriteString(w, "hello")
}

func (p *securePort) notes() (peers, asked string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.peers, "; "), strings.Join(p.asked, "; ")
}

// call makes a call of gRPC on a connection of its own.
func (p *securePort) call(creds credentials.TransportCredentials) error {
	p.t.Helper()
	conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

// httpClient speaks the protocols it is told to.
func (p *securePort) httpClient(h2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetHTTP2(h2)
	transport := &http.Transport{TLSClientConfig: p.client.Clone(), Protocols: protocols}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

func (p *securePort) post(c *http.Client, path, contentType string, size int) *http.Response {
	p.t.Helper()
	resp, err := c.Post("https://"+p.addr+path, contentType, bytes.NewReader(make([]byte, size)))
	if err != nil {
		p.t.Fatalf("%s: %v", path, err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		p.t.Fatalf("%s: %v", path, err)
	}
	return resp
}

func TestAllClientsShareOnePortUnderTLS(t *testing.T) {
	p := startSecure(t, SplitOptions{TLSOnly: true})
	if err := p.call(credentials.NewTLS(p.client)); err != nil {
		t.Error(err)
	}
	withCert := p.client.Clone()
	withCert.Certificates = []tls.Certificate{p.pair}
	if err := p.call(credentials.NewTLS(withCert)); err != nil {
		t.Error(err)
	}
	if peers, _ := p.notes(); peers != "TLS h2, 0 certificates; TLS h2, 1 certificates" {
		t.Errorf("gRPC knows of its clients: %s", peers)
	}
	h1, h2 := p.httpClient(false), p.httpClient(true)
	for _, size := range []int{0, 10, 100_000, 1_000_000} {
		p.post(h1, fmt.Sprint("/h1/", size), "application/json", size)
		p.post(h2, fmt.Sprint("/h2/", size), "application/json", size)
	}
	want := "HTTP/1.1 /h1/0 TLS true 0; HTTP/2.0 /h2/0 TLS true 0; HTTP/1.1 /h1/10 TLS true 10; HTTP/2.0 /h2/10 TLS true 10; " +
		"HTTP/1.1 /h1/100000 TLS true 100000; HTTP/2.0 /h2/100000 TLS true 100000; HTTP/1.1 /h1/1000000 TLS true 1000000; HTTP/2.0 /h2/1000000 TLS true 1000000"
	if _, asked := p.notes(); asked != want {
		t.Errorf("HTTP was asked\n got  %s\n want %s", asked, want)
	}
	// A large first request fills the windows that HTTP/2 begins with before anybody reads it.
	p.post(p.httpClient(true), "/first", "application/json", 1_000_000)
	// A client that names no protocol speaks HTTP/1.1.
	plain := p.client.Clone()
	conn, err := tls.Dial("tcp", p.addr, plain)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if data, _ := io.ReadAll(conn); !strings.HasPrefix(string(data), "HTTP/1.1 200 OK") {
		t.Errorf("without ALPN: %q", data)
	}
}

func TestAConnectionKeepsToWhatItBeganWith(t *testing.T) {
	p := startSecure(t, SplitOptions{TLSOnly: true})
	h2 := p.httpClient(true)
	p.post(h2, "/json", "application/json", 1)
	resp := p.post(h2, "/etcdserverpb.KV/Range", "application/grpc", 5)
	if resp.StatusCode != 200 || resp.Header.Get("Grpc-Status") != "14" || resp.Header.Get("Content-Type") != "application/grpc" {
		t.Errorf("gRPC after JSON: %d %v", resp.StatusCode, resp.Header)
	}
	if resp := p.post(h2, "/grpc-web", "application/grpc-web+proto", 5); resp.Header.Get("Grpc-Status") != "" {
		t.Errorf("gRPC for the web was taken for gRPC: %v", resp.Header)
	}
	eventually(t, "a proxy that mixes the two gets another connection for gRPC", func() bool {
		return p.post(h2, "/grpc.health.v1.Health/Check", "application/grpc", 5).Header.Get("Grpc-Message") == ""
	})
	h2 = p.httpClient(true)
	if resp := p.post(h2, "/grpc.health.v1.Health/Check", "application/grpc", 5); resp.StatusCode != 200 || resp.ProtoMajor != 2 {
		t.Errorf("gRPC by hand: %d", resp.StatusCode)
	}
	if resp := p.post(h2, "/v3/kv/range", "application/json", 5); resp.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("JSON after gRPC: %d", resp.StatusCode)
	}
}

// TestAConnectionMayWaitWithItsFirstCall connects ahead, as gRPC's clients do, and keeps the connection alive.
func TestAConnectionMayWaitWithItsFirstCall(t *testing.T) {
	p := startSecure(t, SplitOptions{TLSOnly: true, FirstBytesTimeout: 200 * time.Millisecond})
	conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(credentials.NewTLS(p.client)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: time.Second, PermitWithoutStream: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn.Connect()
	for s := conn.GetState(); s != connectivity.Ready; s = conn.GetState() {
		if !conn.WaitForStateChange(ctx, s) {
			t.Fatal("gRPC waits for settings that do not come")
		}
	}
	quiet, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	if conn.WaitForStateChange(quiet, connectivity.Ready) {
		t.Fatal("a connection that waits was closed")
	}
	if _, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
}

func TestPlainTextOnATLSPort(t *testing.T) {
	p := startSecure(t, SplitOptions{TLSOnly: true})
	c := p.dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	c.SetReadDeadline(time.Now().Add(patience))
	if data, _ := io.ReadAll(c); string(data) != plainToTLS {
		t.Errorf("the answer is %q", data)
	}
	if err := p.call(insecure.NewCredentials()); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
	if n := p.log.count("a client speaks plain text to a port of TLS"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

func TestOnePortMaySpeakBoth(t *testing.T) {
	p := startSecure(t, SplitOptions{})
	for _, creds := range []credentials.TransportCredentials{insecure.NewCredentials(), credentials.NewTLS(p.client)} {
		if err := p.call(creds); err != nil {
			t.Error(err)
		}
	}
	p.post(p.httpClient(true), "/s", "", 0)
	resp, err := http.Get("http://" + p.addr + "/p")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if peers, asked := p.notes(); peers != "plain; TLS h2, 0 certificates" || asked != "HTTP/2.0 /s TLS true 0; HTTP/1.1 /p TLS false 0" {
		t.Errorf("gRPC %s\nHTTP %s", peers, asked)
	}
}

func TestPortsForOneOfTheTwo(t *testing.T) {
	p := startSecure(t, SplitOptions{NoGRPC: true})
	p.post(p.httpClient(false), "/1", "", 0)
	p.post(p.httpClient(true), "/2", "", 0)
	if err := p.call(insecure.NewCredentials()); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
	p = startSecure(t, SplitOptions{NoHTTP: true})
	for _, creds := range []credentials.TransportCredentials{insecure.NewCredentials(), credentials.NewTLS(p.client)} {
		if err := p.call(creds); err != nil {
			t.Error(err)
		}
	}
	if _, err := p.httpClient(false).Get("https://" + p.addr); err == nil {
		t.Error("HTTP on a port for gRPC alone")
	}
	closedByServer(t, p.dial("GET / HTTP/1.1\r\n\r\n"))
}

func TestHandshakesThatDoNotEndAreEnded(t *testing.T) {
	p := startSecure(t, SplitOptions{TLSOnly: true, HandshakeTimeout: 50 * time.Millisecond})
	hello := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" // says that 512 bytes follow
	for _, first := range []string{"\x16\x03", hello, hello + strings.Repeat("x", 600), "\x16\x03\x01\x00\x05hello"} {
		c := p.dial(first)
		c.SetReadDeadline(time.Now().Add(patience))
		if answer, err := io.ReadAll(c); isTimeout(err) || len(answer) > 7 { // an alert at most
			t.Errorf("%q: %q, %v", first, answer, err)
		}
	}
	eventually(t, "failed handshakes are counted", func() bool { return count(p.metrics.HandshakeFailed) == 4 })
	if n := p.log.count("rejected connection on client endpoint"); n != 1 {
		t.Errorf("told %d times", n)
	}
	if err := p.call(credentials.NewTLS(p.client)); err != nil {
		t.Error(err)
	}
}

func TestTheOldestHandshakeMakesRoom(t *testing.T) {
	p := startSecure(t, SplitOptions{TLSOnly: true, MaxHandshakes: 16})
	var halves []net.Conn
	for range 400 {
		halves = append(halves, p.dial("\x16\x03\x01\x02"))
	}
	for range 20 {
		// While the halves are still being taken in, one of them may push out a client that means it: it tries again.
		eventually(t, "a client gets in", func() bool { return p.call(credentials.NewTLS(p.client)) == nil })
	}
	for _, c := range halves[:350] {
		closedByServer(t, c)
	}
	for range 500 {
		p.dial("") // silent ones wait elsewhere
	}
	if err := p.call(credentials.NewTLS(p.client)); err != nil {
		t.Error(err)
	}
}

func TestStoppingClosesSecureConnectionsToo(t *testing.T) {
	p := startSecure(t, SplitOptions{TLSOnly: true})
	half := p.dial("\x16\x03\x01\x02")
	config := p.client.Clone()
	config.NextProtos = []string{"h2"}
	waiting, err := tls.Dial("tcp", p.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	waiting.Write(appendFrame([]byte(fullPreface), frameSettings, 0, nil))
	if _, err := io.ReadFull(waiting, make([]byte, frameHeaderLen)); err != nil {
		t.Fatal(err)
	}
	p.cancel()
	closedByServer(t, half)
	closedByServer(t, waiting)
}
