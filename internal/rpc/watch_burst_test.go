package rpc

import (
	"context"
	"maps"
	"runtime"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// TestWatchResponsesTravelInBursts is what fails if a new version of gRPC no longer lets them: then watching
// still works, at twice the cost.
func TestWatchResponsesTravelInBursts(t *testing.T) {
	w := newWatchWorld(t, 1<<20)
	defer w.close()
	s, cancel := w.open(t)
	defer cancel()
	const watchers = 200
	for i := range watchers {
		send(t, s, &pb.WatchCreateRequest{WatchId: int64(i + 1), Key: []byte("key")})
	}
	for range watchers {
		if r, err := s.Recv(); err != nil || !r.Created {
			t.Fatalf("%v, %v", r, err)
		}
	}
	const puts = 4
	small := 0
	for i, bytes := range []int{10, 300, 1000, 3000, 8 << 10} { // the last is too large for a burst
		w.put(t, "key", strings.Repeat("v", bytes))
		for n := range watchers {
			r, err := s.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if r.WatchId != int64(n+1) || len(r.Events) != 1 || r.Events[0].Kv.ModRevision != int64(i+2) || len(r.Events[0].Kv.Value) != bytes {
				t.Fatalf("put %d: response %d is %v", i, n, r)
			}
			if i < puts {
				small += proto.Size(r)
			}
		}
	}
	cancel()
	<-w.ends // then everything is counted
	if got := w.burst.messages.Load(); got < watchers*puts/2 || got > watchers*(puts+1) {
		t.Errorf("%d messages went in bursts; there were %d small events, and %d answers before", got, watchers*puts, watchers)
	}
	if got := int(w.burst.bytes.Load()); got < small/2 || got > small+100*watchers {
		t.Errorf("%d bytes went in bursts; the small events had %d", got, small)
	}
}

func TestMessagesInBurstsAreCounted(t *testing.T) {
	h := newHouse(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := h.watch.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const watchers = 50
	for range watchers {
		send(t, s, &pb.WatchCreateRequest{Key: []byte("key")})
	}
	size := 0
	for range watchers {
		r, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		size += proto.Size(r)
	}
	cancel()
	labels := map[string]string{"grpc_method": "Watch", "grpc_service": "etcdserverpb.Watch"}
	ended := map[string]string{"grpc_code": "Canceled"}
	maps.Copy(ended, labels)
	for deadline := time.Now().Add(10 * time.Second); series(t, h.deps.Metrics.Registry, "grpc_server_handled_total", ended) == 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the stream does not end")
		}
	}
	if got := series(t, h.deps.Metrics.Registry, "grpc_server_msg_sent_total", labels); got != watchers {
		t.Errorf("%v messages were counted, %d sent", got, watchers)
	}
	if got := h.deps.Metrics.Network.ClientSentBytes.Value(); got != uint64(size) {
		t.Errorf("%d bytes were counted, %d sent", got, size)
	}
}
