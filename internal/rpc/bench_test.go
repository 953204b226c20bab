package rpc

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/state"
)

// instantReplica answers puts without doing anything, so that what is measured is the way in and out.
type instantReplica struct{ *loneReplica }

func (r instantReplica) Propose(context.Context, command.Op) (state.Result, error) {
	return state.Result{Rev: 1 << 30, Response: &pb.PutResponse{}}, nil
}

// processMicros is the processor time this process has used, in microseconds.
func processMicros(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return (u.Utime.Sec+u.Stime.Sec)*1e6 + (u.Utime.Usec + u.Stime.Usec)
}

// BenchmarkUnaryOverLoopback measures calls with their client. The method that is not built does nothing at
// all: the difference to it is what we add to gRPC.
func BenchmarkUnaryOverLoopback(b *testing.B) {
	value := make([]byte, 256)
	for _, bench := range []struct {
		name string
		call func(context.Context, *house) error
	}{
		{"put 256 B", func(ctx context.Context, h *house) error {
			return h.conn.Invoke(ctx, "/etcdserverpb.KV/Put", &pb.PutRequest{Key: []byte("/registry/pods/default/web-1"), Value: value}, new(pb.PutResponse))
		}},
		{"get 256 B", func(ctx context.Context, h *house) error {
			return h.conn.Invoke(ctx, "/etcdserverpb.KV/Range", &pb.RangeRequest{Key: []byte("k000")}, new(pb.RangeResponse))
		}},
		{"nothing", func(ctx context.Context, h *house) error {
			return h.conn.Invoke(ctx, "/v3lockpb.Lock/Lock", &pb.PutRequest{Key: []byte("/registry/pods/default/web-1"), Value: value}, new(pb.PutResponse))
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			h := newHouse(b, nil)
			for i := range 100 {
				h.put(b, fmt.Sprintf("k%03d", i), string(value))
			}
			h.conn = benchServer(b, h)
			b.SetParallelism(32)
			b.ReportAllocs()
			b.ResetTimer()
			before := processMicros(b)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := bench.call(context.Background(), h); err != nil && bench.name != "nothing" {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(processMicros(b)-before)/float64(b.N), "cpu-µs/op")
		})
	}
}

// benchServer serves the house again, with a replica that costs nothing.
func benchServer(b *testing.B, h *house) *grpc.ClientConn {
	b.Helper()
	deps := h.deps
	deps.Replica = instantReplica{h.replica}
	server := newTransport(deps)
	New(deps).Register(server)
	listener, dial := listen(b)
	go func() { _ = server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithContextDialer(dial), insecureDial())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := conn.Close(); err != nil {
			b.Error(err)
		}
		server.Stop()
	})
	return conn
}

func BenchmarkListOverLoopback(b *testing.B) {
	h := newHouse(b, nil)
	value := string(make([]byte, 256))
	for i := range 10_000 {
		h.put(b, fmt.Sprintf("k%05d", i), value)
	}
	for _, n := range []int64{1, 10, 50, 500, 10_000} {
		b.Run(fmt.Sprintf("%d x 256 B", n), func(b *testing.B) {
			b.ReportAllocs()
			before := processMicros(b)
			for b.Loop() {
				out := new([]byte)
				err := h.conn.Invoke(context.Background(), "/etcdserverpb.KV/Range", rangeBytes(b, n), out, grpc.ForceCodecV2(rawCodec{}))
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(processMicros(b)-before)/float64(b.N), "cpu-µs/op")
		})
	}
}

// rangeBytes is an encoded request for the first n keys. The client of this benchmark neither encodes nor
// decodes, which would cost more than everything that is measured.
func rangeBytes(b *testing.B, n int64) []byte {
	b.Helper()
	out, err := proto.Marshal(&pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Limit: n})
	if err != nil {
		b.Fatal(err)
	}
	return out
}

func insecureDial() grpc.DialOption { return grpc.WithTransportCredentials(insecure.NewCredentials()) }
