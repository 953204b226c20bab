package server

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// otlp is a collector that keeps what it is sent.
type otlp struct {
	collector.UnimplementedTraceServiceServer
	got chan *collector.ExportTraceServiceRequest
}

func (o *otlp) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	o.got <- r
	return &collector.ExportTraceServiceResponse{}, nil
}

func listenForTraces(t *testing.T) (*otlp, string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &otlp{got: make(chan *collector.ExportTraceServiceRequest, 100)}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, o)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return o, l.Addr().String()
}

// TestACollectorIsToldOfRequests has a client that follows a trace put a key, and another one that does not: of
// the sampling rate 0 only the first is told, under the client's trace and with the names that were configured.
func TestACollectorIsToldOfRequests(t *testing.T) {
	o, address := listenForTraces(t)
	r := run(t, vfs.NewMem(), "--enable-distributed-tracing", "--distributed-tracing-address="+address,
		"--distributed-tracing-service-name=keel", "--distributed-tracing-instance-id=n1")
	kv := pb.NewKVClient(r.conn)
	if _, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte("silent")}); err != nil {
		t.Fatal(err)
	}
	const trace = "0af7651916cd43dd8448eb211c80319c"
	traced := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	if _, err := kv.Put(traced, &pb.PutRequest{Key: []byte("told")}); err != nil {
		t.Fatal(err)
	}
	if err := r.end(t); err != nil { // what was not sent yet is sent at the stop
		t.Fatal(err)
	}
	select {
	case got := <-o.got:
		about := got.ResourceSpans[0].Resource.Attributes
		for name, want := range map[string]string{"service.name": "keel", "service.instance.id": "n1"} {
			if !slices.ContainsFunc(about, func(kv *commonv1.KeyValue) bool { return kv.Key == name && kv.Value.GetStringValue() == want }) {
				t.Errorf("the traces do not say %s=%s: %v", name, want, about)
			}
		}
		spans := got.ResourceSpans[0].ScopeSpans[0].Spans
		if len(spans) != 1 || spans[0].Name != "etcdserverpb.KV/Put" || !slices.Equal(spans[0].TraceId, []byte("\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c")) {
			t.Errorf("the collector was told of %v", spans)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the collector was told nothing")
	}
}
