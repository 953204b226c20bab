package compat

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/keelson-db/keelson/test/harness"
)

// maxHeard is the number of messages that a talk holds until the story asks for them.
const maxHeard = 1024

// talk is a call that stays: one that waits, a stream of answers, or a stream both ways over JSON.
type talk struct {
	heard  chan string
	hangup context.CancelFunc
	say    func(line string) error
}

// tellTalk plays the steps about calls that stay.
//
//	begin talk=N    starts the call in the only line: a method and its request, a JSON path and a first body,
//	                or `ws`, a path: a websocket
//	say talk=N      sends each line as one more JSON request
//	hear talk=N n=K waits for K answers
//	silent talk=N   checks that nothing arrives for a moment
//	hangup talk=N   ends the call from this side
func (s *teller) tellTalk(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var name string
	d.ScanArgs(t, "talk", &name)
	if d.Cmd == "begin" {
		s.talks[name] = s.begin(t, d)
		return ""
	}
	k := s.talks[name]
	if k == nil {
		t.Fatalf("%s: no talk %q", d.Pos, name)
	}
	switch d.Cmd {
	case "say":
		for line := range strings.Lines(d.Input) {
			if err := k.say(s.names.Replace(line)); err != nil {
				t.Fatalf("say %q: %v", line, err)
			}
		}
		return ""
	case "hear":
		n := 1
		d.MaybeScanArgs(t, "n", &n)
		var lines []string
		for range n {
			lines = append(lines, k.next(harness.ArriveLimit))
		}
		return s.named(strings.Join(lines, "\n"))
	case "silent":
		return s.named(k.next(quietFor))
	default: // hangup
		k.hangup()
		return ""
	}
}

func (k *talk) next(limit time.Duration) string {
	select {
	case text := <-k.heard:
		return text
	case <-time.After(limit):
		return "nothing"
	}
}

func (s *teller) begin(t *testing.T, d *datadriven.TestData) *talk {
	t.Helper()
	ctx, cancel := context.WithCancel(s.context(context.Background(), t, d))
	t.Cleanup(cancel)
	k := &talk{heard: make(chan string, maxHeard), hangup: cancel}
	verb, text, _ := strings.Cut(d.Input, " ")
	switch {
	case verb == "ws":
		s.beginWebsocket(ctx, t, d, k, text)
	case strings.HasPrefix(verb, "/"):
		s.beginJSON(ctx, t, d, k, verb, text)
	default:
		full, md, err := findMethod(verb)
		if err != nil {
			t.Fatal(err)
		}
		req := s.request(t, md.Input(), text)
		go s.follow(ctx, t, k, full, md, req)
	}
	return k
}

// follow makes a gRPC call and writes down each answer.
func (s *teller) follow(ctx context.Context, t *testing.T, k *talk, full string, md protoreflect.MethodDescriptor, req proto.Message) {
	if !md.IsStreamingServer() {
		resp := harness.NewMessage(t, md.Output())
		if err := s.conn.Invoke(ctx, full, req, resp); err != nil {
			k.heard <- renderError(err)
			return
		}
		k.heard <- render(resp)
		return
	}
	stream, err := s.openStream(ctx, full, req)
	for err == nil {
		resp := harness.NewMessage(t, md.Output())
		if err = stream.RecvMsg(resp); err == nil {
			k.heard <- render(resp)
		}
	}
	k.heard <- streamEnd(err)
}

// beginJSON posts a body that stays open; every line of the answer is one message.
func (s *teller) beginJSON(ctx context.Context, t *testing.T, d *datadriven.TestData, k *talk, path, first string) {
	t.Helper()
	in, out := io.Pipe()
	t.Cleanup(func() { _ = in.Close() })
	k.say = func(line string) error {
		_, err := io.WriteString(out, line)
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.node.URL()+path, in)
	if err != nil {
		t.Fatal(err)
	}
	s.headers(t, d, req)
	go func() {
		if first != "" {
			_, _ = io.WriteString(out, s.names.Replace(first))
		}
		// The gateway reads the whole body of a call that takes one request before it answers.
		if path != "/v3/watch" && path != "/v3/lease/keepalive" {
			_ = out.Close()
		}
	}()
	go func() {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(req)
		if err != nil {
			k.heard <- "failed: " + err.Error()
			return
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			k.heard <- fmt.Sprintf("status %d", resp.StatusCode)
		}
		frames := bufio.NewReader(resp.Body)
		for {
			line, err := frames.ReadString('\n')
			if line != "" {
				k.heard <- plainJSON(line)
			}
			if err != nil {
				k.heard <- "end"
				return
			}
		}
	}()
}

func (s *teller) beginWebsocket(ctx context.Context, t *testing.T, d *datadriven.TestData, k *talk, path string) {
	t.Helper()
	var dialer websocket.Dialer
	if d.HasArg("token") {
		var token string
		d.ScanArgs(t, "token", &token)
		dialer.Subprotocols = []string{"Bearer", s.token(token)}
	}
	c, resp, err := dialer.DialContext(ctx, "ws://"+s.node.ClientAddr+path, nil)
	if err != nil {
		t.Fatalf("open a websocket: %v", err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = c.Close() })
	k.hangup = func() { _ = c.Close() }
	k.say = func(line string) error { return c.WriteMessage(websocket.TextMessage, []byte(strings.TrimSpace(line))) }
	go func() {
		for {
			_, frame, err := c.ReadMessage()
			if err != nil {
				k.heard <- "end"
				return
			}
			k.heard <- plainJSON(string(frame))
		}
	}()
}
