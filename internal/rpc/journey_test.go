package rpc

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/stats"

	"github.com/keelson-db/keelson/internal/state"
)

// lines hands on what is logged, a line at a time.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// wait returns the next line that holds a text.
func (l lines) wait(t *testing.T, text string) string {
	t.Helper()
	tooLate := time.After(10 * time.Second)
	for {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				return line
			}
		case <-tooLate:
			t.Fatalf("nothing was logged about %s", text)
		}
	}
}

// TestASlowRequestSaysWhereItsTimeWent makes every request slow and looks at what is said of each.
func TestASlowRequestSaysWhereItsTimeWent(t *testing.T) {
	log := make(lines, 100)
	h := newHouse(t, func(d *Deps) {
		d.Log = slog.New(slog.NewTextHandler(log, nil))
		d.WarningUnaryRequestDuration = 1
	})
	h.replica.took = state.Took{Queue: int64(time.Second), Sync: int64(3 * time.Second), Apply: int64(2 * time.Second)}
	h.put(t, "a", strings.Repeat("v", 1<<20))
	if line := log.wait(t, "KV/Put"); !strings.Contains(line, "queue=1s sync=3s apply=2s mostly=sync") {
		t.Errorf("of a put is said: %s", line)
	}
	barrier := func() error { <-time.After(20 * time.Millisecond); return nil }
	h.replica.onBarrier.Store(&barrier)
	if _, err := h.kv.Range(t.Context(), &pb.RangeRequest{Key: []byte("a"), CountOnly: true}); err != nil {
		t.Fatal(err)
	}
	line := log.wait(t, "KV/Range")
	if !strings.Contains(line, "quorum=") || !strings.Contains(line, "read=") || !strings.Contains(line, "mostly=quorum") || strings.Contains(line, "send=") {
		t.Errorf("of a count is said: %s", line)
	}
	h.replica.onBarrier.Store(nil)
	if _, err := h.kv.Range(t.Context(), &pb.RangeRequest{Key: []byte("a"), Limit: 5}); err != nil {
		t.Fatal(err)
	}
	if line := log.wait(t, "limit=5"); !strings.Contains(line, "send=") {
		t.Errorf("of a large range is said: %s", line)
	}
}

// TestWhoIsRefusedAtTheDoorIsLogged wants the user and never the password.
func TestWhoIsRefusedAtTheDoorIsLogged(t *testing.T) {
	log := make(lines, 100)
	w := newTown(t, func(d *Deps) { d.Log = slog.New(slog.NewTextHandler(log, nil)) })
	if _, err := w.auth.Authenticate(t.Context(), &pb.AuthenticateRequest{Name: "root", Password: "a-guess"}); err == nil {
		t.Fatal("a wrong password was taken")
	}
	if line := log.wait(t, "login refused"); !strings.Contains(line, "user=root") || !strings.Contains(line, "remote=") || strings.Contains(line, "guess") {
		t.Errorf("of a wrong password is said: %s", line)
	}
}

// observer counts the messages that the transport tells of.
type observer struct{ sent chan struct{} }

func (*observer) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*observer) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*observer) HandleConn(context.Context, stats.ConnStats)                       {}
func (o *observer) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutPayload); ok {
		o.sent <- struct{}{}
	}
}

// TestAnObserverSeesEveryMessage has many watchers of one key on one stream, whose responses would otherwise go
// to the transport in one piece.
func TestAnObserverSeesEveryMessage(t *testing.T) {
	const watchers = 50
	seen := &observer{sent: make(chan struct{}, 4*watchers)}
	h := newHouse(t, func(d *Deps) { d.Stats = seen })
	stream, err := h.watch.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range watchers {
		create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("a")}}}
		if err := stream.Send(create); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	h.put(t, "a", "1")
	for range watchers {
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	tooLate := time.After(10 * time.Second)
	for got := 0; got < 2*watchers+1; got++ { // the transport tells of a message after it has sent it
		select {
		case <-seen.sent:
		case <-tooLate:
			t.Fatalf("the transport told of %d messages, want %d of the watchers and one of the put", got, 2*watchers)
		}
	}
}
