package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"runtime"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// received is a transport that keeps what it gets.
type received struct {
	writes          [][]byte
	messages, bytes int
	err             error
}

func (r *received) burst() *burst {
	return &burst{
		write: func(data mem.BufferSlice) error {
			r.writes = append(r.writes, data.Materialize())
			return r.err
		},
		sent: func(messages, bytes int) { r.messages += messages; r.bytes += bytes },
		pool: newBurstPool(),
	}
}

// split takes gRPC's prefixes off.
func split(t *testing.T, stream []byte) (messages [][]byte) {
	t.Helper()
	for len(stream) > 0 {
		if len(stream) < grpcPrefixBytes || stream[0] != 0 {
			t.Fatalf("no prefix of a plain message: %x", stream[:min(len(stream), 8)])
		}
		end := grpcPrefixBytes + int(binary.BigEndian.Uint32(stream[1:]))
		if end > len(stream) {
			t.Fatalf("a message of %d bytes ends after %d", end, len(stream))
		}
		messages, stream = append(messages, stream[grpcPrefixBytes:end]), stream[end:]
	}
	return messages
}

func TestBurstsCarryEveryMessageInOrder(t *testing.T) {
	var to received
	b := to.burst()
	var want [][]byte
	total := 0
	for i := range 300 { // of about 2 KiB: several bursts, the last of which is small
		m := bytes.Repeat([]byte{byte(i)}, 1+(i*977)%burstMessageBytes)
		if i == 299 {
			m = []byte("last")
		}
		want = append(want, m)
		total += len(m)
		buf, err := b.begin(len(m))
		if err != nil {
			t.Fatal(err)
		}
		*buf = append(*buf, m...)
	}
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	writes := len(to.writes)
	if err := b.flush(); err != nil || len(to.writes) != writes {
		t.Fatalf("an empty burst was sent: %v", err)
	}
	b.release()
	got := split(t, bytes.Join(to.writes, nil))
	if len(got) != len(want) || !bytes.Equal(bytes.Join(got, []byte{'|'}), bytes.Join(want, []byte{'|'})) {
		t.Fatalf("%d messages arrive, not the %d that were sent", len(got), len(want))
	}
	if to.messages != len(want) || to.bytes != total {
		t.Fatalf("counted %d messages of %d bytes, want %d of %d", to.messages, to.bytes, len(want), total)
	}
	for i, w := range to.writes {
		if len(w) > burstBytes {
			t.Errorf("burst %d has %d bytes", i, len(w))
		}
	}
	if writes < total/burstBytes || writes > 2*total/burstBytes {
		t.Errorf("%d bursts for %d bytes", writes, total)
	}
}

func TestABurstThatFailsIsNotCounted(t *testing.T) {
	to := received{err: errors.New("gone")}
	b := to.burst()
	buf, err := b.begin(1)
	if err != nil {
		t.Fatal(err)
	}
	*buf = append(*buf, 'x')
	if err := b.flush(); !errors.Is(err, to.err) {
		t.Fatalf("flush says %v", err)
	}
	if to.messages != 0 {
		t.Errorf("%d messages counted", to.messages)
	}
	b.release()
}

// callStream is what gRPC knows of a call, in shapes that it might have one day.
type callStream struct{ compressor string }

func (callStream) Method() string               { return "/m" }
func (callStream) SetHeader(metadata.MD) error  { return nil }
func (callStream) SendHeader(metadata.MD) error { return nil }
func (callStream) SetTrailer(metadata.MD) error { return nil }
func (s callStream) SendCompress() string       { return s.compressor }

type writingStream struct{ callStream }

func (writingStream) Write([]byte, mem.BufferSlice, *struct{}) error {
	return errors.New("broken pipe")
}

type otherWritingStream struct{ callStream }

func (otherWritingStream) Write([]byte, mem.BufferSlice) error { return nil }

func TestBurstsNeedATransportThatTheyKnow(t *testing.T) {
	for name, s := range map[string]grpc.ServerTransportStream{
		"none":          nil,
		"no write":      callStream{},
		"other write":   otherWritingStream{},
		"compressed":    writingStream{callStream{compressor: "gzip"}},
		"as we know it": writingStream{},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			if s != nil {
				ctx = grpc.NewContextWithServerTransportStream(ctx, s)
			}
			write := transportOf(ctx)
			b := burst{write: write}
			if known := name == "as we know it"; (write != nil) != known || b.takes(1) != known {
				t.Fatalf("known: %v, taken: %v", write != nil, b.takes(1))
			}
			if write == nil {
				return
			}
			if err := write(nil); status.Code(err) != codes.Unavailable {
				t.Errorf("a broken connection is told as %v", err)
			}
		})
	}
}

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
	for i, bytes := range []int{10, 300, 1000, 3000, 2 * burstMessageBytes} {
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
