package harness

import (
	"context"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// ArriveLimit bounds the wait for a message that must come.
const ArriveLimit = 10 * time.Second

// WatchStream is one watch stream with a reader, so that a test can wait with a limit.
type WatchStream struct {
	// Held are responses received while waiting for another watch's events; Next returns them first.
	Held []*pb.WatchResponse

	stream pb.Watch_WatchClient
	in     chan *pb.WatchResponse
	failed chan error
}

// WatchClient opens the bare watch service of the node.
func (n *Node) WatchClient(t testing.TB) pb.WatchClient {
	t.Helper()
	return pb.NewWatchClient(n.Conn(t))
}

// OpenWatch opens a watch stream; it ends with the test.
func OpenWatch(t testing.TB, c pb.WatchClient) *WatchStream {
	t.Helper()
	return OpenWatchIn(context.Background(), t, c)
}

// OpenWatchIn is OpenWatch with a context of the caller's, which may carry metadata.
func OpenWatchIn(ctx context.Context, t testing.TB, c pb.WatchClient) *WatchStream {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(cancel)
	stream, err := c.Watch(ctx)
	if err != nil {
		t.Fatalf("open a watch stream: %v", err)
	}
	w := &WatchStream{stream: stream, in: make(chan *pb.WatchResponse, 1024), failed: make(chan error, 1)}
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

// Create asks for a watch.
func (w *WatchStream) Create(t testing.TB, r *pb.WatchCreateRequest) {
	t.Helper()
	w.Send(t, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
}

// Send sends any request.
func (w *WatchStream) Send(t testing.TB, r *pb.WatchRequest) {
	t.Helper()
	if err := w.stream.Send(r); err != nil {
		t.Fatalf("send on a watch stream: %v", err)
	}
}

// CloseSend ends the client's side of the stream.
func (w *WatchStream) CloseSend() error { return w.stream.CloseSend() }

// Next waits for one response; the reason of a failure is returned.
func (w *WatchStream) Next(limit time.Duration) (*pb.WatchResponse, error) {
	if len(w.Held) > 0 {
		resp := w.Held[0]
		w.Held = w.Held[1:]
		return resp, nil
	}
	return w.NextNew(limit)
}

// NextNew is Next without the held responses.
func (w *WatchStream) NextNew(limit time.Duration) (*pb.WatchResponse, error) {
	select {
	case resp := <-w.in:
		return resp, nil
	case err := <-w.failed:
		return nil, err
	case <-time.After(limit):
		return nil, fmt.Errorf("nothing arrived within %v", limit)
	}
}
