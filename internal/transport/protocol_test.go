package transport_test

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/keelson-db/keelson/internal/transport"
)

// fault is something wrong to say, and how stream 1 must end of it.
type fault struct {
	name, want string
	say        []func(*raw)
}

func sayFrame(kind http2.FrameType, flags http2.Flags, id uint32, payload ...byte) func(*raw) {
	return func(r *raw) { r.must(r.framer.WriteRawFrame(kind, flags, id, payload)) }
}

func sayHeader(id uint32, end bool, changes ...string) func(*raw) {
	return func(r *raw) { r.open(id, end, usual(fullPath, changes...)) }
}

func sayData(id uint32, end bool, b ...byte) func(*raw) {
	return func(r *raw) { r.must(r.framer.WriteData(id, end, b)) }
}

// faultsOfControl are in frames that carry no call.
func faultsOfControl() []fault {
	frame, header := sayFrame, sayHeader
	return []fault{
		{"another frame within a header", "GOAWAY PROTOCOL_ERROR", []func(*raw){frame(http2.FrameHeaders, 0, 1, 0x83), frame(http2.FramePing, 0, 0, make([]byte, 8)...)}},
		{"PRIORITY cut off", "GOAWAY FRAME_SIZE_ERROR", []func(*raw){header(1, false), frame(http2.FramePriority, 0, 1, 1)}},
		{"RST_STREAM without a stream", "GOAWAY PROTOCOL_ERROR", []func(*raw){frame(http2.FrameRSTStream, 0, 0, 0, 0, 0, 1)}},
		{"RST_STREAM on an idle stream", "GOAWAY PROTOCOL_ERROR", []func(*raw){frame(http2.FrameRSTStream, 0, 1, 0, 0, 0, 1)}},
		{"RST_STREAM cut off", "GOAWAY FRAME_SIZE_ERROR", []func(*raw){header(1, false), frame(http2.FrameRSTStream, 0, 1, 0)}},
		{"SETTINGS on a stream", "GOAWAY PROTOCOL_ERROR", []func(*raw){frame(http2.FrameSettings, 0, 1)}},
		{"SETTINGS cut off", "GOAWAY FRAME_SIZE_ERROR", []func(*raw){frame(http2.FrameSettings, 0, 0, 1, 2, 3)}},
		{"SETTINGS acknowledged with a load", "GOAWAY FRAME_SIZE_ERROR", []func(*raw){frame(http2.FrameSettings, http2.FlagSettingsAck, 0, 0, 3, 0, 0, 0, 1)}},
		{"a window of 2^31", "GOAWAY FLOW_CONTROL_ERROR", []func(*raw){frame(http2.FrameSettings, 0, 0, 0, 4, 0x80, 0, 0, 0)}},
		{"frames of 1 byte", "GOAWAY PROTOCOL_ERROR", []func(*raw){frame(http2.FrameSettings, 0, 0, 0, 5, 0, 0, 0, 1)}},
		{"too many settings", "GOAWAY ENHANCE_YOUR_CALM", []func(*raw){frame(http2.FrameSettings, 0, 0, make([]byte, 6*101)...)}},
		{"pushes of a size", "GOAWAY PROTOCOL_ERROR", []func(*raw){frame(http2.FrameSettings, 0, 0, 0, 2, 0, 0, 0, 2)}},
		{"PUSH_PROMISE", "GOAWAY PROTOCOL_ERROR", []func(*raw){frame(http2.FramePushPromise, http2.FlagPushPromiseEndHeaders, 1, 0, 0, 0, 2, 0x82)}},
		{"PING on a stream", "GOAWAY PROTOCOL_ERROR", []func(*raw){frame(http2.FramePing, 0, 1, make([]byte, 8)...)}},
		{"PING cut off", "GOAWAY FRAME_SIZE_ERROR", []func(*raw){frame(http2.FramePing, 0, 0, 1)}},
		{"GOAWAY on a stream", "GOAWAY PROTOCOL_ERROR", []func(*raw){frame(http2.FrameGoAway, 0, 1, make([]byte, 8)...)}},
		{"WINDOW_UPDATE of nothing", "GOAWAY PROTOCOL_ERROR", []func(*raw){frame(http2.FrameWindowUpdate, 0, 0, 0, 0, 0, 0)}},
		{"WINDOW_UPDATE of nothing on a stream", "RST PROTOCOL_ERROR", []func(*raw){header(1, false), frame(http2.FrameWindowUpdate, 0, 1, 0, 0, 0, 0)}},
		{"WINDOW_UPDATE on an idle stream", "GOAWAY PROTOCOL_ERROR", []func(*raw){frame(http2.FrameWindowUpdate, 0, 1, 0, 0, 0, 1)}},
		{"WINDOW_UPDATE cut off", "GOAWAY FRAME_SIZE_ERROR", []func(*raw){frame(http2.FrameWindowUpdate, 0, 0, 1)}},
		{"a window past 2^31", "GOAWAY FLOW_CONTROL_ERROR", []func(*raw){frame(http2.FrameWindowUpdate, 0, 0, 0x7f, 0xff, 0xff, 0xff)}},
		{"a stream's window past 2^31", "RST FLOW_CONTROL_ERROR", []func(*raw){header(1, false), frame(http2.FrameWindowUpdate, 0, 1, 0x7f, 0xff, 0xff, 0xff)}},
		{"all windows past 2^31", "GOAWAY FLOW_CONTROL_ERROR", []func(*raw){header(1, false), frame(http2.FrameWindowUpdate, 0, 1, 0x7f, 0, 0, 0), frame(http2.FrameSettings, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff)}},
		{"a frame too large", "GOAWAY FRAME_SIZE_ERROR", []func(*raw){header(1, false), frame(http2.FrameData, 0, 1, make([]byte, 16385)...)}},
		{"too many streams", "RST REFUSED_STREAM", []func(*raw){header(3, false), header(5, false), header(7, false), func(r *raw) { r.outcome(7); r.got[1] = r.got[7] }}},
	}
}

// faultsOfCalls are in headers and data.
func faultsOfCalls() []fault {
	frame, header, data := sayFrame, sayHeader, sayData
	return []fault{
		{"DATA without a stream", "GOAWAY PROTOCOL_ERROR", []func(*raw){frame(http2.FrameData, 0, 0, 1)}},
		{"DATA on an idle stream", "GOAWAY PROTOCOL_ERROR", []func(*raw){data(1, false, 1)}},
		{"DATA behind the end", "RST STREAM_CLOSED", []func(*raw){header(1, false, ":path", inputPath), data(1, true), data(1, false, 1)}},
		{"DATA with too much padding", "GOAWAY PROTOCOL_ERROR", []func(*raw){header(1, false), frame(http2.FrameData, http2.FlagDataPadded, 1, 9, 1)}},
		{"DATA padded without length", "GOAWAY FRAME_SIZE_ERROR", []func(*raw){header(1, false), frame(http2.FrameData, http2.FlagDataPadded, 1)}},
		{"HEADERS without a stream", "GOAWAY PROTOCOL_ERROR", []func(*raw){frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 0, 0x82)}},
		{"HEADERS on a server's stream", "GOAWAY PROTOCOL_ERROR", []func(*raw){header(2, true)}},
		{"HEADERS behind the end", "GOAWAY STREAM_CLOSED", []func(*raw){header(1, true), func(r *raw) { r.outcome(1); delete(r.got, 1) }, header(1, true)}},
		{"HEADERS padded without length", "GOAWAY FRAME_SIZE_ERROR", []func(*raw){frame(http2.FrameHeaders, http2.FlagHeadersPadded, 1)}},
		{"HEADERS with a priority cut off", "GOAWAY FRAME_SIZE_ERROR", []func(*raw){frame(http2.FrameHeaders, http2.FlagHeadersPriority, 1, 1, 2)}},
		{"a header that is no HPACK", "GOAWAY COMPRESSION_ERROR", []func(*raw){frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)}},
		{"a header that is cut off", "GOAWAY COMPRESSION_ERROR", []func(*raw){frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, 0x40, 5, 'a')}},
		{"a trailer with a pseudo-header", "RST PROTOCOL_ERROR", []func(*raw){header(1, false), header(1, true)}},
		{"a trailer that does not end the stream", "RST PROTOCOL_ERROR", []func(*raw){header(1, false), func(r *raw) { r.open(1, false, []hpack.HeaderField{{Name: "a", Value: "b"}}) }}},
		{"a pseudo-header behind a field", "RST PROTOCOL_ERROR", []func(*raw){func(r *raw) {
			r.open(1, true, append(usual(fullPath, ":scheme", ""), hpack.HeaderField{Name: ":scheme", Value: "http"}))
		}}},
		{"a pseudo-header twice", "RST PROTOCOL_ERROR", []func(*raw){func(r *raw) {
			r.open(1, true, append([]hpack.HeaderField{{Name: ":path", Value: "/"}}, usual(fullPath)...))
		}}},
		{"a pseudo-header of responses", "RST PROTOCOL_ERROR", []func(*raw){func(r *raw) {
			r.open(1, true, append([]hpack.HeaderField{{Name: ":status", Value: "200"}}, usual(fullPath)...))
		}}},
		{"no path", "RST PROTOCOL_ERROR", []func(*raw){header(1, true, ":path", "")}},
		{"no scheme", "RST PROTOCOL_ERROR", []func(*raw){header(1, true, ":scheme", "")}},
		{"no method", "RST PROTOCOL_ERROR", []func(*raw){header(1, true, ":method", "")}},
		{"a name with capitals", "RST PROTOCOL_ERROR", []func(*raw){header(1, true, "Abc", "x")}},
		{"a value with a line break", "RST PROTOCOL_ERROR", []func(*raw){header(1, true, "abc", "x\ny")}},
		{"a field of the connection", "RST PROTOCOL_ERROR", []func(*raw){header(1, true, "connection", "close")}},
		{"TE that wants more", "RST PROTOCOL_ERROR", []func(*raw){header(1, true, "te", "gzip")}},
		{"more data than promised", "RST PROTOCOL_ERROR", []func(*raw){header(1, false, "content-length", "1"), data(1, false, 0, 0)}},
		{"less data than promised", "RST PROTOCOL_ERROR", []func(*raw){header(1, false, "content-length", "9"), data(1, true, 0, 0)}},
		{"no data though promised", "RST PROTOCOL_ERROR", []func(*raw){header(1, true, "content-length", "9")}},
		{"CONTINUATION without HEADERS", "GOAWAY PROTOCOL_ERROR", []func(*raw){frame(http2.FrameContinuation, 0, 1, 0x82)}},
	}
}

// TestFaultsOfTheProtocol says something wrong on a connection and wants the error that RFC 9113 names. Where only a
// stream is at fault, the connection must still carry a call.
func TestFaultsOfTheProtocol(t *testing.T) {
	address := start(t, ours(transport.Options{MaxConcurrentStreams: 2}), &service{input: func(stream testpb.TestService_StreamingInputCallServer) error {
		<-stream.Context().Done()
		return nil
	}})
	for _, c := range append(faultsOfControl(), faultsOfCalls()...) {
		t.Run(c.name, func(t *testing.T) {
			r := connect(t, address)
			for _, say := range c.say {
				say(r)
			}
			if got := r.outcome(1); got != c.want {
				t.Fatalf("%s, want %s", got, c.want)
			}
			if !strings.HasPrefix(c.want, "RST") {
				r.until(func() bool { return false }) // the connection must end
				return
			}
			if c.name == "too many streams" {
				r.must(r.framer.WriteRSTStream(3, http2.ErrCodeCancel))
				r.must(r.framer.WriteRSTStream(5, http2.ErrCodeCancel))
			}
			// The handlers of what was reset may still count.
			for id := uint32(101); ; id += 2 {
				r.call(id, 10)
				if got := r.outcome(id); got == "200/0 " {
					break
				} else if got != "RST REFUSED_STREAM" {
					t.Fatalf("a call behind it: %s", got)
				}
			}
		})
	}
}

// TestOddThingsThatAreFine says what nobody says, but may be said.
func TestOddThingsThatAreFine(t *testing.T) {
	address := start(t, ours(transport.Options{}), &service{})
	r := connect(t, address, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}, http2.Setting{ID: http2.SettingEnablePush, Val: 0}, http2.Setting{ID: 99, Val: 7})
	r.must(r.framer.WriteSettingsAck())
	r.must(r.framer.WriteSettingsAck())
	r.must(r.framer.WriteRawFrame(0xfa, 0xff, 0, []byte("unknown")))
	r.must(r.framer.WritePriority(9, http2.PriorityParam{StreamDep: 3, Weight: 7}))
	r.must(r.framer.WriteGoAway(0, http2.ErrCodeNo, []byte("no more from your side")))
	block := append([]byte(nil), r.encode(usual(unaryPath))...)
	r.must(r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:3], PadLength: 11, Priority: http2.PriorityParam{StreamDep: 5, Weight: 3}}))
	r.must(r.framer.WriteContinuation(1, false, nil))
	r.must(r.framer.WriteContinuation(1, false, block[3:4]))
	r.must(r.framer.WriteContinuation(1, true, block[4:]))
	m := message(40)
	for i := range m {
		r.must(r.framer.WriteDataPadded(1, false, m[i:i+1], make([]byte, i)))
	}
	r.must(r.framer.WriteData(1, false, nil))
	r.open(1, true, []hpack.HeaderField{{Name: "trailer", Value: "of a client"}})
	if got := r.outcome(1); got != "200/0 " {
		t.Fatal(got)
	}
	if got := r.got[1].data; len(got) != len(m) {
		t.Errorf("%d bytes, want %d", len(got), len(m))
	}
	// A client that reset a stream may hear something of it, and the other way round.
	r.open(3, false, usual(fullPath))
	r.must(r.framer.WriteRSTStream(3, http2.ErrCodeCancel))
	r.must(r.framer.WriteRSTStream(3, http2.ErrCodeCancel))
	r.must(r.framer.WriteWindowUpdate(3, 5))
	r.call(5, 300)
	if got := r.outcome(5); got != "200/0 " {
		t.Fatal(got)
	}
}

// TestWindowsMayShrink has a client take back what it let the server send, until its windows are negative.
func TestWindowsMayShrink(t *testing.T) {
	address := start(t, ours(transport.Options{}), &service{})
	r := connect(t, address, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
	r.call(1, 5000)
	r.until(func() bool { return r.data == 1000 })
	r.must(r.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})) // now it is -990
	r.must(r.framer.WriteWindowUpdate(1, 990))
	r.must(r.framer.WritePing(false, [8]byte{}))
	r.until(func() bool { return r.pongs == 1 })
	if r.data != 1000 {
		t.Fatalf("%d bytes came, want 1000", r.data)
	}
	r.must(r.framer.WriteWindowUpdate(1, 1))
	r.until(func() bool { return r.data == 1001 })
	r.must(r.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}))
	if got := r.outcome(1); got != "200/0 " {
		t.Fatal(got)
	}
}

// TestAClientThatSendsMoreThanItMay breaks the window of a stream, and that of a connection.
func TestAClientThatSendsMoreThanItMay(t *testing.T) {
	block := make(chan struct{})
	defer close(block)
	s := &service{input: func(testpb.TestService_StreamingInputCallServer) error { <-block; return nil }}
	address := start(t, ours(transport.Options{}), s)
	full := make([]byte, 16384)
	r := connect(t, address)
	r.open(1, false, usual(inputPath))
	for range 4 {
		r.must(r.framer.WriteData(1, false, full))
	}
	if got := r.outcome(1); got != "RST FLOW_CONTROL_ERROR" {
		t.Errorf("a stream: %s", got)
	}
}

func TestHeadersAreBounded(t *testing.T) {
	address := start(t, ours(transport.Options{}), &service{})
	r := connect(t, address)
	block := append([]byte(nil), r.encode(append(usual(unaryPath), hpack.HeaderField{Name: "long", Value: strings.Repeat("x", 10)}))...)
	for range 9 {
		block = append(block, r.encode([]hpack.HeaderField{{Name: "long", Value: strings.Repeat("~", 120_000), Sensitive: true}})...)
	}
	r.must(r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true}))
	for len(block) > 0 {
		n := min(len(block), 16384)
		r.must(r.framer.WriteContinuation(1, n == len(block), block[:n]))
		block = block[n:]
	}
	if got := r.outcome(1); got != "431/8 header list larger than max (1048576 bytes)" {
		t.Error(got)
	}
}

// TestFramesOfAHeaderAreBounded sends a header in very many frames, which cost more than their bytes.
func TestFramesOfAHeaderAreBounded(t *testing.T) {
	address := start(t, ours(transport.Options{}), &service{})
	r := connect(t, address)
	r.must(r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true}))
	for range 1000 {
		if r.framer.WriteContinuation(1, false, nil) != nil {
			break
		}
	}
	if got := r.outcome(1); got != "GOAWAY ENHANCE_YOUR_CALM" {
		t.Error(got)
	}
}

func TestAHeaderThatTheClientDoesNotTake(t *testing.T) {
	address := start(t, ours(transport.Options{}), &service{})
	r := connect(t, address, http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: 50})
	r.open(1, true, usual("/no/such"))
	r.open(3, false, usual(fullPath))
	r.must(r.framer.WriteData(3, false, []byte{9, 0, 0, 0, 0}))
	for id := uint32(1); id <= 3; id += 2 {
		if got := r.outcome(id); got != "RST INTERNAL_ERROR" {
			t.Errorf("stream %d: %s", id, got)
		}
	}
}

func TestConnectionsThatAreNone(t *testing.T) {
	address := start(t, ours(transport.Options{HandshakeTimeout: testTime / 300}), &service{})
	for name, say := range map[string]string{
		"silence":       "",
		"half of it":    http2.ClientPreface[:10],
		"HTTP/1.1":      "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"PING first":    http2.ClientPreface + "\x00\x00\x08\x06\x00\x00\x00\x00\x00________",
		"an answer":     http2.ClientPreface + "\x00\x00\x00\x04\x01\x00\x00\x00\x00",
		"no more at it": http2.ClientPreface,
	} {
		t.Run(name, func(t *testing.T) {
			r := connectSilently(t, address)
			if _, err := r.conn.Write([]byte(say)); err != nil {
				t.Fatal(err)
			}
			r.until(func() bool { return false }) // the connection must end
		})
	}
}
