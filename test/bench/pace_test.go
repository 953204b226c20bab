package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// numbered is a source of so many puts; the counter is shared by all connections.
func numbered(want int64) func() func([]byte) ([]byte, bool) {
	given := &atomic.Int64{}
	return func() func([]byte) ([]byte, bool) {
		source := putSource(false, nil)
		return func(dst []byte) ([]byte, bool) {
			if given.Add(1) > want {
				return nil, false
			}
			return source(dst)
		}
	}
}

func TestAPaceIsKeptAndEndsWhenThereIsNothingLeft(t *testing.T) {
	store := &fakeStore{}
	s := serve(t, store)
	const want, perSecond = 100, 500
	source := numbered(want)
	began := time.Now()
	run, err := pace{path: methodPut, perSecond: perSecond, conns: 4, source: source}.begin(s)
	if err != nil {
		t.Fatal(err)
	}
	done, err := run.wait()
	if err != nil {
		t.Fatal(err)
	}
	if done.calls != want || store.puts.Load() != want || done.latency.total != want {
		t.Errorf("%d calls, %d puts, %d latencies; want %d", done.calls, store.puts.Load(), done.latency.total, want)
	}
	// The last call is due a gap before the end of its share of a second.
	if took, least := time.Since(began), (want-4)*time.Second/perSecond; took < least {
		t.Errorf("%d calls took %v, which is faster than %d/s", want, took, perSecond)
	}
	if again, err := run.stop(); err != nil || again.calls != want {
		t.Errorf("stopped again: %d calls, %v", again.calls, err)
	}
}

func TestCallsOfTheWarmUpAreMadeAndNotCounted(t *testing.T) {
	store := &fakeStore{}
	source := numbered(50)
	run, err := pace{path: methodPut, conns: 2, source: source, warm: time.Hour}.begin(serve(t, store))
	if err != nil {
		t.Fatal(err)
	}
	done, err := run.wait()
	if err != nil {
		t.Fatal(err)
	}
	if done.calls != 0 || done.latency.total != 0 || store.puts.Load() != 50 {
		t.Errorf("%d calls and %d latencies of %d puts were counted", done.calls, done.latency.total, store.puts.Load())
	}
}

func TestAPaceEndsWithAReplyTooShortToBeRight(t *testing.T) {
	run, err := pace{path: methodRange, conns: 1, source: getSource, minReply: 1000}.begin(serve(t, &fakeStore{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run.wait(); err == nil || !strings.Contains(err.Error(), "too short") {
		t.Errorf("got %v", err)
	}
}

func TestAStoppedPaceMakesNoMoreCalls(t *testing.T) {
	store := &fakeStore{}
	s := serve(t, store)
	run, err := pace{path: methodPut, perSecond: 1, conns: 2, source: func() func([]byte) ([]byte, bool) {
		return putSource(false, nil)
	}}.begin(s)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	done, err := run.stop()
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > testLimit || int64(done.calls) != store.puts.Load() {
		t.Errorf("%d calls, %d puts, stopped in %v", done.calls, store.puts.Load(), took)
	}
}

func TestAServerThatStandsStillIsChargedForEverybodyWhoWaits(t *testing.T) {
	const stall = 400 * time.Millisecond
	var first atomic.Bool
	first.Store(true)
	s := serve(t, &fakeStore{}, grpc.UnaryInterceptor(
		func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if first.CompareAndSwap(true, false) {
				<-time.After(stall)
			}
			return handle(ctx, r)
		}))
	source := numbered(200)
	run, err := pace{path: methodPut, perSecond: 200, conns: 1, source: source}.begin(s)
	if err != nil {
		t.Fatal(err)
	}
	done, err := run.wait()
	if err != nil {
		t.Fatal(err)
	}
	// Eighty calls were due while the first one waited; the half of them waited for at least half of its time.
	if got := done.latency.percentile(0.8); got < stall/8 {
		t.Errorf("a fifth of the calls waited up to %v, and the rest less than %v", done.latency.max, got)
	}
}

func TestAPaceThatBearsRefusalsCountsThem(t *testing.T) {
	const calls = 3
	left := calls
	run, err := pace{path: methodPut, conns: 1, bears: true, source: func() func([]byte) ([]byte, bool) {
		return func(dst []byte) ([]byte, bool) {
			left--
			return appendPut(dst, nil, newRandom()), left >= 0
		}
	}}.begin(serve(t, &fakeStore{}))
	if err != nil {
		t.Fatal(err)
	}
	done, err := run.wait()
	if err != nil || done.calls != calls || done.refused != calls || done.latency.total != calls {
		t.Errorf("%d calls, %d of them refused, %d latencies: %v", done.calls, done.refused, done.latency.total, err)
	}
}

func TestAPaceEndsWithTheErrorOfACall(t *testing.T) {
	run, err := pace{path: methodPut, conns: 1, source: func() func([]byte) ([]byte, bool) {
		return func(dst []byte) ([]byte, bool) { return appendPut(dst, nil, newRandom()), true }
	}}.begin(serve(t, &fakeStore{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run.wait(); err == nil {
		t.Error("a refused put is no error")
	}
}

func TestTheTokenGoesWithEveryCallUnlessItShallNot(t *testing.T) {
	var guard sync.Mutex
	var seen []string
	s := serve(t, &fakeStore{}, grpc.UnaryInterceptor(
		func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			facts, _ := metadata.FromIncomingContext(ctx)
			guard.Lock()
			defer guard.Unlock()
			seen = append(seen, append(facts.Get("token"), "nobody")[0])
			return handle(ctx, r)
		}))
	s.token = "app.1"
	for _, anonymous := range []bool{false, true} {
		source := numbered(3)
		run, err := pace{path: methodPut, conns: 1, anonymous: anonymous, source: source}.begin(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := run.wait(); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"app.1", "app.1", "app.1", "nobody", "nobody", "nobody"}; !slices.Equal(seen, want) {
		t.Errorf("calls came from %q", seen)
	}
}

func TestASnapshotIsCountedAndChecked(t *testing.T) {
	page := make([]byte, 32<<10)
	page[fileMagicAt], page[fileMagicAt+1], page[fileMagicAt+2], page[fileMagicAt+3] = 0xED, 0xDA, 0x0C, 0xED
	size := uint64(len(page))
	sum := &pb.SnapshotResponse{Blob: make([]byte, trailerSize)}
	good := []*pb.SnapshotResponse{
		{Blob: page, RemainingBytes: 2 * size}, {Blob: page, RemainingBytes: size}, {Blob: page}, sum,
	}
	for name, c := range map[string]struct {
		messages []*pb.SnapshotResponse
		end      error
		bytes    int64
	}{
		"empty":             {nil, nil, 0},
		"whole":             {good, nil, 3*int64(size) + trailerSize},
		"cut short":         {good[:2], nil, 0},
		"of something else": {good[3:], nil, 0},
		"broken off":        {good, errors.New("disk"), 0},
		"refused":           {nil, status.Error(codes.Unimplemented, "no"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := serve(t, &fakeStore{messages: c.messages, end: c.end}).snapshot()
			if c.bytes == 0 && err == nil || c.bytes > 0 && (err != nil || got.bytes != c.bytes) {
				t.Errorf("%d bytes, %v", got.bytes, err)
			}
		})
	}
}
