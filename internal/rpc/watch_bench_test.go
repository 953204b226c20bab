package rpc

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/watch"
	"github.com/keelson-db/keelson/internal/wire"
)

// The benchmarks deliver one put of 256 bytes to 1,000 watchers on 10 streams.
const fanStreams, fanWatchers = 10, 100

// fanOut puts and waits until everybody has it.
func fanOut(b *testing.B, w *watchWorld, left *atomic.Int64, arrived <-chan struct{}) {
	b.Helper()
	<-arrived
	value := strings.Repeat("v", 256)
	b.ReportAllocs()
	for b.Loop() {
		left.Store(fanStreams * fanWatchers)
		w.put(b, "key-1", value)
		<-arrived
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*fanStreams*fanWatchers), "ns/event")
}

// BenchmarkWatchFanOut ends where the message would be handed to gRPC.
func BenchmarkWatchFanOut(b *testing.B) {
	w := newWatchWorld(b, 1<<20)
	defer w.close()
	ctx, cancel := context.WithCancel(b.Context())
	var left atomic.Int64
	left.Store(fanStreams * fanWatchers)
	arrived := make(chan struct{}, 1)
	var senders sync.WaitGroup
	for range fanStreams {
		s := w.hub.NewStream(watch.StreamOptions{})
		for range fanWatchers {
			s.Create(watch.Create{Key: []byte("key"), End: []byte("kez"), PrevKV: true})
		}
		senders.Go(func() {
			codec := wire.Codec{Received: new(metrics.Counter), Sent: new(metrics.Counter)}
			var e wire.WatchEncoder
			e.SetMember(1<<63, 1<<62)
			e.SetTerm(5)
			for {
				turn, err := s.Next(ctx)
				if err != nil {
					return
				}
				for _, r := range turn {
					if err := e.Load(w.store, r); err != nil {
						b.Error(err)
						return
					}
					m, _ := e.Next(1 << 20)
					bufs, err := codec.Marshal(e.Message(m))
					if err != nil {
						b.Error(err)
						return
					}
					bufs.Free()
				}
				if left.Add(int64(-len(turn))) == 0 {
					arrived <- struct{}{}
				}
			}
		})
	}
	fanOut(b, w, &left, arrived)
	cancel()
	senders.Wait()
}

// BenchmarkWatchFanOutOverGRPC goes through gRPC in memory; the client's share is in the figure.
func BenchmarkWatchFanOutOverGRPC(b *testing.B) {
	w := newWatchWorld(b, 1<<20)
	defer w.close()
	ctx, cancel := context.WithCancel(b.Context())
	var left atomic.Int64
	left.Store(fanStreams * fanWatchers)
	arrived := make(chan struct{}, 1)
	var clients sync.WaitGroup
	for range fanStreams {
		s, err := w.client.Watch(ctx)
		if err != nil {
			b.Fatal(err)
		}
		for range fanWatchers {
			send(b, s, &pb.WatchCreateRequest{Key: []byte("key"), RangeEnd: []byte("kez"), PrevKv: true})
		}
		clients.Go(func() {
			for {
				if _, err := s.Recv(); err != nil {
					return
				}
				if left.Add(-1) == 0 {
					arrived <- struct{}{}
				}
			}
		})
	}
	fanOut(b, w, &left, arrived)
	cancel()
	clients.Wait()
}
