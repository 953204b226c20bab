package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	// probeEvery is the pause between two puts at a member. It bounds the error of a time to the next put.
	probeEvery = 10 * time.Millisecond
	// probeLimit bounds one put: longer than either product keeps one that found no leader.
	probeLimit = 15 * time.Second
	// probeRetry is the longest pause before a member that was away is connected to again.
	probeRetry = 100 * time.Millisecond
	// probeConnect bounds an attempt to connect.
	probeConnect = time.Second
)

// proberSpace holds what probers put, each key once.
var proberSpace = keyspace{prefix: "bench/probe/"}

// prober puts at every member at a fixed pace, whatever became of the puts before: a put that went down with a leader
// does not keep the next from finding the new one. It is a usual gRPC client, for its cost does not matter here. A put
// that fails is nothing to it; one that was acknowledged is kept.
type prober struct {
	links   []*grpc.ClientConn
	done    chan struct{} // closed to end it
	group   sync.WaitGroup
	numbers atomic.Uint64

	guard sync.Mutex
	kept  []uint64 // numbers of the keys that were acknowledged
	// since and first belong to the wait under way: the first put sent at since or later that was acknowledged ends
	// it.
	since time.Time
	first chan time.Time
}

// startProber begins to put at the members. It goes on until stop.
func startProber(addresses []string) (*prober, error) {
	p := &prober{done: make(chan struct{})}
	for _, address := range addresses {
		link, err := grpc.NewClient("passthrough:///"+address,
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: probeRetry / 10, Multiplier: 2, MaxDelay: probeRetry},
				MinConnectTimeout: probeConnect,
			}))
		if err != nil {
			p.stop()
			return nil, fmt.Errorf("begin to probe: %w", err)
		}
		p.links = append(p.links, link)
	}
	for _, link := range p.links {
		p.group.Go(func() { p.drive(pb.NewKVClient(link)) })
	}
	return p, nil
}

// drive puts at one member, each put in its own time.
func (p *prober) drive(kv pb.KVClient) {
	ticks := time.NewTicker(probeEvery)
	defer ticks.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-ticks.C:
			p.group.Go(func() { p.put(kv) })
		}
	}
}

func (p *prober) put(kv pb.KVClient) {
	number := p.numbers.Add(1)
	ctx, cancel := context.WithTimeout(context.Background(), probeLimit)
	defer cancel()
	request := &pb.PutRequest{
		Key: proberSpace.key(int(number)), Value: binary.LittleEndian.AppendUint64(nil, number),
	}
	sent := time.Now()
	if _, err := kv.Put(ctx, request); err != nil {
		return
	}
	now := time.Now()
	p.guard.Lock()
	defer p.guard.Unlock()
	p.kept = append(p.kept, number)
	if p.first != nil && !sent.Before(p.since) {
		p.first <- now
		p.first = nil
	}
}

// firstAfter waits for the first acknowledged put among those sent at the given time or later, and returns when its
// acknowledgement came.
func (p *prober) firstAfter(ctx context.Context, since time.Time, limit time.Duration) (time.Time, error) {
	first := make(chan time.Time, 1)
	p.guard.Lock()
	p.since, p.first = since, first
	p.guard.Unlock()
	select {
	case at := <-first:
		return at, nil
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	case <-time.After(limit):
		return time.Time{}, fmt.Errorf("no put was acknowledged within %v", limit)
	}
}

// stop ends the probing, waits for the puts under way and returns the numbers of those that were acknowledged. Stopping
// again does nothing.
func (p *prober) stop() []uint64 {
	select {
	case <-p.done:
	default:
		close(p.done)
	}
	p.group.Wait()
	for _, link := range p.links {
		_ = link.Close()
	}
	return p.kept
}

// checkKept makes sure that the cluster holds every put that was acknowledged.
func checkKept(s *server, kept []uint64) error {
	reply := &pb.RangeResponse{}
	request := &pb.RangeRequest{Key: proberSpace.key(0), RangeEnd: proberSpace.end()}
	if err := s.ask(methodRange, request, reply); err != nil {
		return err
	}
	held := map[string]bool{}
	for _, kv := range reply.GetKvs() {
		held[string(kv.GetKey())] = true
	}
	for _, number := range kept {
		if !held[string(proberSpace.key(int(number)))] {
			return fmt.Errorf("a put was acknowledged and lost: %q is not there", proberSpace.key(int(number)))
		}
	}
	return nil
}
