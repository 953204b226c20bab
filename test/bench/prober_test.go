package main

import (
	"context"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// slowKV acknowledges the first put when it is told to and all others at once.
type slowKV struct {
	pb.KVClient
	arrived, release chan struct{}
}

func (kv slowKV) Put(_ context.Context, r *pb.PutRequest, _ ...grpc.CallOption) (*pb.PutResponse, error) {
	if string(r.Key) == string(proberSpace.key(1)) {
		close(kv.arrived)
		<-kv.release
	}
	return &pb.PutResponse{}, nil
}

func TestAPutSentBeforeTheKillDoesNotEndTheWait(t *testing.T) {
	p := &prober{done: make(chan struct{})}
	kv := slowKV{arrived: make(chan struct{}), release: make(chan struct{})}
	old := make(chan struct{})
	go func() {
		p.put(kv)
		close(old)
	}()
	<-kv.arrived
	killed := time.Now()
	first := make(chan time.Time, 1)
	p.since, p.first = killed, first
	close(kv.release)
	<-old
	if len(first) != 0 {
		t.Fatal("a put sent before the kill ended the wait")
	}
	p.put(kv)
	if len(first) != 1 || (<-first).Before(killed) {
		t.Error("a put sent after the kill did not end the wait")
	}
	if kept := p.stop(); len(kept) != 2 {
		t.Errorf("kept %v", kept)
	}
}

func TestAProberGoesOnWithTheMembersThatAreLeft(t *testing.T) {
	gone, left := &fakeStore{}, &fakeStore{}
	away := serve(t, gone)
	p, err := startProber([]string{"127.0.0.1:1", away.address, serve(t, left).address})
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	for range 3 {
		if _, err := p.firstAfter(t.Context(), time.Now(), testLimit); err != nil {
			t.Fatal(err)
		}
	}
	kept := p.stop()
	if puts := gone.puts.Load() + left.puts.Load(); len(kept) < 3 || int64(len(kept)) != puts {
		t.Errorf("%d puts were kept, %d acknowledged", len(kept), puts)
	}
	if again := p.stop(); len(again) != len(kept) {
		t.Errorf("stopped again, it kept %d", len(again))
	}
}

func TestAWaitForAPutEnds(t *testing.T) {
	p := &prober{done: make(chan struct{})}
	if _, err := p.firstAfter(t.Context(), time.Now(), time.Millisecond); err == nil {
		t.Error("a put came from nowhere")
	}
}

func TestALostPutIsFound(t *testing.T) {
	s := serve(t, &fakeStore{keys: []string{string(proberSpace.key(1)), string(proberSpace.key(3))}})
	if err := checkKept(s, []uint64{3, 1}); err != nil {
		t.Error(err)
	}
	if err := checkKept(s, []uint64{1, 2, 3}); err == nil || !strings.Contains(err.Error(), "lost") {
		t.Errorf("got %v", err)
	}
}
