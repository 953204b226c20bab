package transport_test

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/keelson-db/keelson/internal/transport"
)

// oneConn is a listener of one connection.
type oneConn struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "fuzz"} }

// seeds are beginnings of connections, without the preface and settings.
func seeds(f *testing.F) (all [][]byte) {
	for _, say := range []func(*raw){
		func(*raw) {},
		func(r *raw) { r.call(1, 20); r.call(3, 2000); r.must(r.framer.WritePing(false, [8]byte{})) },
		func(r *raw) {
			r.open(1, false, usual(fullPath, "grpc-encoding", "gzip", "grpc-timeout", "5m"))
			r.must(r.framer.WriteDataPadded(1, false, message(5), []byte{1, 2}))
			r.must(r.framer.WriteWindowUpdate(1, 100))
			r.must(r.framer.WriteRSTStream(1, http2.ErrCodeCancel))
		},
		func(r *raw) {
			block := append([]byte(nil), r.encode(usual(unaryPath, "a-bin", "AQ", "host", "x"))...)
			r.must(r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:9], PadLength: 3}))
			r.must(r.framer.WriteContinuation(1, true, block[9:]))
			r.must(r.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3}))
			r.must(r.framer.WriteData(1, true, message(50)))
			r.open(3, true, usual("/no/such"))
		},
	} {
		var out bytes.Buffer
		r := &raw{t: f, framer: http2.NewFramer(&out, nil)}
		r.enc = hpack.NewEncoder(&r.block)
		r.framer.AllowIllegalWrites = true
		say(r)
		all = append(all, out.Bytes())
	}
	return all
}

// FuzzFrames says anything behind a good beginning. The server must neither panic nor hang: when the client hangs
// up, everything of the connection ends.
func FuzzFrames(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		server := ours(transport.Options{HandshakeTimeout: time.Second, MaxRecvBytes: 1 << 16})
		testpb.RegisterTestServiceServer(server, &service{output: sendNothing})
		near, far := net.Pipe()
		l := &oneConn{conns: make(chan net.Conn, 1), done: make(chan struct{})}
		l.conns <- far
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		drained := make(chan struct{})
		go func() { defer close(drained); _, _ = io.Copy(io.Discard, near) }()
		_ = near.SetWriteDeadline(time.Now().Add(testTime))
		_, _ = near.Write(append([]byte(http2.ClientPreface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"), b...))
		near.Close()
		<-drained
		ended := make(chan struct{})
		go func() { server.GracefulStop(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(testTime):
			t.Fatal("the server hangs")
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
