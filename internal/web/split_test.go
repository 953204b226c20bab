package web

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/keelson-db/keelson/internal/metrics"
)

// patience is how long a test waits for something that should happen at once.
const patience = 10 * time.Second

// logBuffer is a log that a test can read while others write it.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) count(line string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), line)
}

// split is a Splitter that runs on a loopback port until the test ends.
type split struct {
	*Splitter
	t       *testing.T
	addr    string
	log     *logBuffer
	metrics *metrics.Web
	cancel  context.CancelFunc
	ended   chan error // what Run returned
}

func startSplit(t *testing.T, base net.Listener, o SplitOptions) *split {
	t.Helper()
	if base == nil {
		var err error
		if base, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	s := &split{t: t, addr: base.Addr().String(), log: &logBuffer{}, metrics: metrics.New().Web, ended: make(chan error, 1)}
	o.Log, o.Metrics = slog.New(slog.NewTextHandler(s.log, nil)), s.metrics
	s.Splitter = NewSplitter(base, o)
	ctx, cancel := context.WithCancel(t.Context())
	s.cancel = cancel
	go func() { s.ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-s.ended:
		case <-time.After(patience):
			t.Error("the splitter does not end")
		}
	})
	return s
}

// dial opens a connection and sends what it is given.
func (s *split) dial(first string) net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, first); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// acceptFrom is the next connection of one branch.
func acceptFrom(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	type result struct {
		conn net.Conn
		err  error
	}
	ch := make(chan result, 1)
	go func() { c, err := l.Accept(); ch <- result{c, err} }()
	select {
	case r := <-ch:
		if r.err != nil {
			t.Fatal(r.err)
		}
		t.Cleanup(func() { r.conn.Close() })
		return r.conn
	case <-time.After(patience):
		t.Fatal("no connection arrives")
		return nil
	}
}

// closedByServer waits until the server has closed c.
func closedByServer(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	_, err := c.Read(make([]byte, 1))
	if err == nil || errors.Is(err, syscall.ETIMEDOUT) || isTimeout(err) {
		t.Fatalf("the connection is still open: %v", err)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// eventually waits for a condition that another goroutine makes true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never: %s", what)
		}
	}
}

// count reads a counter by scraping it alone.
func count(c prometheus.Counter) int {
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		panic(err)
	}
	return int(families[0].GetMetric()[0].GetCounter().GetValue())
}

func TestGRPCAndHTTPShareOnePort(t *testing.T) {
	s := startSplit(t, nil, SplitOptions{})
	rpc := grpc.NewServer()
	healthpb.RegisterHealthServer(rpc, grpchealth.NewServer())
	go rpc.Serve(s.GRPC())
	defer rpc.Stop()
	web := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	}), slog.New(slog.DiscardHandler))
	go web.Serve(s.HTTP())
	defer web.Close()

	conn, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := healthpb.NewHealthClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 20 {
		reply, err := client.Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err != nil || reply.Status != healthpb.HealthCheckResponse_SERVING {
			t.Fatalf("gRPC answers %v, %v", reply, err)
		}
		body := strings.Repeat("a long body ", 10_000)
		resp, err := http.Post("http://"+s.addr+"/", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(got) != body {
			t.Fatalf("HTTP answers %d bytes, %v; want the %d that were sent", len(got), err, len(body))
		}
	}
}

func TestFirstBytesDecide(t *testing.T) {
	const rest = "\r\n\r\nSM\r\n\r\nand then something longer than any buffer in between"
	for _, c := range []struct {
		first string
		want  speech
	}{
		{"", undecided},
		{"P", undecided},
		{"PRI * HTTP/2.", undecided},
		{"PRI * HTTP/2.0", speaksGRPC},
		{"PRI * HTTP/2.0" + rest, speaksGRPC},
		{"PRI * HTTP/1.1", speaksHTTP1},
		{"GET / HTTP/1.1\r\n", speaksHTTP1},
		{"G", speaksHTTP1},
		{"PUT", speaksHTTP1},
		{"PROPFIND", speaksHTTP1},
		{"pri", speaksHTTP1},
		{"\x00\x00\x00", speaksHTTP1},
		{"\x16", undecided},
		{"\x16\x03\x01\x02\x00\x01", speaksTLS},
		{"\x16\x04", speaksHTTP1},
	} {
		if got := classify([]byte(c.first)); got != c.want {
			t.Errorf("%q is %v, want %v", c.first, got, c.want)
		}
	}
}

func FuzzClassifyNeverChangesItsMind(f *testing.F) {
	for _, seed := range []string{"", "P", preface, "PRI * HTTP/1.1", "GET /", "\x16", "\x16\x03\x01", "\x16\x02"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		decided := undecided
		for n := range len(b) + 1 {
			got := classify(b[:n])
			if decided != undecided && got != decided {
				t.Fatalf("%q was %v and became %v after %d bytes", b, decided, got, n)
			}
			if got == undecided && n >= len(preface) {
				t.Fatalf("%q is undecided after %d bytes", b, n)
			}
			decided = got
		}
	})
}

func TestTheServerReadsExactlyWhatTheClientSent(t *testing.T) {
	s := startSplit(t, nil, SplitOptions{})
	for _, c := range []struct {
		name, sent string
		branch     net.Listener
	}{
		{"gRPC", preface + "\r\n\r\nSM\r\n\r\n" + strings.Repeat("frame", 5000), s.GRPC()},
		{"HTTP", "PUT /" + strings.Repeat("x", 20000), s.HTTP()},
	} {
		for _, size := range []int{1, 3, len(preface), 4096} {
			client := s.dial("")
			go func() {
				for _, b := range []byte(c.sent[:len(preface)]) { // One packet a byte, as far as TCP lets it.
					client.Write([]byte{b})
				}
				io.WriteString(client, c.sent[len(preface):])
				client.(*net.TCPConn).CloseWrite()
			}()
			server := acceptFrom(t, c.branch)
			var got []byte
			for buf := make([]byte, size); ; {
				n, err := server.Read(buf)
				got = append(got, buf[:n]...)
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if string(got) != c.sent {
				t.Errorf("%s, read %d bytes at a time: %d bytes arrive, want the %d sent", c.name, size, len(got), len(c.sent))
			}
		}
	}
}

func TestASplitConnectionIsStillATCPConnection(t *testing.T) {
	s := startSplit(t, nil, SplitOptions{})
	client := s.dial("GET / and more")
	server := acceptFrom(t, s.HTTP())
	if _, ok := server.(interface {
		io.ReaderFrom
		syscall.Conn
		CloseWrite() error
		SetNoDelay(bool) error
	}); !ok {
		t.Errorf("%T hides what a TCP connection can do", server)
	}
	if n, err := (&net.Buffers{[]byte("one "), []byte("two")}).WriteTo(server); n != 7 || err != nil {
		t.Errorf("a vectored write gives %d, %v", n, err)
	}
	client.(*net.TCPConn).CloseWrite()
	var got bytes.Buffer
	if _, err := io.Copy(&got, server); err != nil || got.String() != "GET / and more" {
		t.Errorf("copying from the connection gives %q, %v", got.String(), err)
	}
	server.Close()
	if answer, _ := io.ReadAll(client); string(answer) != "one two" {
		t.Errorf("the client reads %q", answer)
	}
}

func TestTLSOnThePlainPortIsClosedAndLoggedOnce(t *testing.T) {
	s := startSplit(t, nil, SplitOptions{})
	for range 3 {
		closedByServer(t, s.dial("\x16\x03\x01\x02\x00\x01\x00"))
	}
	eventually(t, "three TLS connections are counted", func() bool { return count(s.metrics.TLSClosed) == 3 })
	if n := s.log.count("a client speaks TLS to a plain-text port"); n != 1 {
		t.Errorf("%d lines are logged, want 1", n)
	}
}

func TestAComplaintIsLoggedOnceAMinuteAndCountsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c complaint
		for _, step := range []struct {
			wait   time.Duration
			missed int
			ok     bool
		}{{0, 0, true}, {time.Second, 0, false}, {50 * time.Second, 0, false}, {9 * time.Second, 2, true}, {59 * time.Second, 0, false}} {
			time.Sleep(step.wait) // The bubble's clock: no time passes outside.
			if missed, ok := c.due(); missed != step.missed || ok != step.ok {
				t.Errorf("after %v more: %d, %v; want %d, %v", step.wait, missed, ok, step.missed, step.ok)
			}
		}
	})
}

func TestAConnectionThatSaysNothingIsClosed(t *testing.T) {
	s := startSplit(t, nil, SplitOptions{FirstBytesTimeout: 50 * time.Millisecond})
	silent, half := s.dial(""), s.dial("PRI * HT")
	closedByServer(t, silent)
	closedByServer(t, half)
	eventually(t, "both are counted", func() bool { return count(s.metrics.SilentClosed) == 2 })
}

func TestTheDeadlineEndsWithTheFirstBytes(t *testing.T) {
	const timeout = 50 * time.Millisecond
	s := startSplit(t, nil, SplitOptions{FirstBytesTimeout: timeout})
	client := s.dial("GET /")
	server := acceptFrom(t, s.HTTP())
	// A connection that says nothing and was accepted later is closed by its deadline; by then the one
	// that has spoken would have met its own.
	closedByServer(t, s.dial(""))
	io.WriteString(client, " late")
	client.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(server); string(got) != "GET / late" || err != nil {
		t.Errorf("after the deadline the server reads %q, %v", got, err)
	}
}

func TestTheOldestSilentConnectionMakesRoom(t *testing.T) {
	s := startSplit(t, nil, SplitOptions{MaxUndecided: 3})
	inside := func(n int) func() bool {
		return func() bool {
			s.waiting.mu.Lock()
			defer s.waiting.mu.Unlock()
			return s.waiting.inside == n && s.waiting.silent.Len() == n
		}
	}
	var silent []net.Conn
	for i := range 3 {
		silent = append(silent, s.dial(""))
		eventually(t, "it is inside", inside(i+1))
	}
	for range 5 { // Clients that speak are served although the room is full.
		s.dial("GET /")
		acceptFrom(t, s.HTTP())
	}
	closedByServer(t, silent[0])
	eventually(t, "those that spoke have left", func() bool {
		s.waiting.mu.Lock()
		defer s.waiting.mu.Unlock()
		return s.waiting.inside == s.waiting.silent.Len()
	})
	if count(s.metrics.CrowdedClosed) == 0 || s.log.count("to make room") != 1 {
		t.Errorf("%d evictions counted, %d logged", count(s.metrics.CrowdedClosed), s.log.count("to make room"))
	}
}

func TestThousandsOfIdleConnectionsDoNotHurt(t *testing.T) {
	idle := 2000
	if limit := metrics.DescriptorLimit(); limit != 0 && limit < uint64(2*idle+200) {
		idle = int(limit/2) - 200
	}
	s := startSplit(t, nil, SplitOptions{})
	for range idle {
		s.dial("")
	}
	start := time.Now()
	s.dial("GET /")
	acceptFrom(t, s.HTTP())
	s.dial(preface)
	acceptFrom(t, s.GRPC())
	t.Logf("beside %d idle connections two others were served in %v", idle, time.Since(start))
	if n := count(s.metrics.CrowdedClosed); n != 0 {
		t.Errorf("%d connections were closed", n)
	}
}

func TestStoppingClosesEverything(t *testing.T) {
	s := startSplit(t, nil, SplitOptions{})
	silent := s.dial("")
	unclaimed := s.dial("GET /") // Nobody accepts it.
	eventually(t, "both are inside", func() bool {
		s.waiting.mu.Lock()
		defer s.waiting.mu.Unlock()
		return s.waiting.inside == 2 && s.waiting.silent.Len() == 1
	})
	s.cancel()
	closedByServer(t, silent)
	closedByServer(t, unclaimed)
	select {
	case err := <-s.ended:
		s.ended <- err
		if err != nil {
			t.Errorf("Run returns %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Run does not return")
	}
	for _, l := range []net.Listener{s.GRPC(), s.HTTP()} {
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after the end gives %v", err)
		}
	}
	if c, err := net.Dial("tcp", s.addr); err == nil {
		c.Close()
		t.Error("the port is still open")
	}
}

func TestAClosedBranchDoesNotEndTheOther(t *testing.T) {
	s := startSplit(t, nil, SplitOptions{})
	s.GRPC().Close()
	closedByServer(t, s.dial(preface))
	s.dial("GET /")
	acceptFrom(t, s.HTTP())
}

func TestClosingTheListenerFromOutsideIsAnError(t *testing.T) {
	base, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := startSplit(t, base, SplitOptions{})
	base.Close()
	select {
	case err := <-s.ended:
		s.ended <- err
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Run returns %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Run does not return")
	}
}

// failingListener fails to accept a number of times before it works.
type failingListener struct {
	net.Listener
	mu       sync.Mutex
	failures int
	err      error
}

func (f *failingListener) Accept() (net.Conn, error) {
	f.mu.Lock()
	fail := f.failures > 0
	f.failures--
	f.mu.Unlock()
	if fail {
		return nil, &net.OpError{Op: "accept", Err: f.err}
	}
	return f.Listener.Accept()
}

func (f *failingListener) fail(n int, err error) {
	f.mu.Lock()
	f.failures, f.err = n, err
	f.mu.Unlock()
}

func TestFailuresToAcceptAreWaitedOut(t *testing.T) {
	for _, failure := range []error{syscall.EMFILE, syscall.ECONNABORTED, errors.New("something else")} {
		base, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f := &failingListener{Listener: base}
		f.fail(3, failure)
		s := startSplit(t, f, SplitOptions{})
		s.dial("GET /")
		acceptFrom(t, s.HTTP())
		if n := count(s.metrics.AcceptFailures); n != 3 {
			t.Errorf("%v: %d failures are counted, want 3", failure, n)
		}
		if n := s.log.count("could not accept a client connection"); n != 1 {
			t.Errorf("%v: %d lines are logged, want 1", failure, n)
		}
	}
}

func TestASilentConnectionIsGivenUpWhenFilesRunOut(t *testing.T) {
	base, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &failingListener{Listener: base}
	s := startSplit(t, f, SplitOptions{})
	silent := s.dial("")
	eventually(t, "it is inside", func() bool {
		s.waiting.mu.Lock()
		defer s.waiting.mu.Unlock()
		return s.waiting.silent.Len() == 1
	})
	f.fail(1, syscall.EMFILE)
	s.dial("GET /") // Ends the Accept that is under way; the next one fails.
	acceptFrom(t, s.HTTP())
	closedByServer(t, silent)
}

func TestOtherConnectionsAreSplitToo(t *testing.T) {
	base, err := net.Listen("unix", t.TempDir()+"/socket")
	if err != nil {
		t.Skipf("no unix sockets here: %v", err)
	}
	s := startSplit(t, base, SplitOptions{})
	client, err := net.Dial("unix", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	io.WriteString(client, preface+" and more\n")
	line, err := bufio.NewReader(acceptFrom(t, s.GRPC())).ReadString('\n')
	if line != preface+" and more\n" || err != nil {
		t.Errorf("the server reads %q, %v", line, err)
	}
}

func BenchmarkReadAfterTheSplit(b *testing.B) {
	for _, wrapped := range []bool{false, true} {
		b.Run(map[bool]string{false: "bare", true: "split"}[wrapped], func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			server, err := l.Accept()
			if err != nil {
				b.Fatal(err)
			}
			defer server.Close()
			if wrapped {
				server = newSniffed(server, nil)
			}
			buf := make([]byte, 64)
			for b.Loop() {
				client.Write(buf)
				io.ReadFull(server, buf)
			}
		})
	}
}
