package transport_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/transport"
)

func insecureOption() grpc.DialOption {
	return grpc.WithTransportCredentials(insecure.NewCredentials())
}

// TestAGentleStopLosesNoCall stops a server while clients call as fast as they can. What was begun ends well; what
// comes later is refused without having been begun.
func TestAGentleStopLosesNoCall(t *testing.T) {
	for range 5 {
		var begun, answered atomic.Int64
		s := &service{unary: func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			begun.Add(1)
			return &testpb.SimpleResponse{}, nil
		}}
		server := ours(transport.Options{})
		address := start(t, server, s)
		var clients sync.WaitGroup
		warm := make(chan struct{}, 8*100)
		for range 8 {
			conn, err := grpc.NewClient(address, insecureOption())
			if err != nil {
				t.Fatal(err)
			}
			clients.Go(func() {
				defer conn.Close()
				client := testpb.NewTestServiceClient(conn)
				for {
					_, err := client.UnaryCall(limit(t), &testpb.SimpleRequest{})
					if err != nil {
						if status.Code(err) != codes.Unavailable {
							t.Errorf("a call that came late: %v", err)
						}
						return
					}
					answered.Add(1)
					select {
					case warm <- struct{}{}:
					default:
					}
				}
			})
		}
		for range cap(warm) / 2 {
			<-warm
		}
		server.GracefulStop()
		clients.Wait()
		if begun.Load() != answered.Load() {
			t.Errorf("%d calls were begun, %d answered", begun.Load(), answered.Load())
		}
	}
}

func TestAGentleStopWaitsForCallsUnderWay(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s := &service{unary: func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		close(begun)
		<-release
		return &testpb.SimpleResponse{Username: "done"}, nil
	}}
	server := ours(transport.Options{})
	client := dial(t, start(t, server, s))
	answer := make(chan error, 1)
	go func() {
		r, err := client.UnaryCall(limit(t), &testpb.SimpleRequest{})
		if err == nil && r.Username != "done" {
			err = errors.New("another answer")
		}
		answer <- err
	}()
	<-begun
	stopped := make(chan struct{})
	go func() { server.GracefulStop(); close(stopped) }()
	// New calls are refused while the old one goes on.
	for {
		if _, err := client.EmptyCall(limit(t), &testpb.Empty{}); err != nil {
			break
		}
	}
	select {
	case <-stopped:
		t.Fatal("stopped with a call under way")
	default:
	}
	close(release)
	if err := <-answer; err != nil {
		t.Error(err)
	}
	<-stopped
}

func TestStopCutsAGentleStopShort(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	s := &service{full: func(stream testpb.TestService_FullDuplexCallServer) error {
		close(begun)
		<-stream.Context().Done()
		ended <- stream.Context().Err()
		return nil
	}}
	server := ours(transport.Options{})
	client := dial(t, start(t, server, s))
	stream, err := client.FullDuplexCall(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	stopped := make(chan struct{})
	go func() { server.GracefulStop(); close(stopped) }()
	server.Stop()
	if err := <-ended; err == nil {
		t.Error("the handler was not told")
	}
	<-stopped
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the client hears %v", err)
	}
}

func TestAStoppedServerServesNoMore(t *testing.T) {
	server := ours(transport.Options{})
	server.Stop()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		t.Error("the listener is open")
	}
}

func TestAListenerThatFailsEndsServe(t *testing.T) {
	server := ours(transport.Options{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := server.Serve(listener); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestRegisteringWrongly(t *testing.T) {
	panics := func(f func()) (said any) {
		defer func() { said = recover() }()
		f()
		return nil
	}
	server := ours(transport.Options{})
	testpb.RegisterTestServiceServer(server, &service{})
	if panics(func() { testpb.RegisterTestServiceServer(server, &service{}) }) == nil {
		t.Error("a service is registered twice")
	}
	if panics(func() { server.RegisterService(&testpb.ReconnectService_ServiceDesc, &service{}) }) == nil {
		t.Error("a service is registered that does not implement its description")
	}
}
