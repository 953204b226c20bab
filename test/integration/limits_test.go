package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/test/harness"
)

// The defaults of --max-request-bytes and of the message limit above it, in bytes.
const (
	maxRequest = 1_572_864
	maxMessage = maxRequest + 512<<10
)

// TestRequestsOverALimitAreRefusedExactly sends what is one step too large, and what is just small enough.
func TestRequestsOverALimitAreRefusedExactly(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	kv := pb.NewKVClient(n.Conn(t))
	put := func(size int) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("big"), Value: bytes.Repeat([]byte("x"), size)})
			return err
		}
	}
	txn := func(r *pb.TxnRequest) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := kv.Txn(ctx, r)
			return err
		}
	}
	overMessage := maxMessage + 1
	cases := []struct {
		name string
		call func(context.Context) error
		code codes.Code
		text string
	}{
		{"a value well under the request limit", put(1_500_000), codes.OK, ""},
		{"a value as large as the request limit", put(maxRequest), codes.InvalidArgument, "etcdserver: request is too large"},
		{"a value just under the message limit", put(maxMessage - 100), codes.InvalidArgument, "etcdserver: request is too large"},
		{
			"a message over the message limit", put(overMessage), codes.ResourceExhausted,
			fmt.Sprintf("grpc: received message larger than max (%d vs. %d)", proto.Size(&pb.PutRequest{Key: []byte("big"), Value: make([]byte, overMessage)}), maxMessage),
		},
		{"a long key", func(ctx context.Context) error {
			_, err := kv.Put(ctx, &pb.PutRequest{Key: bytes.Repeat([]byte("k"), 1_000_000)})
			return err
		}, codes.OK, ""},
		{"a long key that is missing", func(ctx context.Context) error {
			_, err := kv.Range(ctx, &pb.RangeRequest{Key: bytes.Repeat([]byte("m"), 1_900_000)})
			return err
		}, codes.OK, ""},
		{"128 operations", txn(&pb.TxnRequest{Success: putOps(0, 128)}), codes.OK, ""},
		{"129 operations", txn(&pb.TxnRequest{Success: putOps(0, 129)}), codes.InvalidArgument, "etcdserver: too many operations in txn request"},
		{"129 operations in the other branch", txn(&pb.TxnRequest{Failure: putOps(0, 129)}), codes.InvalidArgument, "etcdserver: too many operations in txn request"},
		{"129 compares", txn(&pb.TxnRequest{Compare: make([]*pb.Compare, 129)}), codes.InvalidArgument, "etcdserver: too many operations in txn request"},
		{"128 operations in each branch", txn(&pb.TxnRequest{Success: putOps(0, 128), Failure: putOps(0, 128)}), codes.OK, ""},
		{"99 and 29 nested", txn(&pb.TxnRequest{Success: append(putOps(0, 98), nested(putOps(200, 29)))}), codes.OK, ""},
		{"99 and 30 nested", txn(&pb.TxnRequest{Success: append(putOps(0, 98), nested(putOps(200, 30)))}), codes.InvalidArgument, "etcdserver: too many operations in txn request"},
		{"64 and nested 63 and nested 1", txn(&pb.TxnRequest{Success: append(putOps(0, 63), nested(append(putOps(100, 62), nested(putOps(200, 1)))))}), codes.OK, ""},
		{"64 and nested 63 and nested 2", txn(&pb.TxnRequest{Success: append(putOps(0, 63), nested(append(putOps(100, 62), nested(putOps(200, 2)))))}), codes.InvalidArgument, "etcdserver: too many operations in txn request"},
		{"a transaction over the request limit", txn(&pb.TxnRequest{Success: []*pb.RequestOp{putOp("a", 800_000), putOp("b", 800_000)}}), codes.InvalidArgument, "etcdserver: request is too large"},
		{"an unknown method", func(ctx context.Context) error {
			return n.Conn(t).Invoke(ctx, "/etcdserverpb.KV/Nothing", &pb.PutRequest{}, &pb.PutResponse{})
		}, codes.Unimplemented, "unknown method Nothing for service etcdserverpb.KV"},
		{"an unknown service", func(ctx context.Context) error {
			return n.Conn(t).Invoke(ctx, "/nothing.Here/Get", &pb.PutRequest{}, &pb.PutResponse{})
		}, codes.Unimplemented, "unknown service nothing.Here"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.call(harness.Ctx(t))
			if s, _ := status.FromError(err); s.Code() != c.code || s.Message() != c.text {
				t.Errorf("got %v %q, want %v %q", s.Code(), s.Message(), c.code, c.text)
			}
		})
	}
}

func putOp(key string, size int) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: make([]byte, size)}}}
}

// putOps makes n puts of different keys, numbered from first on.
func putOps(first, n int) []*pb.RequestOp {
	ops := make([]*pb.RequestOp, n)
	for i := range ops {
		ops[i] = putOp(fmt.Sprintf("op/%04d", first+i), 1)
	}
	return ops
}

func nested(ops []*pb.RequestOp) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: ops}}}
}

// TestLimitsFollowTheirFlags starts a node with other limits.
func TestLimitsFollowTheirFlags(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{Args: []string{"--max-txn-ops", "3", "--max-request-bytes", "1000"}})
	kv := pb.NewKVClient(n.Conn(t))
	if _, err := kv.Txn(harness.Ctx(t), &pb.TxnRequest{Success: putOps(0, 3)}); err != nil {
		t.Errorf("3 operations: %v", err)
	}
	_, err := kv.Txn(harness.Ctx(t), &pb.TxnRequest{Success: putOps(0, 4)})
	wantStatus(t, err, codes.InvalidArgument, "etcdserver: too many operations in txn request")
	if _, err := kv.Put(harness.Ctx(t), &pb.PutRequest{Key: []byte("k"), Value: make([]byte, 900)}); err != nil {
		t.Errorf("a request of 900 bytes: %v", err)
	}
	_, err = kv.Put(harness.Ctx(t), &pb.PutRequest{Key: []byte("k"), Value: make([]byte, 1100)})
	wantStatus(t, err, codes.InvalidArgument, "etcdserver: request is too large")
}

func wantStatus(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if s, _ := status.FromError(err); s.Code() != code || s.Message() != text {
		t.Errorf("got %v %q, want %v %q", s.Code(), s.Message(), code, text)
	}
}

// TestLargeWatchResponsesAreFragmentedOnRequest deletes 3 MB of values in one revision under two watchers.
func TestLargeWatchResponsesAreFragmentedOnRequest(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	kv := pb.NewKVClient(n.Conn(t))
	for _, key := range []string{"f/1", "f/2", "f/3"} {
		if _, err := kv.Put(harness.Ctx(t), &pb.PutRequest{Key: []byte(key), Value: bytes.Repeat([]byte(key), 350_000)}); err != nil {
			t.Fatal(err)
		}
	}
	whole, parts := harness.OpenWatch(t, n.WatchClient(t)), harness.OpenWatch(t, n.WatchClient(t))
	for w, fragment := range map[*harness.WatchStream]bool{whole: false, parts: true} {
		w.Create(t, &pb.WatchCreateRequest{Key: []byte("f/"), RangeEnd: []byte("f0"), PrevKv: true, Fragment: fragment})
		if _, err := w.Next(harness.ArriveLimit); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kv.DeleteRange(harness.Ctx(t), &pb.DeleteRangeRequest{Key: []byte("f/"), RangeEnd: []byte("f0")}); err != nil {
		t.Fatal(err)
	}
	one, err := whole.Next(harness.ArriveLimit)
	if err != nil {
		t.Fatal(err)
	}
	if len(one.Events) != 3 || one.Fragment {
		t.Errorf("without fragments: %d events, fragment %v; want all 3 in one", len(one.Events), one.Fragment)
	}
	var keys []string
	var flags []bool
	for len(keys) < 3 {
		part, err := parts.Next(harness.ArriveLimit)
		if err != nil {
			t.Fatal(err)
		}
		if size := proto.Size(part); size > maxMessage && len(part.Events) > 1 {
			t.Errorf("a fragment of %d events has %d bytes", len(part.Events), size)
		}
		flags = append(flags, part.Fragment)
		for _, ev := range part.Events {
			keys = append(keys, string(ev.Kv.Key))
			if want := bytes.Repeat(ev.Kv.Key, 350_000); ev.PrevKv == nil || !bytes.Equal(ev.PrevKv.Value, want) {
				t.Errorf("the previous value of %s is not what was put", ev.Kv.Key)
			}
		}
	}
	if got := strings.Join(keys, " "); got != "f/1 f/2 f/3" {
		t.Errorf("fragments hold %s", got)
	}
	for i, fragment := range flags {
		if fragment != (i < len(flags)-1) {
			t.Errorf("fragment flags are %v; all but the last must be set", flags)
			break
		}
	}
	if len(flags) < 2 {
		t.Error("3 MB came in one response although fragments were asked for")
	}
}

// TestRangeStreamCarriesMoreThanOneMessage streams 12 MB and compares every byte with a plain range.
func TestRangeStreamCarriesMoreThanOneMessage(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	conn := n.Conn(t)
	kv := pb.NewKVClient(conn)
	value := bytes.Repeat([]byte("0123456789"), 4_000)
	for i := range 300 {
		if _, err := kv.Put(harness.Ctx(t), &pb.PutRequest{Key: fmt.Appendf(nil, "s/%04d", i), Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	all := &pb.RangeRequest{Key: []byte("s/"), RangeEnd: []byte("s0")}
	want, err := kv.Range(harness.Ctx(t), all)
	if err != nil {
		t.Fatal(err)
	}
	got, chunks := collectStream(t, kv, all)
	if !proto.Equal(got, want) {
		t.Errorf("the stream differs from the range: %d and %d keys, counts %d and %d", len(got.Kvs), len(want.Kvs), got.Count, want.Count)
	}
	if chunks < 3 {
		t.Errorf("12 MB came in %d messages", chunks)
	}
	// The revision is pinned at the first message: what is written while the stream is open is not seen.
	stream, err := kv.RangeStream(harness.Ctx(t), all)
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.DeleteRange(harness.Ctx(t), &pb.DeleteRangeRequest{Key: []byte("s/"), RangeEnd: []byte("s0")}); err != nil {
		t.Fatal(err)
	}
	rest, _ := drain(t, stream)
	if total := len(first.RangeResponse.Kvs) + len(rest.Kvs); total != 300 || rest.Count != 300 {
		t.Errorf("a deletion changed an open stream: %d keys, count %d", total, rest.Count)
	}
	if rest.Header.GetRevision() != want.Header.Revision {
		t.Errorf("the stream's header is at %d, want the revision at its start, %d", rest.Header.GetRevision(), want.Header.Revision)
	}
}

func collectStream(t *testing.T, kv pb.KVClient, r *pb.RangeRequest) (*pb.RangeResponse, int) {
	t.Helper()
	stream, err := kv.RangeStream(harness.Ctx(t), r)
	if err != nil {
		t.Fatal(err)
	}
	return drain(t, stream)
}

// drain reads a range stream to its end, checking that only the last message has a header.
func drain(t *testing.T, stream grpc.ServerStreamingClient[pb.RangeStreamResponse]) (*pb.RangeResponse, int) {
	t.Helper()
	got := new(pb.RangeResponse)
	for chunks := 0; ; chunks++ {
		resp, err := stream.Recv()
		if err != nil {
			if s := status.Convert(err); errors.Is(err, context.DeadlineExceeded) || s.Message() != "EOF" {
				t.Fatalf("read the stream: %v", err)
			}
			return got, chunks
		}
		if got.Header != nil {
			t.Error("a message followed the one with the header")
		}
		proto.Merge(got, resp.RangeResponse)
	}
}

// TestConcurrentStreamsCanBeLimited sets the limit of streams in one connection to one.
func TestConcurrentStreamsCanBeLimited(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{Args: []string{"--max-concurrent-streams", "1"}})
	conn := n.Conn(t)
	kv := pb.NewKVClient(conn)
	if _, err := kv.Put(harness.Ctx(t), &pb.PutRequest{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	w := harness.OpenWatch(t, pb.NewWatchClient(conn))
	w.Create(t, &pb.WatchCreateRequest{Key: []byte("k")})
	if _, err := w.Next(harness.ArriveLimit); err != nil {
		t.Fatal(err)
	}
	// The watch holds the only stream; a call waits until its time is over.
	_, err := kv.Range(harness.CtxFor(t, 300*time.Millisecond), &pb.RangeRequest{Key: []byte("k")})
	wantStatus(t, err, codes.DeadlineExceeded, "context deadline exceeded")
}

// TestAHalfClosedWatchGoesOn ends the client's side of a watch stream; events must still come.
func TestAHalfClosedWatchGoesOn(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	w := harness.OpenWatch(t, n.WatchClient(t))
	w.Create(t, &pb.WatchCreateRequest{Key: []byte("k")})
	if err := w.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if r, err := w.Next(harness.ArriveLimit); err != nil || !r.Created {
		t.Fatalf("created: %v, %v", r, err)
	}
	if _, err := pb.NewKVClient(n.Conn(t)).Put(harness.Ctx(t), &pb.PutRequest{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	if r, err := w.Next(harness.ArriveLimit); err != nil || len(r.Events) != 1 {
		t.Errorf("an event after the half close: %v, %v", r, err)
	}
}
