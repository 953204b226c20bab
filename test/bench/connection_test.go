package main

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	mvccpb "go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// testLimit bounds the wait of every test for its server.
const testLimit = 20 * time.Second

// fakeStore answers just enough for the client to be tested against a usual gRPC server.
type fakeStore struct {
	pb.UnimplementedKVServer
	pb.UnimplementedWatchServer
	pb.UnimplementedMaintenanceServer
	puts      atomic.Int64
	valueSize int
	messages  []*pb.SnapshotResponse // what a snapshot sends
	end       error                  // how it ends
	keys      []string               // what a read of a range finds; without, a read finds one record
	state     func() *pb.StatusResponse
	hash      uint32
}

func (f *fakeStore) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	return f.state(), nil
}

func (f *fakeStore) HashKV(_ context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	return &pb.HashKVResponse{Hash: f.hash, HashRevision: r.Revision}, nil
}

func (f *fakeStore) Snapshot(_ *pb.SnapshotRequest, stream pb.Maintenance_SnapshotServer) error {
	for _, m := range f.messages {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return f.end
}

func (f *fakeStore) Put(_ context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if len(r.Key) == 0 {
		return nil, status.Error(codes.InvalidArgument, "key is not provided")
	}
	f.puts.Add(1)
	return &pb.PutResponse{Header: &pb.ResponseHeader{Revision: f.puts.Load()}}, nil
}

func (f *fakeStore) Txn(_ context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	f.puts.Add(int64(len(r.Success)))
	return &pb.TxnResponse{Succeeded: true}, nil
}

func (f *fakeStore) Range(_ context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if f.keys != nil && len(r.RangeEnd) > 0 {
		reply := &pb.RangeResponse{Count: int64(len(f.keys))}
		for _, key := range f.keys {
			reply.Kvs = append(reply.Kvs, &mvccpb.KeyValue{Key: []byte(key)})
		}
		return reply, nil
	}
	return &pb.RangeResponse{
		Header: &pb.ResponseHeader{Revision: f.puts.Load()},
		Kvs:    []*mvccpb.KeyValue{{Key: []byte("k"), Value: make([]byte, f.valueSize)}},
	}, nil
}

// Watch creates what is asked for and sends each watcher two events at once after each creation.
func (f *fakeStore) Watch(stream pb.Watch_WatchServer) error {
	for id := int64(0); ; id++ {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		event := &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"), Value: make([]byte, f.valueSize)}}
		for _, response := range []*pb.WatchResponse{
			{WatchId: id, Created: true},
			{WatchId: id, Events: []*mvccpb.Event{event, event}},
		} {
			if err := stream.Send(response); err != nil {
				return err
			}
		}
	}
}

// serve starts a usual gRPC server and returns a server handle that the client can use.
func serve(t *testing.T, store *fakeStore, options ...grpc.ServerOption) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(options...)
	pb.RegisterKVServer(g, store)
	pb.RegisterWatchServer(g, store)
	pb.RegisterMaintenanceServer(g, store)
	served := make(chan error, 1)
	go func() { served <- g.Serve(listener) }()
	t.Cleanup(func() {
		g.Stop()
		<-served
	})
	return &server{address: listener.Addr().String()}
}

func connectTo(t *testing.T, s *server) *connection {
	t.Helper()
	c, err := dial(s.address, time.Now().Add(testLimit))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

func TestALoadMakesEveryCallOnceOverManyConnections(t *testing.T) {
	store := &fakeStore{}
	s := serve(t, store)
	conns := []*connection{connectTo(t, s), connectTo(t, s)}
	var given atomic.Int64
	const want = 5000
	done, err := runAll(conns, func() load {
		source := putSource(true, new(atomic.Uint64))
		return load{path: methodPut, inFlight: 32, next: func(dst []byte) ([]byte, bool) {
			dst, _ = source(dst)
			return dst, given.Add(1) <= want
		}}
	})
	if err != nil {
		t.Fatal(err)
	}
	if done.calls != want || store.puts.Load() != want || done.latency.total != want {
		t.Errorf("%d calls, %d puts, %d latencies; want %d", done.calls, store.puts.Load(), done.latency.total, want)
	}
	if revision, err := s.revision(); err != nil || revision != want {
		t.Errorf("revision %d, %v", revision, err)
	}
}

func TestALoadEndsAtItsTime(t *testing.T) {
	c := connectTo(t, serve(t, &fakeStore{}))
	began := time.Now()
	done, err := c.run(load{
		path: methodPut, inFlight: 4, until: began.Add(50 * time.Millisecond), next: putSource(false, nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); done.calls == 0 || took < 50*time.Millisecond || took > 5*time.Second {
		t.Errorf("%d calls in %v", done.calls, took)
	}
}

func TestBodiesLargerThanTheConnectionWindowArriveWhole(t *testing.T) {
	store := &fakeStore{}
	s := serve(t, store)
	// 16 transactions of 38 KB in flight are ten times the window of 64 KB.
	space := keyspace{prefix: "t/", size: 50 * fillOps}
	var taken atomic.Int64
	if _, err := connectTo(t, s).run(load{path: methodTxn, inFlight: 16, next: fillSource(space, &taken)}); err != nil {
		t.Fatal(err)
	}
	if got := store.puts.Load(); got != int64(space.size) {
		t.Errorf("%d puts arrived of %d", got, space.size)
	}
	c := connectTo(t, s)
	if _, err := c.open(methodTxn, make([]byte, c.streamWindow+1), true); err == nil {
		t.Error("a body above the stream window was accepted")
	}
}

func TestLargeRepliesAreReceivedWhole(t *testing.T) {
	s := serve(t, &fakeStore{valueSize: 3 << 20})
	c := connectTo(t, s)
	number := 0
	done, err := c.run(load{path: methodRange, inFlight: 3, minReply: 3 << 20, next: func(dst []byte) ([]byte, bool) {
		number++
		return appendRange(dst, []byte("k"), nil, 0, 0), number <= 12
	}})
	if err != nil || done.calls != 12 || done.bytes < 12*3<<20 {
		t.Fatalf("%+v, %v", done, err)
	}
	reply, err := s.rangeOnce(appendRange(nil, []byte("k"), nil, 0, 0))
	if err != nil || len(reply.Kvs[0].Value) != 3<<20 {
		t.Errorf("%v", err)
	}
}

func TestAFailedCallEndsTheLoadWithTheServersWords(t *testing.T) {
	c := connectTo(t, serve(t, &fakeStore{}))
	good, err := c.call(methodPut, appendPut(nil, []byte("k"), newRandom()))
	if err != nil || proto.Unmarshal(good, &pb.PutResponse{}) != nil {
		t.Fatalf("a good call: %v", err)
	}
	_, err = c.run(load{path: methodPut, inFlight: 1, next: func(dst []byte) ([]byte, bool) {
		return appendPut(dst, nil, newRandom()), true
	}})
	if err == nil || !strings.Contains(err.Error(), `"3": key is not provided`) {
		t.Errorf("got %v", err)
	}
	if _, err := c.call("/etcdserverpb.KV/Absent", appendRange(nil, nil, nil, 0, 0)); err == nil || !strings.Contains(err.Error(), `"12"`) {
		t.Errorf("got %v", err)
	}
}

func TestAReplyTooShortToBeRightFailsTheLoad(t *testing.T) {
	c := connectTo(t, serve(t, &fakeStore{}))
	_, err := c.run(load{path: methodRange, inFlight: 1, minReply: 1000, next: getSource()})
	if err == nil || !strings.Contains(err.Error(), "too short") {
		t.Errorf("got %v", err)
	}
}

func TestTooManyCallsInFlightForTheServerAreRefused(t *testing.T) {
	c := connectTo(t, serve(t, &fakeStore{}, grpc.MaxConcurrentStreams(4)))
	if _, err := c.run(load{path: methodPut, inFlight: 5, next: getSource()}); err == nil {
		t.Error("more calls than streams were accepted")
	}
}

func TestAVanishedServerFailsTheLoad(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		socket, err := listener.Accept()
		if err == nil {
			_ = socket.Close()
		}
	}()
	if _, err := dial(listener.Addr().String(), time.Now().Add(testLimit)); err == nil {
		t.Error("dialling a server that hangs up succeeded")
	}
	_ = listener.Close()
}

func TestWatchersCountEveryEventOfEveryStream(t *testing.T) {
	s := serve(t, &fakeStore{valueSize: 40_000}) // larger than a frame, so that messages are torn
	c, err := gather(s, 3, 50, []byte("a"), []byte("b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.await(&c.delivered, 3*50*2); err != nil {
		t.Error(err)
	}
	c.leave()
	if got := c.delivered.Load(); got != 3*50*2 {
		t.Errorf("%d events", got)
	}
}
