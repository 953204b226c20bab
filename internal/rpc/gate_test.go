package rpc

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/lock/lockpb"
)

// leaderRequired marks a call as clientv3.WithRequireLeader does.
func leaderRequired() context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
}

func TestCallsThatWantALeaderFailWithoutOne(t *testing.T) {
	h := newHouse(t, nil)
	h.replica.leader.Store(0)
	_, err := h.kv.Range(leaderRequired(), &pb.RangeRequest{Key: []byte("a")})
	wantError(t, "range", err, rpctypes.ErrGRPCNoLeader)
	if _, err := h.kv.Range(context.Background(), &pb.RangeRequest{Key: []byte("a")}); err != nil {
		t.Errorf("a range that did not ask for a leader: %v", err)
	}
	stream, err := h.lease.LeaseKeepAlive(leaderRequired())
	if err == nil {
		_, err = stream.Recv()
	}
	wantError(t, "stream", err, rpctypes.ErrGRPCNoLeader)
}

func TestStreamsThatWantALeaderEndWhenItIsGone(t *testing.T) {
	h := newHouse(t, func(d *Deps) { d.ElectionTimeout = 10 * time.Millisecond })
	watcher, err := pb.NewWatchClient(h.conn).Watch(leaderRequired())
	if err != nil {
		t.Fatal(err)
	}
	if err := watcher.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("a")}}}); err != nil {
		t.Fatal(err)
	}
	if r, err := watcher.Recv(); err != nil || !r.Created {
		t.Fatalf("%v, %v", r, err)
	}
	renewals := map[string]context.Context{"wants a leader": leaderRequired(), "does not care": context.Background()}
	streams := map[string]pb.Lease_LeaseKeepAliveClient{}
	for name, ctx := range renewals {
		if streams[name], err = h.lease.LeaseKeepAlive(ctx); err != nil {
			t.Fatal(err)
		}
		if err := streams[name].Send(&pb.LeaseKeepAliveRequest{ID: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := streams[name].Recv(); err != nil {
			t.Fatal(err)
		}
	}
	h.replica.leader.Store(0)
	_, err = watcher.Recv()
	wantError(t, "watch", err, rpctypes.ErrGRPCNoLeader)
	_, err = streams["wants a leader"].Recv()
	wantError(t, "keepalive", err, rpctypes.ErrGRPCNoLeader)
	h.replica.lead(houseMember)
	if err := streams["does not care"].Send(&pb.LeaseKeepAliveRequest{ID: 1}); err != nil {
		t.Error(err)
	}
	if _, err := streams["does not care"].Recv(); err != nil {
		t.Errorf("a stream that did not ask for a leader: %v", err)
	}
}

func TestClientVersionsAreCountedAndMustBeText(t *testing.T) {
	h := newHouse(t, nil)
	ctx := metadata.AppendToOutgoingContext(context.Background(), rpctypes.MetadataClientAPIVersionKey, "3.6.0")
	for range 3 {
		if _, err := h.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")}); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.deps.Metrics.Server.ClientRequests.Unary("3.6.0").Value(); n != 3 {
		t.Errorf("counted %d requests of version 3.6.0", n)
	}
	bad := metadata.NewIncomingContext(context.Background(), metadata.Pairs(rpctypes.MetadataClientAPIVersionKey, "\xff"))
	wantError(t, "a version that is no text", h.services.gate.admitUnary(bad, nil), rpctypes.ErrGRPCInvalidClientAPIVersion)
}

// series reads one number from the registry.
func series(t *testing.T, r *prometheus.Registry, name string, labels map[string]string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	next:
		for _, m := range f.Metric {
			have := map[string]string{}
			for _, l := range m.Label {
				have[l.GetName()] = l.GetValue()
			}
			for k, v := range labels {
				if have[k] != v {
					continue next
				}
			}
			return m.GetCounter().GetValue()
		}
	}
	t.Fatalf("no series %s%v", name, labels)
	return 0
}

func TestCallsAreCountedByHowTheyEnd(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	h.put(t, "a", "1")
	h.put(t, "b", "1")
	if _, err := h.kv.Put(ctx, &pb.PutRequest{}); err == nil {
		t.Fatal("a put without key was accepted")
	}
	stream, err := h.lease.LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, method, code string
		want               float64
	}{
		{"grpc_server_started_total", "Put", "", 3},
		{"grpc_server_msg_received_total", "Put", "", 3},
		{"grpc_server_msg_sent_total", "Put", "", 2},
		{"grpc_server_handled_total", "Put", "OK", 2},
		{"grpc_server_handled_total", "Put", "InvalidArgument", 1},
		{"grpc_server_handled_total", "Range", "OK", 0},
		{"grpc_server_started_total", "LeaseKeepAlive", "", 1},
		{"grpc_server_msg_received_total", "LeaseKeepAlive", "", 1},
		{"grpc_server_handled_total", "LeaseKeepAlive", "OK", 0},
		{"grpc_server_started_total", "Snapshot", "", 0},
		{"grpc_server_started_total", "Check", "", 0},
	} {
		labels := map[string]string{"grpc_method": tc.method}
		if tc.code != "" {
			labels["grpc_code"] = tc.code
		}
		if got := series(t, h.deps.Metrics.Registry, tc.name, labels); got != tc.want {
			t.Errorf("%s of %s %s is %v, want %v", tc.name, tc.method, tc.code, got, tc.want)
		}
	}
}

func TestSlowRequestsAreLoggedWithoutTheirValues(t *testing.T) {
	var text bytes.Buffer
	h := newHouse(t, func(d *Deps) {
		d.WarningUnaryRequestDuration = time.Nanosecond
		d.Log = slog.New(slog.NewTextHandler(&text, nil))
	})
	h.put(t, "a-key", "a-secret")
	got := text.String()
	for _, want := range []string{"level=WARN", "/etcdserverpb.KV/Put", "a-key", "value_bytes=8", "remote="} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in %q", want, got)
		}
	}
	if strings.Contains(got, "a-secret") {
		t.Errorf("the value is in %q", got)
	}
}

func TestWhatIsNotBuiltSaysSo(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	for _, name := range []string{"Lock", "Unlock"} { // of a house that was given none
		full := "/" + lockpb.Lock_ServiceDesc.ServiceName + "/" + name
		err := h.conn.Invoke(ctx, full, &pb.StatusRequest{}, &pb.StatusRequest{})
		wantError(t, full, err, status.Error(codes.Unimplemented, "keelson: "+name+" is not built yet; see docs/compat.md"))
	}
}

func TestHealthIsToldUntilShutdown(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	health := healthpb.NewHealthClient(h.conn)
	if r, err := health.Check(ctx, &healthpb.HealthCheckRequest{}); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", r, err)
	}
	_, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: "none"})
	wantError(t, "unknown service", err, status.Error(codes.NotFound, "unknown service"))
	watch, err := health.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
		r, err := watch.Recv()
		if err != nil || r.Status != want {
			t.Errorf("%v, %v, want %v", r, err, want)
		}
		h.services.Shutdown()
	}
}

func TestInterceptorsOfTheTransportAreHonoured(t *testing.T) {
	h := newHouse(t, nil)
	seen := ""
	handler := unary(h.services.gate, "/etcdserverpb.KV/Put", func(context.Context, *pb.PutRequest) (any, error) { return "put", nil })
	out, err := handler(nil, context.Background(), func(any) error { return nil },
		func(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			seen = info.FullMethod
			return next(ctx, in)
		})
	if out != "put" || err != nil || seen != "/etcdserverpb.KV/Put" {
		t.Errorf("%v, %v through %q", out, err, seen)
	}
}
