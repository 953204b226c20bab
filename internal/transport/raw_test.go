package transport_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
)

// raw is a client that says what it likes.
type raw struct {
	t      testing.TB
	conn   net.Conn
	framer *http2.Framer
	block  bytes.Buffer
	enc    *hpack.Encoder
	got    map[uint32]*answer
	goaway *http2.GoAwayFrame
	debug  string
	data   int // bytes of all DATA frames
	pongs  int
}

// answer is what came back on a stream.
type answer struct {
	fields map[string]string
	reset  string
	ended  bool
	data   []byte
}

// connect dials and says the preface and settings.
func connect(t testing.TB, address string, settings ...http2.Setting) *raw {
	t.Helper()
	r := connectSilently(t, address)
	if _, err := io.WriteString(r.conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	r.must(r.framer.WriteSettings(settings...))
	return r
}

func connectSilently(t testing.TB, address string) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r := &raw{t: t, conn: conn, framer: http2.NewFramer(conn, conn), got: map[uint32]*answer{}}
	r.framer.AllowIllegalWrites = true
	r.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.enc = hpack.NewEncoder(&r.block)
	return r
}

func (r *raw) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

const unaryPath = "/grpc.testing.TestService/UnaryCall"
const inputPath = "/grpc.testing.TestService/StreamingInputCall"
const fullPath = "/grpc.testing.TestService/FullDuplexCall"

// usual is the header of a call; pairs of names and values are added, or take the place of what has their name. An
// empty value takes a field out.
func usual(path string, changes ...string) []hpack.HeaderField {
	fields := []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: path},
		{Name: ":authority", Value: "localhost"}, {Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	}
next:
	for i := 0; i < len(changes); i += 2 {
		for j := range fields {
			if fields[j].Name == changes[i] {
				fields[j].Value = changes[i+1]
				continue next
			}
		}
		fields = append(fields, hpack.HeaderField{Name: changes[i], Value: changes[i+1]})
	}
	var kept []hpack.HeaderField
	for _, f := range fields {
		if f.Value != "" {
			kept = append(kept, f)
		}
	}
	return kept
}

func (r *raw) encode(fields []hpack.HeaderField) []byte {
	r.block.Reset()
	for _, f := range fields {
		r.must(r.enc.WriteField(f))
	}
	return r.block.Bytes()
}

func (r *raw) open(id uint32, end bool, fields []hpack.HeaderField) {
	r.t.Helper()
	r.must(r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.encode(fields), EndHeaders: true, EndStream: end}))
}

// message is a request of n bytes of payload with gRPC's prefix.
func message(n int) []byte {
	b, err := proto.Marshal(&testpb.SimpleRequest{Payload: body(n)})
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

// call makes a whole unary call.
func (r *raw) call(id uint32, n int) {
	r.open(id, false, usual(unaryPath))
	r.must(r.framer.WriteData(id, true, message(n)))
}

func (r *raw) stream(id uint32) *answer {
	if r.got[id] == nil {
		r.got[id] = &answer{fields: map[string]string{}}
	}
	return r.got[id]
}

// read takes one frame in. It reports whether there was one.
func (r *raw) read() bool {
	_ = r.conn.SetReadDeadline(time.Now().Add(testTime))
	f, err := r.framer.ReadFrame()
	if err != nil {
		if errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset by peer") {
			return false
		}
		r.t.Fatalf("read: %v", err)
	}
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		a := r.stream(f.StreamID)
		for _, h := range f.Fields {
			a.fields[h.Name] = h.Value
		}
		a.ended = a.ended || f.StreamEnded()
	case *http2.DataFrame:
		a := r.stream(f.StreamID)
		a.data = append(a.data, f.Data()...)
		a.ended = a.ended || f.StreamEnded()
		r.data += len(f.Data())
	case *http2.RSTStreamFrame:
		r.stream(f.StreamID).reset = f.ErrCode.String()
	case *http2.GoAwayFrame:
		r.goaway, r.debug = f, string(f.DebugData())
	case *http2.PingFrame:
		if f.IsAck() {
			r.pongs++
		}
	case *http2.SettingsFrame:
		if !f.IsAck() {
			_ = r.framer.WriteSettingsAck()
		}
	}
	return true
}

// until reads frames until something is so, or the connection ends.
func (r *raw) until(so func() bool) {
	r.t.Helper()
	for !so() && r.read() {
	}
}

// outcome says in words how a stream, or the connection, ended.
func (r *raw) outcome(id uint32) string {
	r.t.Helper()
	over := func() bool { a := r.got[id]; return r.goaway != nil || a != nil && (a.ended || a.reset != "") }
	r.until(over)
	a := r.got[id]
	switch {
	case r.goaway != nil:
		return "GOAWAY " + r.goaway.ErrCode.String()
	case a == nil:
		return "closed"
	case !a.ended:
		return "RST " + a.reset
	}
	return fmt.Sprintf("%s/%s %s", a.fields[":status"], a.fields["grpc-status"], a.fields["grpc-message"])
}
