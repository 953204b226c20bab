package transport_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"

	"github.com/keelson-db/keelson/internal/transport"
)

// TestAFloodThatNobodyAnswersIsHeldUp has a client make the server answer without end, and read nothing. The server must
// stop reading, so the client's writes stop too, long before the answers take much memory.
func TestAFloodThatNobodyAnswersIsHeldUp(t *testing.T) {
	for name, say := range map[string]func(*raw, uint32) error{
		"PING":     func(r *raw, _ uint32) error { return r.framer.WritePing(false, [8]byte{}) },
		"SETTINGS": func(r *raw, _ uint32) error { return r.framer.WriteSettings() },
		"refused streams": func(r *raw, id uint32) error {
			r.open(2*id+1, true, usual("/no/such"))
			return nil
		},
		"reset streams": func(r *raw, id uint32) error {
			r.open(2*id+1, false, usual(unaryPath, "te", "nothing"))
			return nil
		},
		"calls": func(r *raw, id uint32) error { r.call(2*id+1, 1000); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			address := startSmall(t, ours(transport.Options{Enforcement: keepalive.EnforcementPolicy{MinTime: 1, PermitWithoutStream: true}}), &service{})
			r := connect(t, address, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
			r.must(r.framer.WriteWindowUpdate(0, 1<<30))
			out := hold(r)
			r.framer = http2.NewFramer(bufio.NewWriterSize(out, floodBytes), nil)
			r.framer.AllowIllegalWrites = true
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for id := uint32(0); !out.held; id++ {
				if err := say(r, id); err != nil && !out.held {
					t.Fatal(err)
				}
				if id == 10_000_000 {
					t.Fatal("the server goes on reading")
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
				t.Errorf("the flood took %d MiB", grown>>20)
			}
		})
	}
}

// floodBytes is how much is written at once. The system lets a trickle through for a while when nobody reads any more;
// of so much it does not take all in time.
const floodBytes = 32 << 10

// heldWriter notes when a connection takes no more.
type heldWriter struct {
	conn net.Conn
	held bool
}

// smallBuffers is a listener whose connections have small buffers in the system.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		tcp := conn.(*net.TCPConn)
		err = errors.Join(tcp.SetReadBuffer(floodBytes), tcp.SetWriteBuffer(floodBytes))
	}
	return conn, err
}

// startSmall is start with small buffers, so that few answers fill them.
func startSmall(t testing.TB, server served, s *service) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, smallBuffers{listener}, server, s)
}

// hold makes the system's buffers of a connection small, so that it takes no more soon.
func hold(r *raw) *heldWriter {
	tcp := r.conn.(*net.TCPConn)
	r.must(errors.Join(tcp.SetReadBuffer(64<<10), tcp.SetWriteBuffer(64<<10)))
	return &heldWriter{conn: r.conn}
}

func (w *heldWriter) Write(b []byte) (int, error) {
	if w.held {
		return len(b), nil
	}
	_ = w.conn.SetWriteDeadline(time.Now().Add(testTime / 60))
	_, err := w.conn.Write(b)
	w.held = errors.Is(err, os.ErrDeadlineExceeded)
	if w.held {
		err = nil
	}
	return len(b), err
}

// TestRapidResetIsHeldUp opens calls and resets them at once, while their handlers take their time. It must not get
// more of them to run than the limit says.
func TestRapidResetIsHeldUp(t *testing.T) {
	release := make(chan struct{})
	var running, most atomic.Int64
	s := &service{full: func(testpb.TestService_FullDuplexCallServer) error {
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-release
		running.Add(-1)
		return nil
	}}
	address := startSmall(t, ours(transport.Options{}), s)
	r := connect(t, address)
	out := hold(r)
	r.framer = http2.NewFramer(bufio.NewWriterSize(out, floodBytes), nil)
	for id := uint32(1); !out.held && id < 1_000_000; id += 2 {
		r.open(id, false, usual(fullPath))
		r.must(r.framer.WriteRSTStream(id, http2.ErrCodeCancel))
	}
	if !out.held {
		t.Error("the server goes on reading")
	}
	if n := most.Load(); n > 1024 {
		t.Errorf("%d handlers ran at once", n)
	}
	close(release)
}

// TestResetCallsCountWhileTheyRun wants a call that was reset to take its place until its handler returns.
func TestResetCallsCountWhileTheyRun(t *testing.T) {
	begun, release := make(chan struct{}, 1), make(chan struct{})
	s := &service{unary: func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		begun <- struct{}{}
		<-release
		return &testpb.SimpleResponse{}, nil
	}}
	r := connect(t, start(t, ours(transport.Options{MaxConcurrentStreams: 1}), s))
	r.call(1, 10)
	<-begun
	r.must(r.framer.WriteRSTStream(1, http2.ErrCodeCancel))
	r.call(3, 10)
	if got := r.outcome(3); got != "RST REFUSED_STREAM" {
		t.Errorf("a call beside one that was reset and still runs: %s", got)
	}
	close(release)
	for id := uint32(5); ; id += 2 {
		r.call(id, 10)
		if got := r.outcome(id); got == "200/0 " {
			return
		} else if got != "RST REFUSED_STREAM" {
			t.Fatal(got)
		}
	}
}

func TestTooManyPings(t *testing.T) {
	address := start(t, ours(transport.Options{Enforcement: keepalive.EnforcementPolicy{MinTime: time.Hour}}), &service{})
	r := connect(t, address)
	r.open(1, false, usual(fullPath))
	for range 5 {
		r.must(r.framer.WritePing(false, [8]byte{}))
	}
	if got := r.outcome(1); got != "GOAWAY ENHANCE_YOUR_CALM" || r.debug != "too_many_pings" {
		t.Errorf("%s %q", got, r.debug)
	}
	if r.pongs < 3 {
		t.Errorf("%d pings were answered", r.pongs)
	}
}

// TestPingsBesideDataAreFine pings before each message that comes, as clients do that measure their windows.
func TestPingsBesideDataAreFine(t *testing.T) {
	address := start(t, ours(transport.Options{Enforcement: keepalive.EnforcementPolicy{MinTime: time.Hour}}), &service{})
	r := connect(t, address)
	r.open(1, false, usual(fullPath))
	for i := range 50 {
		r.must(r.framer.WriteData(1, false, message(20)))
		r.must(r.framer.WritePing(false, [8]byte{}))
		r.until(func() bool { return r.pongs == i+1 && len(r.stream(1).data) == (i+1)*len(message(20)) })
	}
	if r.goaway != nil {
		t.Error(r.debug)
	}
}

func TestASilentClientIsPingedAndDropped(t *testing.T) {
	o := keepalive.ServerParameters{Time: testTime / 120, Timeout: testTime / 30}
	address := start(t, ours(transport.Options{Keepalive: o}), &service{})
	r := connect(t, address)
	begun := time.Now()
	_ = r.conn.SetReadDeadline(time.Now().Add(testTime))
	pings := 0
	for {
		f, err := r.framer.ReadFrame()
		if err != nil {
			break
		}
		if p, ok := f.(*http2.PingFrame); ok && !p.IsAck() {
			if pings++; pings <= 2 {
				r.must(r.framer.WritePing(true, p.Data)) // it lives a little longer
			}
		}
	}
	if took := time.Since(begun); pings != 3 || took < 2*o.Time+o.Timeout || took > testTime {
		t.Errorf("%d pings, closed after %v", pings, took)
	}
}
