package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/test/harness"
)

// rawBytes is a codec that sends bytes as they are, so that a test can send what no library would.
type rawBytes struct{}

func (rawBytes) Name() string { return "proto" }

func (rawBytes) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (rawBytes) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = rawBytes{}

// survives checks that the server still serves, in the same process; the harness looks for panics in its log.
func survives(t *testing.T, n *harness.Node, pid int) {
	t.Helper()
	_, err := pb.NewKVClient(n.Conn(t)).Put(harness.Ctx(t), &pb.PutRequest{Key: []byte("alive")})
	if err != nil {
		t.Errorf("the server does not serve any more: %v", err)
	}
	if n.Proc().Exited() || n.Proc().Pid() != pid {
		t.Error("the server died")
	}
}

// TestMalformedMessagesAreRefused sends bytes that are no request to every kind of method.
func TestMalformedMessagesAreRefused(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	conn, pid := n.Conn(t), n.Proc().Pid()
	bodies := map[string][]byte{
		"a length beyond the end":        {0x0a, 0xff, 0x01, 'x'},
		"an endless number":              bytes.Repeat([]byte{0xff}, 20),
		"a wrong kind of field":          {0x08, 0x01},
		"a group that never ends":        {0x0b, 0x0b, 0x0b},
		"field number zero":              {0x00, 0x00},
		"nothing but noise":              []byte("GET / HTTP/1.1\r\n\r\n"),
		"a transaction nested too deep":  nestedDeep(20_000),
		"a number where a message is":    {0x12, 0x02, 0x08, 0x80},
		"a truncated transaction member": {0x12, 0x7f, 0x12},
	}
	for name, body := range bodies {
		for _, method := range []string{"KV/Put", "KV/Txn", "KV/Range", "Lease/LeaseGrant"} {
			var out []byte
			err := conn.Invoke(harness.Ctx(t), "/etcdserverpb."+method, body, &out, grpc.ForceCodecV2(rawBytes{}))
			// Some bytes are a legal message of one method with unknown fields; then any answer is right.
			if code := status.Code(err); code != codes.Internal && code != codes.InvalidArgument && code != codes.OK {
				t.Errorf("%s to %s: %v", name, method, err)
			}
		}
		// Bytes that happen to be a watch request without content are ignored, and the stream goes on.
		stream, err := conn.NewStream(harness.CtxFor(t, 200*time.Millisecond), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/etcdserverpb.Watch/Watch", grpc.ForceCodecV2(rawBytes{}))
		if err != nil {
			t.Fatal(err)
		}
		var out []byte
		for err = errors.Join(stream.SendMsg(body), stream.CloseSend()); err == nil; {
			err = stream.RecvMsg(&out)
		}
	}
	survives(t, n, pid)
}

// nestedDeep is the bytes of a transaction in a transaction in a transaction, too deep for any stack.
func nestedDeep(depth int) []byte {
	var inner []byte
	for range depth {
		// success: { request_txn: inner }
		op := append(appendLen(nil, 0x22, len(inner)), inner...)
		inner = append(appendLen(nil, 0x12, len(op)), op...)
		if len(inner) > 1_000_000 {
			break
		}
	}
	return inner
}

func appendLen(b []byte, tag byte, n int) []byte {
	b = append(b, tag)
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// TestStrangeBytesOnThePortHarmNobody speaks other protocols, or none, to the client port.
func TestStrangeBytesOnThePortHarmNobody(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	pid := n.Proc().Pid()
	rng := rand.New(rand.NewPCG(3, 3))
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	for name, text := range map[string]string{
		"nothing":                    "",
		"one byte":                   "P",
		"half a preface":             "PRI * HTTP/2.0\r\n",
		"a preface and noise":        http2.ClientPreface + string(noise),
		"a preface and an HTTP line": http2.ClientPreface + "GET / HTTP/1.1\r\n\r\n",
		"noise":                      string(noise),
		"half a request":             "GET /health HTTP/1.1\r\nHost: x\r\n",
		"a bad request line":         "NONSENSE\r\n\r\n",
		"an old protocol":            "GET /health HTTP/0.9\r\n\r\n",
		"an endless header":          "GET /health HTTP/1.1\r\nX: " + string(bytes.Repeat([]byte("a"), 2<<20)) + "\r\n\r\n",
		"a bad length":               "POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"an SSH greeting":            "SSH-2.0-OpenSSH_9.6\r\n",
		"zeroes":                     string(make([]byte, 1000)),
	} {
		conn, err := net.Dial("tcp", n.ClientAddr)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// The server may close while bytes are still on their way; that is its right.
		_, _ = io.WriteString(conn, text)
		_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	survives(t, n, pid)
}

// TestTLSOnThePlainPortFailsFast greets the plain port in TLS: the client must be told at once, not left waiting.
func TestTLSOnThePlainPortFailsFast(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	pid := n.Proc().Pid()
	for range 5 {
		began := time.Now()
		dialer := &net.Dialer{Timeout: 5 * time.Second}
		conn, err := tls.DialWithDialer(dialer, "tcp", n.ClientAddr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err == nil {
			_ = conn.Close()
			t.Fatal("a TLS handshake with a plain port succeeded")
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the refusal took %v", took)
		}
	}
	survives(t, n, pid)
}

// TestBrokenFramesEndOnlyTheirConnection sends HTTP/2 frames that break the rules of gRPC.
func TestBrokenFramesEndOnlyTheirConnection(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	pid := n.Proc().Pid()
	cases := map[string]func(f *http2.Framer) error{
		"a message longer than its data": func(f *http2.Framer) error {
			return errors.Join(requestHeaders(f, "/etcdserverpb.KV/Put", "application/grpc"), f.WriteData(1, true, []byte{0, 0, 0, 1, 0, 'x'}))
		},
		"a message of 4 GB": func(f *http2.Framer) error {
			return errors.Join(requestHeaders(f, "/etcdserverpb.KV/Put", "application/grpc"), f.WriteData(1, true, []byte{0, 0xff, 0xff, 0xff, 0xff}))
		},
		"an unknown compression": func(f *http2.Framer) error {
			return errors.Join(requestHeaders(f, "/etcdserverpb.KV/Put", "application/grpc"), f.WriteData(1, true, []byte{1, 0, 0, 0, 1, 'x'}))
		},
		"no message at all": func(f *http2.Framer) error {
			return errors.Join(requestHeaders(f, "/etcdserverpb.KV/Put", "application/grpc"), f.WriteData(1, true, nil))
		},
		"another content": func(f *http2.Framer) error {
			return errors.Join(requestHeaders(f, "/etcdserverpb.KV/Put", "text/html"), f.WriteData(1, true, []byte("<html>")))
		},
		"a path without a service": func(f *http2.Framer) error { return requestHeaders(f, "Put", "application/grpc") },
		"data before headers":      func(f *http2.Framer) error { return f.WriteData(1, true, []byte("x")) },
		"an even stream":           func(f *http2.Framer) error { return f.WriteData(2, true, []byte("x")) },
		"a window of zero":         func(f *http2.Framer) error { return f.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, make([]byte, 4)) },
		"a flood of pings": func(f *http2.Framer) error {
			var err error
			for i := range 1000 {
				err = errors.Join(err, f.WritePing(false, [8]byte{byte(i)}))
			}
			return err
		},
		"a flood of resets": func(f *http2.Framer) error {
			var err error
			for i := range 200 {
				err = errors.Join(err, requestHeadersOn(f, uint32(2*i+1), "/etcdserverpb.KV/Range", "application/grpc"), f.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel))
			}
			return err
		},
	}
	for name, send := range cases {
		conn, err := net.Dial("tcp", n.ClientAddr)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, _ = io.WriteString(conn, http2.ClientPreface)
		f := http2.NewFramer(conn, conn)
		// A write may fail because the server has closed already.
		_ = errors.Join(f.WriteSettings(), send(f))
		_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	survives(t, n, pid)
}

func requestHeaders(f *http2.Framer, path, contentType string) error {
	return requestHeadersOn(f, 1, path, contentType)
}

func requestHeadersOn(f *http2.Framer, stream uint32, path, contentType string) error {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	// A fresh encoder per block would put the peer's table out of step, so nothing is indexed.
	enc.SetMaxDynamicTableSize(0)
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", "x"}, {"content-type", contentType}, {"te", "trailers"}} {
		if err := enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			return err
		}
	}
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true})
}

// TestIdleConnectionsDoNotStarveOthers opens 2,000 connections that say nothing and 50 that stay idle after a call.
func TestIdleConnectionsDoNotStarveOthers(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	pid := n.Proc().Pid()
	var mute []net.Conn
	defer func() {
		for _, c := range mute {
			_ = c.Close()
		}
	}()
	for range 2000 {
		c, err := net.DialTimeout("tcp", n.ClientAddr, 5*time.Second)
		if err != nil {
			t.Fatalf("connection %d: %v", len(mute), err)
		}
		mute = append(mute, c)
	}
	for range 50 {
		if _, err := pb.NewKVClient(n.Conn(t)).Range(harness.Ctx(t), &pb.RangeRequest{Key: []byte("k")}); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	kv := pb.NewKVClient(n.Conn(t))
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for i := range 50 {
				if _, err := kv.Put(harness.Ctx(t), &pb.PutRequest{Key: fmt.Appendf(nil, "k%d/%d", w, i)}); err != nil {
					t.Errorf("put among idle connections: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("200 puts among 2,000 idle connections took %v", took)
	}
	if got := ask(t, "GET", n.URL()+"/health"); got.code != 200 {
		t.Errorf("health among idle connections: %d", got.code)
	}
	survives(t, n, pid)
}

// TestAStalledWatcherHurtsOnlyItself lets a watcher stop reading while others write 60 MB and watch it arrive.
func TestAStalledWatcherHurtsOnlyItself(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	pid := n.Proc().Pid()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stalled, err := n.WatchClient(t).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	create := &pb.WatchCreateRequest{Key: []byte("s/"), RangeEnd: []byte("s0")}
	if err := stalled.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stalled.Recv(); err != nil {
		t.Fatal(err)
	}
	reading := harness.OpenWatch(t, n.WatchClient(t))
	reading.Create(t, create)
	if _, err := reading.Next(harness.ArriveLimit); err != nil {
		t.Fatal(err)
	}
	kv := pb.NewKVClient(n.Conn(t))
	value := bytes.Repeat([]byte("v"), 100_000)
	const puts = 600
	for i := range puts {
		if _, err := kv.Put(harness.Ctx(t), &pb.PutRequest{Key: fmt.Appendf(nil, "s/%d", i%10), Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	for seen := 0; seen < puts; {
		r, err := reading.Next(harness.ArriveLimit)
		if err != nil {
			t.Fatalf("the reading watcher has %d of %d events: %v", seen, puts, err)
		}
		seen += len(r.Events)
	}
	// Now the stalled one reads on and finds everything, in order.
	for rev := int64(2); rev < puts+2; {
		r, err := stalled.Recv()
		if err != nil || r.Canceled {
			t.Fatalf("the stalled watcher broke off at %d: %v, %v", rev, r.GetCancelReason(), err)
		}
		for _, ev := range r.Events {
			if ev.Kv.ModRevision != rev {
				t.Fatalf("the stalled watcher sees %d, want %d", ev.Kv.ModRevision, rev)
			}
			rev++
		}
	}
	survives(t, n, pid)
}
