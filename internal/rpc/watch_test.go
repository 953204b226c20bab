package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/storage"
	"github.com/keelson-db/keelson/internal/watch"
	"github.com/keelson-db/keelson/internal/wire"
)

// watchWorld is the Watch service alone, over a store in memory.
type watchWorld struct {
	engine  *storage.Engine
	store   *mvcc.Store
	hub     *watch.Hub
	client  pb.WatchClient
	metrics *metrics.Watch
	burst   struct{ messages, bytes atomic.Int64 } // sent past gRPC
	stopHub context.CancelFunc
	// lead is cancelled to end all streams for want of a leader.
	lead context.CancelCauseFunc
	// ends receives what each stream's handler returned.
	ends  chan error
	close func()
}

func newWatchWorld(t testing.TB, fragmentBytes int) *watchWorld {
	t.Helper()
	w := &watchWorld{ends: make(chan error, 100)}
	var err error
	if w.engine, err = storage.Open(storage.Options{FS: vfs.NewMem(), Dir: "data", Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	if w.store, err = mvcc.Open(w.engine, mvcc.Options{}); err != nil {
		t.Fatal(err)
	}
	w.hub = watch.New(w.store, watch.Options{})
	ctx, stop := context.WithCancel(context.Background())
	w.stopHub = stop
	led, lead := context.WithCancelCause(context.Background())
	w.lead = lead
	w.metrics = watchMetrics()
	srv := grpc.NewServer(
		grpc.ForceServerCodecV2(wire.Codec{Received: new(metrics.Counter), Sent: new(metrics.Counter)}),
		grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			ctx, cancel := context.WithCancelCause(ss.Context())
			defer cancel(nil)
			defer context.AfterFunc(led, func() { cancel(context.Cause(led)) })()
			err := h(srv, ledStream{ServerStream: ss, ctx: ctx})
			w.ends <- err
			return err
		}))
	pb.RegisterWatchServer(srv, newWatchServer(watchConfig{
		Access: access{machine: newMachine(t)}, Hub: w.hub, Store: w.store, ClusterID: 11, MemberID: 22, Term: func() uint64 { return 33 },
		FragmentBytes: fragmentBytes, Metrics: w.metrics,
		Sent: func(messages, bytes int) { w.burst.messages.Add(int64(messages)); w.burst.bytes.Add(int64(bytes)) },
	}))
	lis := bufconn.Listen(1 << 20)
	var running sync.WaitGroup
	running.Go(func() { _ = w.hub.Run(ctx) })
	running.Go(func() { _ = srv.Serve(lis) })
	conn, err := grpc.NewClient("passthrough:///watch", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	w.client = pb.NewWatchClient(conn)
	w.close = func() {
		stop()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		srv.Stop()
		running.Wait()
		if err := w.engine.Close(); err != nil {
			t.Error(err)
		}
	}
	return w
}

type ledStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s ledStream) Context() context.Context { return s.ctx }

func watchMetrics() *metrics.Watch {
	h := func() prometheus.Histogram { return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h"}) }
	return &metrics.Watch{Events: new(metrics.Counter), StreamDuration: h(), StreamDurationPerEvent: h(), ControlDuration: h(), ProgressDuration: h()}
}

// write runs one command.
func (w *watchWorld) write(t testing.TB, command func(*mvcc.Tx) error) {
	t.Helper()
	w.group(t, func(wr *mvcc.Writer) error {
		tx := wr.NewTx()
		defer tx.End()
		return command(tx)
	})
}

func (w *watchWorld) group(t testing.TB, commands func(*mvcc.Writer) error) {
	t.Helper()
	b := w.engine.NewBatch()
	defer b.Close()
	wr := w.store.Begin(b)
	if err := commands(wr); err != nil {
		t.Fatal(err)
	}
	if err := wr.Finish(); err != nil {
		t.Fatal(err)
	}
	if err := w.engine.Commit(b); err != nil {
		t.Fatal(err)
	}
	wr.Publish()
}

func (w *watchWorld) put(t testing.TB, key, value string) {
	t.Helper()
	w.write(t, func(tx *mvcc.Tx) error {
		_, err := tx.Put([]byte(key), []byte(value), 0)
		return err
	})
}

func (w *watchWorld) open(t testing.TB) (pb.Watch_WatchClient, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	s, err := w.client.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s, cancel
}

func send(t testing.TB, s pb.Watch_WatchClient, c *pb.WatchCreateRequest) {
	t.Helper()
	if err := s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: c}}); err != nil {
		t.Fatal(err)
	}
}

// expect receives one response and compares all of it.
func expect(t testing.TB, s pb.Watch_WatchClient, want *pb.WatchResponse) {
	t.Helper()
	want.Header.ClusterId, want.Header.MemberId, want.Header.RaftTerm = 11, 22, 33
	got, err := s.Recv()
	if err != nil {
		t.Fatalf("%v\nwant %v", err, want)
	}
	if !proto.Equal(got, want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
}

func header(rev int64) *pb.ResponseHeader { return &pb.ResponseHeader{Revision: rev} }

func kv(key, value string, create, mod, version int64) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), CreateRevision: create, ModRevision: mod, Version: version}
}

func TestWatchAnswersRequestsAsTheWireWantsIt(t *testing.T) {
	w := newWatchWorld(t, 1<<20)
	defer w.close()
	s, cancel := w.open(t)
	defer cancel()
	w.put(t, "a", "1") // revision 2
	w.put(t, "a", "2")
	w.put(t, "b", "1") // revision 4

	send(t, s, &pb.WatchCreateRequest{Key: []byte("a")})
	expect(t, s, &pb.WatchResponse{Header: header(4), WatchId: 0, Created: true})
	send(t, s, &pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("c"), StartRevision: 2, PrevKv: true, WatchId: 77})
	expect(t, s, &pb.WatchResponse{Header: header(4), WatchId: 77, Created: true})
	expect(t, s, &pb.WatchResponse{Header: header(4), WatchId: 77, Events: []*mvccpb.Event{
		{Kv: kv("a", "1", 2, 2, 1)},
		{Kv: kv("a", "2", 2, 3, 2), PrevKv: kv("a", "1", 2, 2, 1)},
		{Kv: kv("b", "1", 4, 4, 1)},
	}})
	for _, c := range []struct {
		create *pb.WatchCreateRequest
		reason string
	}{
		{&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 77}, "mvcc: duplicate watch ID provided on the WatchStream"},
		{&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a")}, "mvcc: watcher range is empty"},
		{&pb.WatchCreateRequest{Key: []byte("b"), StartRevision: -1}, "etcdserver: mvcc: required revision has been compacted"},
	} {
		send(t, s, c.create)
		expect(t, s, &pb.WatchResponse{Header: header(4), WatchId: -1, Created: true, Canceled: true, CancelReason: c.reason})
	}
	// What is not a request is left out; what follows is answered.
	for _, r := range []*pb.WatchRequest{{}, {RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: 5}}},
		{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{}}}} {
		if err := s.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, s, &pb.WatchResponse{Header: header(4), WatchId: 0, Canceled: true})

	w.write(t, func(tx *mvcc.Tx) error {
		_, err := tx.Delete([]byte("a"), []byte("z"))
		return err
	})
	expect(t, s, &pb.WatchResponse{Header: header(5), WatchId: 77, Events: []*mvccpb.Event{
		{Type: mvccpb.Event_DELETE, Kv: kv("a", "", 0, 5, 0), PrevKv: kv("a", "2", 2, 3, 2)},
		{Type: mvccpb.Event_DELETE, Kv: kv("b", "", 0, 5, 0), PrevKv: kv("b", "1", 4, 4, 1)},
	}})
	if err := s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}); err != nil {
		t.Fatal(err)
	}
	expect(t, s, &pb.WatchResponse{Header: header(5), WatchId: -1})

	w.group(t, func(wr *mvcc.Writer) error { return wr.Compact(5) })
	send(t, s, &pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 4})
	expect(t, s, &pb.WatchResponse{Header: header(5), WatchId: 1, Created: true})
	expect(t, s, &pb.WatchResponse{Header: header(0), WatchId: 1, Canceled: true, CompactRevision: 5})
	// Events at the compaction are still there, what they replaced is not.
	send(t, s, &pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 5, PrevKv: true})
	expect(t, s, &pb.WatchResponse{Header: header(5), WatchId: 2, Created: true})
	expect(t, s, &pb.WatchResponse{Header: header(5), WatchId: 2, Events: []*mvccpb.Event{{Type: mvccpb.Event_DELETE, Kv: kv("a", "", 0, 5, 0)}}})
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-w.ends // then everything is counted
	if n := w.metrics.Events.Value(); n != 6 {
		t.Errorf("%d events counted, want 6", n)
	}
}

func TestWatchFragmentsOnlyForThoseWhoAllowIt(t *testing.T) {
	w := newWatchWorld(t, 2500)
	defer w.close()
	s, cancel := w.open(t)
	defer cancel()
	send(t, s, &pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("z"), Fragment: true})
	expect(t, s, &pb.WatchResponse{Header: header(1), WatchId: 0, Created: true})
	var events []*mvccpb.Event
	w.write(t, func(tx *mvcc.Tx) error {
		for i := range 5 {
			key, value := fmt.Sprintf("k%d", i), strings.Repeat("v", 1100)
			events = append(events, &mvccpb.Event{Kv: kv(key, value, 2, 2, 1)})
			if _, err := tx.Put([]byte(key), []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	})
	expect(t, s, &pb.WatchResponse{Header: header(2), Fragment: true, Events: events[:2]})
	expect(t, s, &pb.WatchResponse{Header: header(2), Fragment: true, Events: events[2:4]})
	expect(t, s, &pb.WatchResponse{Header: header(2), Events: events[4:]})
	send(t, s, &pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("z"), StartRevision: 1})
	expect(t, s, &pb.WatchResponse{Header: header(2), WatchId: 1, Created: true})
	expect(t, s, &pb.WatchResponse{Header: header(2), WatchId: 1, Events: events})
}

func TestWatchStreamsEndWithTheRightStatus(t *testing.T) {
	base := runtime.NumGoroutine()
	for _, c := range []struct {
		name string
		end  func(*watchWorld, pb.Watch_WatchClient, context.CancelFunc)
		want error
	}{
		{"client cancels", func(_ *watchWorld, _ pb.Watch_WatchClient, cancel context.CancelFunc) { cancel() }, rpctypes.ErrGRPCWatchCanceled},
		{"hub stops", func(w *watchWorld, _ pb.Watch_WatchClient, _ context.CancelFunc) { w.stopHub() }, rpctypes.ErrGRPCStopped},
		{"leader is lost", func(w *watchWorld, _ pb.Watch_WatchClient, _ context.CancelFunc) { w.lead(rpctypes.ErrGRPCNoLeader) }, rpctypes.ErrGRPCNoLeader},
		{"client closes its side and then cancels", func(w *watchWorld, s pb.Watch_WatchClient, cancel context.CancelFunc) {
			if err := s.CloseSend(); err != nil {
				t.Fatal(err)
			}
			w.put(t, "a", "still received")
			expect(t, s, &pb.WatchResponse{Header: header(2), Events: []*mvccpb.Event{{Kv: kv("a", "still received", 2, 2, 1)}}})
			cancel()
		}, rpctypes.ErrGRPCWatchCanceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWatchWorld(t, 1<<20)
			defer w.close()
			s, cancel := w.open(t)
			defer cancel()
			send(t, s, &pb.WatchCreateRequest{Key: []byte("a")})
			expect(t, s, &pb.WatchResponse{Header: header(1), Created: true})
			c.end(w, s, cancel)
			select {
			case err := <-w.ends:
				if !errors.Is(err, c.want) {
					t.Fatalf("the stream ends with %v, want %v", err, c.want)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the stream does not end")
			}
			if n := w.hub.Stats(); n.Streams != 0 || n.Watchers != 0 {
				t.Errorf("the hub still has %+v", n)
			}
		})
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > base; runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), base, buf[:runtime.Stack(buf, true)])
		}
	}
}

func TestWatchFloodOfRequestsDoesNotEndTheStream(t *testing.T) {
	w := newWatchWorld(t, 1<<20)
	defer w.close()
	s, cancel := w.open(t)
	defer cancel()
	const n = 2000
	sent := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < n && err == nil; i++ {
			err = s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("a")}}})
		}
		sent <- err
	}()
	for i := range n {
		expect(t, s, &pb.WatchResponse{Header: header(1), WatchId: int64(i), Created: true})
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}
