package transport_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keelson-db/keelson/internal/transport"
)

func TestStreamsCarryLargeMessagesBothWays(t *testing.T) {
	client := dial(t, start(t, ours(transport.Options{}), &service{}))
	stream, err := client.FullDuplexCall(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	sizes := []int{0, 10, 100_000, 3, 3 << 20, 65536, 1}
	sent := make(chan error, 1)
	go func() {
		for range 3 {
			for _, n := range sizes {
				if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: body(n)}); err != nil {
					sent <- err
					return
				}
			}
		}
		sent <- stream.CloseSend()
	}()
	for i := range 3 * len(sizes) {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if want := body(sizes[i%len(sizes)]).Body; string(r.Payload.GetBody()) != string(want) {
			t.Fatalf("message %d of %d bytes came back as another one of %d", i, len(want), len(r.Payload.GetBody()))
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the end is %v", err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestClientStreamsAreSummedUp(t *testing.T) {
	client := dial(t, start(t, ours(transport.Options{}), &service{}))
	stream, err := client.StreamingInputCall(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if err := stream.Send(&testpb.StreamingInputCallRequest{Payload: body(777)}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := stream.CloseAndRecv(); err != nil || r.AggregatedPayloadSize != 777_000 {
		t.Errorf("%v, %v", r, err)
	}
}

func TestMetadataGoesBothWays(t *testing.T) {
	s := &service{unary: func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		in, _ := metadata.FromIncomingContext(ctx)
		if in.Get(":authority") == nil || in.Get("content-type") == nil || in.Get("te") != nil || in.Get("grpc-timeout") != nil {
			return nil, status.Errorf(codes.Internal, "incoming metadata is %v", in)
		}
		one, _ := grpc.ServerTransportStreamFromContext(ctx).(interface{ HeaderValue(string) (string, bool) }).HeaderValue("word")
		if one != "b" || len(metadata.ValueFromIncomingContext(ctx, "word")) != 2 {
			return nil, status.Error(codes.Internal, "the values of one name got lost")
		}
		if m, _ := grpc.Method(ctx); m != testpb.TestService_UnaryCall_FullMethodName {
			return nil, status.Error(codes.Internal, m)
		}
		if p, ok := peer.FromContext(ctx); !ok || p.Addr == nil || p.LocalAddr == nil {
			return nil, status.Error(codes.Internal, "no peer")
		}
		if err := grpc.SetHeader(ctx, metadata.Pairs("echo", in.Get("word")[1], "raw-bin", in.Get("raw-bin")[0])); err != nil {
			return nil, err
		}
		if err := grpc.SendHeader(ctx, metadata.Pairs("more", "yes")); err != nil {
			return nil, err
		}
		if err := grpc.SetHeader(ctx, metadata.Pairs("late", "yes")); status.Code(err) != codes.Internal {
			return nil, status.Errorf(codes.Internal, "a late header gives %v", err)
		}
		return &testpb.SimpleResponse{}, grpc.SetTrailer(ctx, metadata.Pairs("end", "x", "end-bin", "\x00\xff", "grpc-status", "7"))
	}}
	client := dial(t, start(t, ours(transport.Options{}), s))
	ctx := metadata.AppendToOutgoingContext(limit(t), "word", "b", "word", "c", "raw-bin", "\x00\x01\xfe")
	var header, trailer metadata.MD
	if _, err := client.UnaryCall(ctx, &testpb.SimpleRequest{}, grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%q %q %q %q %q", header["echo"], header["raw-bin"], header["more"], trailer["end"], trailer["end-bin"])
	if want := `["c"] ["\x00\x01\xfe"] ["yes"] ["x"] ["\x00\xff"]`; got != want {
		t.Errorf("came back: %s, want %s", got, want)
	}
}

func TestStreamsHaveHeadersAndTrailers(t *testing.T) {
	s := &service{full: func(stream testpb.TestService_FullDuplexCallServer) error {
		if err := stream.SetHeader(metadata.Pairs("Bad Name", "x")); status.Code(err) != codes.Internal {
			return errors.New("a bad name is taken")
		}
		if err := stream.SetHeader(metadata.Pairs("name", "\n")); status.Code(err) != codes.Internal {
			return errors.New("a bad value is taken")
		}
		if err := stream.SetHeader(metadata.Pairs("a", "1")); err != nil {
			return err
		}
		if err := stream.SendHeader(metadata.Pairs("b", "2")); err != nil {
			return err
		}
		stream.SetTrailer(metadata.Pairs("c", "3"))
		return nil
	}}
	client := dial(t, start(t, ours(transport.Options{}), s))
	stream, err := client.FullDuplexCall(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	header, err := stream.Header()
	if err != nil || header.Get("a")[0] != "1" || header.Get("b")[0] != "2" {
		t.Errorf("%v, %v", header, err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if stream.Trailer().Get("c")[0] != "3" {
		t.Errorf("%v", stream.Trailer())
	}
}

func TestErrorsKeepTheirTextAndDetails(t *testing.T) {
	full, err := status.New(codes.Aborted, "50 % of “this”\x00\n").WithDetails(durationpb.New(7))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		err  error
		want *status.Status
	}{
		{full.Err(), full},
		{errors.New("plain\xff%"), status.New(codes.Unknown, "plain\xff%")},
		{fmt.Errorf("wrapped: %w", context.DeadlineExceeded), status.New(codes.DeadlineExceeded, "wrapped: context deadline exceeded")},
		{context.Canceled, status.New(codes.Canceled, "context canceled")},
	} {
		client := dial(t, start(t, ours(transport.Options{}), &service{unary: func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			return nil, c.err
		}}))
		_, err := client.UnaryCall(limit(t), &testpb.SimpleRequest{})
		got := status.Convert(err)
		if got.Code() != c.want.Code() || strings.ToValidUTF8(c.want.Message(), "\ufffd") != got.Message() || len(got.Details()) != len(c.want.Details()) {
			t.Errorf("%v arrived as %v with %d details", c.err, got, len(got.Details()))
		}
	}
}

func TestCompressionIsAnsweredWithTheSame(t *testing.T) {
	client := dial(t, start(t, ours(transport.Options{MaxRecvBytes: 1 << 20}), &service{}))
	zip := grpc.UseCompressor(gzip.Name)
	r, err := client.UnaryCall(limit(t), &testpb.SimpleRequest{Payload: body(200_000)}, zip)
	if err != nil || string(r.Payload.Body) != string(body(200_000).Body) {
		t.Fatalf("%d bytes, %v", len(r.GetPayload().GetBody()), err)
	}
	_, err = client.UnaryCall(limit(t), &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, 2<<20)}}, zip)
	if want := "grpc: received message after decompression larger than max 1048576"; status.Code(err) != codes.ResourceExhausted || status.Convert(err).Message() != want {
		t.Errorf("a small message that grows: %v", err)
	}
	stream, err := client.FullDuplexCall(limit(t), zip)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 5, 100_000} {
		if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: body(n)}); err != nil {
			t.Fatal(err)
		}
		if r, err := stream.Recv(); err != nil || len(r.GetPayload().GetBody()) != n {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestMessagesAreBounded(t *testing.T) {
	s := &service{unary: func(_ context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		return &testpb.SimpleResponse{Payload: body(int(r.ResponseSize))}, nil
	}}
	client := dial(t, start(t, ours(transport.Options{MaxRecvBytes: 1000, MaxSendBytes: 2000}), s))
	for _, c := range []struct {
		send, receive int
		want          string
	}{
		{990, 1990, ""},
		{1000, 0, "grpc: received message larger than max (1006 vs. 1000)"},
		{300_000, 0, "grpc: received message larger than max (300008 vs. 1000)"},
		{0, 2000, "trying to send message larger than max (2006 vs. 2000)"},
	} {
		_, err := client.UnaryCall(limit(t), &testpb.SimpleRequest{Payload: body(c.send), ResponseSize: int32(c.receive)})
		if got := status.Convert(err); err != nil && got.Code() != codes.ResourceExhausted || got.Message() != c.want {
			t.Errorf("%d bytes there, %d back: %v, want %q", c.send, c.receive, err, c.want)
		}
	}
}

func TestDeadlinesReachTheHandler(t *testing.T) {
	seen := make(chan bool, 1)
	s := &service{unary: func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		_, ok := ctx.Deadline()
		<-ctx.Done()
		seen <- ok && ctx.Err() != nil
		return nil, ctx.Err()
	}}
	client := dial(t, start(t, ours(transport.Options{}), s))
	if _, err := client.EmptyCall(limit(t), &testpb.Empty{}); err != nil { // now it is connected
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTime/60)
	defer cancel()
	if _, err := client.UnaryCall(ctx, &testpb.SimpleRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Error(err)
	}
	if !<-seen {
		t.Error("the handler has no deadline")
	}
}

func TestCancelReachesTheHandler(t *testing.T) {
	for name, end := range map[string]func(*grpc.ClientConn, context.CancelFunc){
		"the call is cancelled":      func(_ *grpc.ClientConn, cancel context.CancelFunc) { cancel() },
		"the connection is cut away": func(conn *grpc.ClientConn, _ context.CancelFunc) { conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			begun, ended := make(chan struct{}, 2), make(chan error, 2)
			s := &service{
				unary: func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
					begun <- struct{}{}
					<-ctx.Done()
					ended <- ctx.Err()
					return nil, ctx.Err()
				},
				full: func(stream testpb.TestService_FullDuplexCallServer) error {
					begun <- struct{}{}
					_, err := stream.Recv()
					ended <- err
					return err
				},
			}
			conn, err := grpc.NewClient(start(t, ours(transport.Options{}), s), insecureOption())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			client := testpb.NewTestServiceClient(conn)
			ctx, cancel := context.WithCancel(limit(t))
			defer cancel()
			go func() { _, _ = client.UnaryCall(ctx, &testpb.SimpleRequest{}) }()
			if _, err := client.FullDuplexCall(ctx); err != nil {
				t.Fatal(err)
			}
			<-begun
			<-begun
			end(conn, cancel)
			for range 2 {
				if err := <-ended; status.Code(err) != codes.Canceled && !errors.Is(err, context.Canceled) {
					t.Errorf("the handler hears %v", err)
				}
			}
		})
	}
}

func TestManyCallsOnOneConnection(t *testing.T) {
	client := dial(t, start(t, ours(transport.Options{}), &service{}))
	ctx := limit(t)
	var calls sync.WaitGroup
	for i := range 64 {
		calls.Go(func() {
			for j := range 50 {
				n := (i*50 + j) * 37 % 30_000
				r, err := client.UnaryCall(ctx, &testpb.SimpleRequest{Payload: body(n)})
				if err != nil || len(r.Payload.GetBody()) != n {
					t.Errorf("%d bytes: %v", n, err)
					return
				}
			}
		})
	}
	for range 16 {
		calls.Go(func() {
			stream, err := client.FullDuplexCall(ctx)
			for j := range 50 {
				if err == nil {
					err = stream.Send(&testpb.StreamingOutputCallRequest{Payload: body(j * 200)})
				}
				if err == nil {
					_, err = stream.Recv()
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
}

func TestConcurrentStreamsAreBounded(t *testing.T) {
	release := make(chan struct{})
	var most, now int
	var mu sync.Mutex
	s := &service{unary: func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		mu.Lock()
		now++
		most = max(most, now)
		if now == 3 {
			close(release)
		}
		mu.Unlock()
		<-release
		mu.Lock()
		now--
		mu.Unlock()
		return &testpb.SimpleResponse{}, nil
	}}
	client := dial(t, start(t, ours(transport.Options{MaxConcurrentStreams: 3}), s))
	ctx := limit(t)
	var calls sync.WaitGroup
	for range 100 {
		calls.Go(func() {
			if _, err := client.UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if most != 3 {
		t.Errorf("%d calls at once, want 3", most)
	}
}

// TestASenderWaitsForAClientThatDoesNotRead fills all windows, and then reads everything.
func TestASenderWaitsForAClientThatDoesNotRead(t *testing.T) {
	const messages, size = 200, 50_000
	sent := make(chan int, messages)
	s := &service{output: func(_ *testpb.StreamingOutputCallRequest, stream testpb.TestService_StreamingOutputCallServer) error {
		for i := range messages {
			if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: body(size)}); err != nil {
				return err
			}
			sent <- i
		}
		return nil
	}}
	client := dial(t, start(t, ours(transport.Options{}), s), grpc.WithInitialWindowSize(1<<17), grpc.WithInitialConnWindowSize(1<<18))
	stream, err := client.StreamingOutputCall(limit(t), &testpb.StreamingOutputCallRequest{})
	if err != nil {
		t.Fatal(err)
	}
	<-sent
	// Others are served meanwhile.
	for range 20 {
		if _, err := client.EmptyCall(limit(t), &testpb.Empty{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(sent); n > 20 {
		t.Errorf("%d messages were sent to a client that reads nothing", n)
	}
	for i := range messages {
		if r, err := stream.Recv(); err != nil || len(r.Payload.Body) != size {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// TestAReceiverHoldsUpItsClient has a handler that takes nothing: the client may send no more than a window.
func TestAReceiverHoldsUpItsClient(t *testing.T) {
	take := make(chan struct{})
	s := &service{input: func(stream testpb.TestService_StreamingInputCallServer) error {
		<-take
		return (&service{}).StreamingInputCall(stream)
	}}
	client := dial(t, start(t, ours(transport.Options{}), s))
	stream, err := client.StreamingInputCall(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	sent := 0
	done := make(chan error, 1)
	go func() {
		for range 100 {
			if err := stream.Send(&testpb.StreamingInputCallRequest{Payload: body(30_000)}); err != nil {
				done <- err
				return
			}
			mu.Lock()
			sent++
			mu.Unlock()
		}
		done <- nil
	}()
	for range 50 { // the connection itself is not held up
		if _, err := client.EmptyCall(limit(t), &testpb.Empty{}); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	if sent > 10 {
		t.Errorf("%d messages were sent to a handler that takes none", sent)
	}
	mu.Unlock()
	close(take)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if r, err := stream.CloseAndRecv(); err != nil || r.AggregatedPayloadSize != 3_000_000 {
		t.Errorf("%v, %v", r, err)
	}
}

// TestMessagesTravelTogether has a handler send two messages in one piece, behind one that was sent as usual.
func TestMessagesTravelTogether(t *testing.T) {
	s := &service{full: func(stream testpb.TestService_FullDuplexCallServer) error {
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: body(1)}); err != nil {
			return err
		}
		way := grpc.ServerTransportStreamFromContext(stream.Context()).(interface {
			WriteMessages(mem.BufferSlice) error
		})
		var both []byte
		for _, n := range []int{2, 100_000} {
			b, err := proto.Marshal(&testpb.StreamingOutputCallResponse{Payload: body(n)})
			if err != nil {
				return err
			}
			both = append(binary.BigEndian.AppendUint32(append(both, 0), uint32(len(b))), b...)
		}
		return way.WriteMessages(mem.BufferSlice{mem.SliceBuffer(both)})
	}}
	client := dial(t, start(t, ours(transport.Options{}), s))
	stream, err := client.FullDuplexCall(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 2, 100_000} {
		if r, err := stream.Recv(); err != nil || len(r.Payload.GetBody()) != n {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// TestAContextTellsItsCall asks a call's context in the ways of gRPC's packages, and lets other contexts hang on it.
func TestAContextTellsItsCall(t *testing.T) {
	type key struct{}
	s := &service{unary: func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		child, cancel := context.WithCancel(context.WithValue(ctx, key{}, 7))
		defer cancel()
		if _, ok := metadata.FromIncomingContext(child); !ok || child.Value(key{}) != 7 || ctx.Value(key{}) != nil {
			return nil, status.Error(codes.Internal, "a value is lost")
		}
		if _, ok := ctx.Deadline(); ok {
			return nil, status.Error(codes.Internal, "a deadline from nowhere")
		}
		return &testpb.SimpleResponse{}, nil
	}}
	client := dial(t, start(t, ours(transport.Options{}), s))
	if _, err := client.UnaryCall(context.Background(), &testpb.SimpleRequest{}); err != nil {
		t.Error(err)
	}
}
