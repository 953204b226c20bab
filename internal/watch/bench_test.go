package watch

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// BenchmarkFanOut delivers one put to 1,000 watchers on 10 streams, from Publish to the last Next.
func BenchmarkFanOut(b *testing.B) {
	const streams, perStream = 10, 100
	w := newWorld(b, mvcc.Options{})
	defer w.close(b)
	h := New(w.store, Options{})
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.Run(ctx) })
	var left atomic.Int64
	arrived := make(chan struct{}, 1)
	left.Store(streams * perStream)
	for range streams {
		s := h.NewStream(StreamOptions{})
		for range perStream {
			s.Create(Create{Key: []byte("key"), End: []byte("kez")})
		}
		wg.Go(func() {
			for {
				turn, err := s.Next(ctx)
				if err != nil {
					return
				}
				n := int64(0)
				for _, r := range turn {
					n += int64(len(r.Events))
					if r.Created {
						n++
					}
				}
				if left.Add(-n) == 0 {
					arrived <- struct{}{}
				}
			}
		})
	}
	<-arrived
	value := fmt.Sprintf("key-1=%0256d", 0)
	b.ReportAllocs()
	for b.Loop() {
		left.Store(streams * perStream)
		w.put(b, value)
		<-arrived
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*streams*perStream), "ns/event")
	cancel()
	wg.Wait()
}
