package transport_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/keelson-db/keelson/internal/transport"
)

// testTime bounds every wait of these tests.
const testTime = time.Minute

// service is a service whose methods are functions.
type service struct {
	testpb.UnimplementedTestServiceServer
	unary  func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error)
	full   func(testpb.TestService_FullDuplexCallServer) error
	output func(*testpb.StreamingOutputCallRequest, testpb.TestService_StreamingOutputCallServer) error
	input  func(testpb.TestService_StreamingInputCallServer) error
}

func (s *service) EmptyCall(context.Context, *testpb.Empty) (*testpb.Empty, error) {
	return &testpb.Empty{}, nil
}

func (s *service) UnaryCall(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if s.unary == nil {
		return &testpb.SimpleResponse{Payload: r.Payload}, nil
	}
	return s.unary(ctx, r)
}

func (s *service) FullDuplexCall(stream testpb.TestService_FullDuplexCallServer) error {
	if s.full != nil {
		return s.full(stream)
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = stream.Send(&testpb.StreamingOutputCallResponse{Payload: r.Payload})
		}
		if err != nil {
			return err
		}
	}
}

func (s *service) StreamingOutputCall(r *testpb.StreamingOutputCallRequest, stream testpb.TestService_StreamingOutputCallServer) error {
	return s.output(r, stream)
}

func (s *service) StreamingInputCall(stream testpb.TestService_StreamingInputCallServer) error {
	if s.input != nil {
		return s.input(stream)
	}
	total := 0
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: int32(total)})
		}
		if err != nil {
			return err
		}
		total += len(r.Payload.GetBody())
	}
}

// served is what the two servers have in common.
type served interface {
	grpc.ServiceRegistrar
	Serve(net.Listener) error
	GracefulStop()
	Stop()
}

// start serves a service until the test ends, and returns the address.
func start(t testing.TB, server served, s *service) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, listener, server, s)
}

func startOn(t testing.TB, listener net.Listener, server served, s *service) string {
	t.Helper()
	testpb.RegisterTestServiceServer(server, s)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	return listener.Addr().String()
}

func ours(o transport.Options) *transport.Server {
	o.Codec = encoding.GetCodecV2("proto")
	return transport.NewServer(o)
}

// dial connects gRPC's client.
func dial(t testing.TB, address string, o ...grpc.DialOption) testpb.TestServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(address, append(o, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return testpb.NewTestServiceClient(conn)
}

func limit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	t.Cleanup(cancel)
	return ctx
}

// body is a payload of n bytes.
func body(n int) *testpb.Payload {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return &testpb.Payload{Body: b}
}

func TestUnaryCallsOfAllSizes(t *testing.T) {
	client := dial(t, start(t, ours(transport.Options{}), &service{}))
	for _, n := range []int{0, 1, 300, 400, 5000, 16384, 65535, 65536, 1 << 20, 4<<20 - 100} {
		want := body(n)
		got, err := client.UnaryCall(limit(t), &testpb.SimpleRequest{Payload: want}, grpc.MaxCallRecvMsgSize(8<<20))
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if string(got.Payload.GetBody()) != string(want.Body) {
			t.Errorf("%d bytes came back as %d others", n, len(got.Payload.GetBody()))
		}
	}
}

// TestCallsOverTLS has records of TLS between the frames and the socket: what is written at once arrives in pieces.
func TestCallsOverTLS(t *testing.T) {
	lender := httptest.NewTLSServer(nil) // of its certificate
	defer lender.Close()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secured := tls.NewListener(plain, &tls.Config{Certificates: lender.TLS.Certificates, NextProtos: []string{"h2"}})
	roots := lender.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	conn, err := grpc.NewClient(startOn(t, secured, ours(transport.Options{}), &service{}),
		grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(roots, "example.com")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := testpb.NewTestServiceClient(conn).FullDuplexCall(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 16 << 10, 100_000, 3 << 20} {
		want := body(n)
		if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: want}); err != nil {
			t.Fatal(err)
		}
		if got, err := stream.Recv(); err != nil || string(got.Payload.GetBody()) != string(want.Body) {
			t.Fatalf("%d bytes came back as %d others: %v", n, len(got.GetPayload().GetBody()), err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the end is %v", err)
	}
}

func sendNothing(*testpb.StreamingOutputCallRequest, testpb.TestService_StreamingOutputCallServer) error {
	return nil
}
