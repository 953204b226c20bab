package web

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2/hpack"
)

// rawFrame is a frame of a stream or, with stream 0, of the connection.
func rawFrame(kind, flags, stream byte, payload string) string {
	n := len(payload)
	return string([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags, 0, 0, 0, stream}) + payload
}

// headerBlock is an encoded header.
func headerBlock(fields ...string) string {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return b.String()
}

// memoryConn reads what it was given and keeps what is written.
type memoryConn struct {
	net.Conn
	in      *strings.Reader
	written bytes.Buffer
}

func (c *memoryConn) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *memoryConn) Write(p []byte) (int, error)      { return c.written.Write(p) }
func (c *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }

func TestTheFirstRequestTells(t *testing.T) {
	settings := rawFrame(frameSettings, 0, 0, "")
	ack := rawFrame(frameSettings, flagAck, 0, "")
	ping := rawFrame(framePing, 0, 0, "12345678")
	window := rawFrame(8, 0, 0, "\x00\x01\x00\x00")
	grpc := headerBlock(":method", "POST", ":path", "/s/m", "content-type", "application/grpc", "te", "trailers")
	json := headerBlock(":method", "POST", ":path", "/v3/kv/put", "content-type", "application/json")
	get := headerBlock(":method", "GET", ":path", "/health")
	grpcFrame := rawFrame(frameHeaders, flagEndHeaders, 1, grpc)
	jsonFrame := rawFrame(frameHeaders, flagEndHeaders, 1, json)
	body := rawFrame(0, 1, 1, strings.Repeat("x", 1000))
	for name, c := range map[string]struct {
		in     string // behind preface and settings
		isGRPC bool
		left   string // what the server reads of it
		wrong  bool
	}{
		"gRPC at once":                     {in: grpcFrame + body, isGRPC: true, left: grpcFrame + body},
		"gRPC after our settings":          {in: ack + grpcFrame, isGRPC: true, left: grpcFrame},
		"gRPC after pings":                 {in: ping + ack + window + ping + grpcFrame, isGRPC: true, left: window + grpcFrame},
		"gRPC with a subtype":              {in: rawFrame(frameHeaders, flagEndHeaders, 1, headerBlock("content-type", "application/grpc+proto")), isGRPC: true, left: rawFrame(frameHeaders, flagEndHeaders, 1, headerBlock("content-type", "application/grpc+proto"))},
		"JSON that acknowledges late":      {in: jsonFrame + body + window + ack + body, left: jsonFrame + body + window + body},
		"JSON that acknowledges first":     {in: ack + jsonFrame, left: jsonFrame},
		"a request without a body":         {in: rawFrame(frameHeaders, flagEndHeaders|1, 1, get) + ack, left: rawFrame(frameHeaders, flagEndHeaders|1, 1, get)},
		"a header in pieces":               {in: rawFrame(frameHeaders, 0, 1, grpc[:3]) + rawFrame(frameContinuation, 0, 1, grpc[3:9]) + rawFrame(frameContinuation, flagEndHeaders, 1, grpc[9:]), isGRPC: true, left: rawFrame(frameHeaders, 0, 1, grpc[:3]) + rawFrame(frameContinuation, 0, 1, grpc[3:9]) + rawFrame(frameContinuation, flagEndHeaders, 1, grpc[9:])},
		"a header with padding, priority":  {in: rawFrame(frameHeaders, flagEndHeaders|flagPadded|flagPriority, 1, "\x02"+"12345"+grpc+"pp"), isGRPC: true, left: rawFrame(frameHeaders, flagEndHeaders|flagPadded|flagPriority, 1, "\x02"+"12345"+grpc+"pp")},
		"nothing":                          {wrong: true},
		"JSON that never acknowledges":     {in: jsonFrame + body, wrong: true},
		"a frame too long":                 {in: string([]byte{0, 0x40, 1, 0, 0, 0, 0, 0, 1}), wrong: true},
		"a ping too long":                  {in: rawFrame(framePing, 0, 0, "123456789"), wrong: true},
		"more padding than header":         {in: rawFrame(frameHeaders, flagEndHeaders|flagPadded, 1, "\x09"+"12"), wrong: true},
		"no padding length":                {in: rawFrame(frameHeaders, flagEndHeaders|flagPadded, 1, ""), wrong: true},
		"half a priority":                  {in: rawFrame(frameHeaders, flagEndHeaders|flagPriority, 1, "123"), wrong: true},
		"a header cut short":               {in: rawFrame(frameHeaders, flagEndHeaders, 1, grpc[:len(grpc)-2]), wrong: true},
		"nonsense as a header":             {in: rawFrame(frameHeaders, flagEndHeaders, 1, "\xff\xff\xff\xff\xff\xff"), wrong: true},
		"a continuation of another stream": {in: rawFrame(frameHeaders, 0, 1, grpc[:3]) + rawFrame(frameContinuation, flagEndHeaders, 3, grpc[3:]), wrong: true},
		"something between the pieces":     {in: rawFrame(frameHeaders, 0, 1, grpc[:3]) + ping, wrong: true},
		"a farewell":                       {in: rawFrame(frameGoAway, 0, 0, "12345678"), wrong: true},
		"too many pings":                   {in: strings.Repeat(ping, maxOpeningPings+1) + grpcFrame, wrong: true},
		"much before the first request":    {in: strings.Repeat(rawFrame(9<<4, 0, 0, strings.Repeat("x", 4<<10)), 5) + grpcFrame, wrong: true},
		"an endless header":                {in: rawFrame(frameHeaders, 0, 1, "") + strings.Repeat(rawFrame(frameContinuation, 0, 1, strings.Repeat("\x00", 1000)), 500), wrong: true},
	} {
		conn := &memoryConn{in: strings.NewReader(fullPreface + settings + c.in)}
		o := newOpening(conn, time.Minute)
		isGRPC, err := o.read()
		if (err != nil) != c.wrong {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err != nil {
			continue
		}
		rest, _ := io.ReadAll(conn.in)
		if got, want := string(o.buf)+string(rest), fullPreface+settings+c.left; isGRPC != c.isGRPC || got != want {
			t.Errorf("%s: gRPC %t, the server reads\n%q, want\n%q", name, isGRPC, got, want)
		}
		if pings := strings.Count(c.in, ping); conn.written.String() != settings+strings.Repeat(rawFrame(framePing, flagAck, 0, "12345678"), pings) {
			t.Errorf("%s: the client reads %q", name, conn.written.String())
		}
	}
	for _, in := range []string{"", fullPreface[:20], strings.Repeat("x", 24), fullPreface + ack, fullPreface + jsonFrame} {
		if _, err := newOpening(&memoryConn{in: strings.NewReader(in)}, time.Minute).read(); err == nil {
			t.Errorf("%q was taken for HTTP/2", in)
		}
	}
}

// TestSilenceIsAllowedBetweenFramesOnly waits with a fake clock.
func TestSilenceIsAllowedBetweenFramesOnly(t *testing.T) {
	settings := rawFrame(frameSettings, 0, 0, "")
	get := rawFrame(frameHeaders, flagEndHeaders, 1, headerBlock(":path", "/"))
	for sent, bounded := range map[string]bool{
		"":                               true,
		fullPreface:                      true,
		fullPreface + settings:           false,
		fullPreface + settings + get[:4]: true,
		fullPreface + settings + get:     true, // the acknowledgement is owed
	} {
		synctest.Test(t, func(t *testing.T) {
			server, client := net.Pipe()
			defer client.Close()
			go io.Copy(io.Discard, client)
			ended := make(chan error, 1)
			go func() {
				_, err := newOpening(server, time.Minute).read()
				ended <- err
				server.Close()
			}()
			if _, err := io.WriteString(client, sent); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				if !bounded || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("after %q: %v", sent, err)
				}
			case <-time.After(24 * time.Hour):
				if bounded {
					t.Errorf("after %q a client may be silent for ever", sent)
				}
				server.Close()
				<-ended
			}
		})
	}
}

func FuzzOpening(f *testing.F) {
	f.Add(rawFrame(frameHeaders, flagEndHeaders, 1, headerBlock("content-type", "application/grpc")))
	f.Add(rawFrame(framePing, 0, 0, "12345678") + rawFrame(frameSettings, flagAck, 0, "") + rawFrame(frameHeaders, flagEndHeaders, 1, headerBlock(":path", "/")))
	f.Add(rawFrame(frameHeaders, flagPadded, 1, "\x01x") + rawFrame(frameContinuation, flagEndHeaders, 1, headerBlock("a", "b")))
	f.Fuzz(func(t *testing.T, in string) {
		all := fullPreface + rawFrame(frameSettings, 0, 0, "") + in
		o := newOpening(&memoryConn{in: strings.NewReader(all)}, time.Minute)
		if _, err := o.read(); err == nil && (len(o.buf) > len(all) || !strings.HasPrefix(string(o.buf), fullPreface)) {
			t.Errorf("the server reads %q of %q", o.buf, all)
		}
	})
}
