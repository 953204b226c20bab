package integration

import (
	"context"
	"errors"
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/keelson-db/keelson/test/harness"

	// Registers the messages of the two services that the client library does not use.
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
)

// TestEveryMethodOfTheContractIsBuilt calls all of them.
func TestEveryMethodOfTheContractIsBuilt(t *testing.T) {
	t.Parallel()
	conn := harness.Start(t, harness.Options{}).Conn(t)
	for _, service := range []protoreflect.FullName{
		"etcdserverpb.KV", "etcdserverpb.Watch", "etcdserverpb.Lease", "etcdserverpb.Cluster", "etcdserverpb.Maintenance", "etcdserverpb.Auth",
		"v3lockpb.Lock", "v3electionpb.Election",
	} {
		desc, err := protoregistry.GlobalFiles.FindDescriptorByName(service)
		if err != nil {
			t.Fatal(err)
		}
		methods := desc.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			m := methods.Get(i)
			name := string(m.FullName())
			// An observer never comes to an end, and who held the lock "" would keep the election "" from ending.
			endless := name == "v3electionpb.Election.Observe" || name == "v3lockpb.Lock.Lock"
			if m.IsStreamingClient() || endless {
				continue
			}
			if s := status.Convert(callByName(harness.Ctx(t), t, conn, name, "")); s.Code() == codes.Unimplemented {
				t.Errorf("%s is not built: %q", name, s.Message())
			}
		}
	}
}

// callByName makes one call of any shape and returns its end.
func callByName(ctx context.Context, t *testing.T, conn *grpc.ClientConn, name, request string) error {
	t.Helper()
	desc, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatal(err)
	}
	m := desc.(protoreflect.MethodDescriptor)
	req, resp := harness.NewMessage(t, m.Input()), harness.NewMessage(t, m.Output())
	if err := prototext.Unmarshal([]byte(request), req); err != nil {
		t.Fatal(err)
	}
	full := "/" + string(m.FullName().Parent()) + "/" + string(m.Name())
	if !m.IsStreamingServer() {
		return conn.Invoke(ctx, full, req, resp)
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, full)
	if err != nil {
		return err
	}
	if err := errors.Join(stream.SendMsg(req), stream.CloseSend()); err != nil {
		return err
	}
	for {
		if err := stream.RecvMsg(resp); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// TestHealthServiceServes asks gRPC's own health service.
func TestHealthServiceServes(t *testing.T) {
	t.Parallel()
	conn := harness.Start(t, harness.Options{}).Conn(t)
	health := grpc_health_v1.NewHealthClient(conn)
	r, err := health.Check(harness.Ctx(t), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("check: %v, %v", r, err)
	}
	_, err = health.Check(harness.Ctx(t), &grpc_health_v1.HealthCheckRequest{Service: "nothing"})
	wantStatus(t, err, codes.NotFound, "unknown service")
	stream, err := health.Watch(harness.Ctx(t), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("watch: %v, %v", r, err)
	}
}
