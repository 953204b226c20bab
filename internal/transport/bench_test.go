package transport_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/keelson-db/keelson/internal/transport"
)

// BenchmarkEmptyCall compares our transport with gRPC's server, under gRPC's client: what a call costs both sides in
// processor time, on one connection that many share, and on many with one call at a time.
func BenchmarkEmptyCall(b *testing.B) {
	for _, load := range []struct{ conns, streams int }{{1, 1}, {1, 64}, {64, 1}} {
		for name, server := range map[string]func() served{
			"keelson": func() served { return ours(transport.Options{}) },
			"grpc-go": func() served { return grpc.NewServer(grpc.NumStreamWorkers(64)) },
		} {
			b.Run(fmt.Sprintf("conns=%d/streams=%d/%s", load.conns, load.streams, name), func(b *testing.B) {
				address := start(b, server(), &service{})
				var clients []testpb.TestServiceClient
				for range load.conns {
					clients = append(clients, dial(b, address))
				}
				benchmarkCalls(b, clients, load.streams)
			})
		}
	}
}

func benchmarkCalls(b *testing.B, clients []testpb.TestServiceClient, streams int) {
	var left atomic.Int64
	var callers sync.WaitGroup
	for _, c := range clients { // the connections are made before the clock runs
		if _, err := c.EmptyCall(context.Background(), &testpb.Empty{}); err != nil {
			b.Fatal(err)
		}
	}
	left.Store(int64(b.N))
	b.ReportAllocs()
	before := processorTime(b)
	b.ResetTimer()
	for i := range streams * len(clients) {
		callers.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := clients[i%len(clients)].EmptyCall(context.Background(), &testpb.Empty{}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-µs/op")
}

// processorTime is what this process has used so far, in microseconds.
func processorTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return (u.Utime.Nano() + u.Stime.Nano()) / 1000
}
