package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/encoding/prototext"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/test/harness"
)

const (
	// arriveLimit bounds the wait for a watch response that must come.
	arriveLimit = 10 * time.Second
	// quietFor is how long a stream must stay silent to count as silent; the server's catch-up pass is 100 ms.
	quietFor = 250 * time.Millisecond
)

// watchStream is one watch stream with a reader, so that a story can wait with a limit.
type watchStream struct {
	stream pb.Watch_WatchClient
	in     chan *pb.WatchResponse
	failed chan error
	held   []*pb.WatchResponse // received while waiting for another watch's events
}

func openWatch(t *testing.T, n pb.WatchClient) *watchStream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	stream, err := n.Watch(ctx)
	if err != nil {
		t.Fatalf("open a watch stream: %v", err)
	}
	w := &watchStream{stream: stream, in: make(chan *pb.WatchResponse, 1024), failed: make(chan error, 1)}
	go func() {
		for {
			resp, err := stream.Recv()
			if err != nil {
				w.failed <- err
				return
			}
			select {
			case w.in <- resp:
			case <-ctx.Done():
				return
			}
		}
	}()
	return w
}

func (w *watchStream) create(t *testing.T, r *pb.WatchCreateRequest) {
	t.Helper()
	w.send(t, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
}

func (w *watchStream) send(t *testing.T, r *pb.WatchRequest) {
	t.Helper()
	if err := w.stream.Send(r); err != nil {
		t.Fatalf("send on a watch stream: %v", err)
	}
}

// next waits for one response; the reason of a failure is returned.
func (w *watchStream) next(limit time.Duration) (*pb.WatchResponse, error) {
	if len(w.held) > 0 {
		resp := w.held[0]
		w.held = w.held[1:]
		return resp, nil
	}
	return w.nextNew(limit)
}

func (w *watchStream) nextNew(limit time.Duration) (*pb.WatchResponse, error) {
	select {
	case resp := <-w.in:
		return resp, nil
	case err := <-w.failed:
		return nil, err
	case <-time.After(limit):
		return nil, fmt.Errorf("nothing arrived within %v", limit)
	}
}

func (s *teller) tellWatch(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var name string
	d.ScanArgs(t, "stream", &name)
	w := s.streams[name]
	if w == nil {
		w = openWatch(t, pb.NewWatchClient(s.conn))
		s.streams[name] = w
	}
	switch d.Cmd {
	case "watch":
		for line := range strings.Lines(d.Input) {
			w.send(t, watchRequest(t, strings.TrimSpace(line)))
		}
		return ""
	case "recv":
		n := 1
		d.MaybeScanArgs(t, "n", &n)
		var lines []string
		for range n {
			resp, err := w.next(arriveLimit)
			if err != nil {
				lines = append(lines, err.Error())
				break
			}
			lines = append(lines, renderWatch(resp))
		}
		if d.HasArg("sorted") {
			slices.Sort(lines)
		}
		return strings.Join(lines, "\n") + "\n"
	case "events":
		return w.events(t, d)
	default: // quiet
		if resp, err := w.next(quietFor); err == nil {
			return "heard " + renderWatch(resp) + "\n"
		}
		return "nothing\n"
	}
}

// events collects events of one watch over as many responses as they come in.
func (w *watchStream) events(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	n, id := 0, int64(0)
	d.ScanArgs(t, "n", &n)
	d.MaybeScanArgs(t, "id", &id)
	var lines []string
	keep := func(resp *pb.WatchResponse) bool {
		if resp.WatchId != id || len(resp.Events) == 0 {
			return false
		}
		for _, ev := range resp.Events {
			lines = append(lines, renderMessage(ev.ProtoReflect()))
			if resp.Header.Revision < ev.Kv.ModRevision {
				lines = append(lines, fmt.Sprintf("header revision %d is older than its event", resp.Header.Revision))
			}
		}
		return true
	}
	w.held = slices.DeleteFunc(w.held, keep)
	for len(lines) < n {
		resp, err := w.nextNew(arriveLimit)
		if err != nil {
			lines = append(lines, err.Error())
			break
		}
		if !keep(resp) {
			w.held = append(w.held, resp)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

func renderWatch(r *pb.WatchResponse) string {
	text := render(r)
	// The default watch ID 0 is no set field, yet it is the answer.
	if r.WatchId == 0 {
		text = "watch_id:0 " + text
	}
	return text
}

func watchRequest(t *testing.T, line string) *pb.WatchRequest {
	t.Helper()
	kind, text, _ := strings.Cut(line, " ")
	fields := map[string]string{"create": "create_request", "cancel": "cancel_request", "progress": "progress_request"}
	req := new(pb.WatchRequest)
	if kind != "nothing" {
		text = fields[kind] + ":{" + text + "}"
	}
	if err := prototext.Unmarshal([]byte(text), req); err != nil {
		t.Fatalf("read watch request %q: %v", line, err)
	}
	return req
}

// watchClient opens the bare watch service of a node.
func watchClient(t *testing.T, n *harness.Node) pb.WatchClient {
	t.Helper()
	return pb.NewWatchClient(n.Conn(t))
}
