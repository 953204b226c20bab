package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"
)

// loadConns is the number of connections of a concurrent load.
const loadConns = 8

// putShape is one way of putting.
type putShape struct {
	id         string
	conns      int
	perConn    int
	sequential bool
	// settles includes the background work that follows the load in its costs. The latency row leaves it
	// out, as its few puts would carry the work of all puts before them.
	settles bool
}

var putShapes = []putShape{
	{id: "put1", conns: 1, perConn: 1},
	{id: "put64", conns: loadConns, perConn: 8, settles: true},
	{id: "put256", conns: loadConns, perConn: 32, settles: true},
	{id: "put256seq", conns: loadConns, perConn: 32, sequential: true, settles: true},
}

func putGroup() group {
	many := []metric{serverCPU, rate, p50, p99, diskBytes, written, clientCPU}
	half := map[string]float64{serverCPU.name: 2}
	return group{
		name: "put",
		rows: []row{
			{id: "put1", title: "put, one client", metrics: []metric{serverCPU, rate, p50, p99, clientCPU},
				aims: map[string]float64{p50.name: 1}},
			{id: "put64", title: "put, 64 in flight, random keys", metrics: many, aims: half},
			{id: "put256", title: "put, 256 in flight, random keys", metrics: many, aims: half},
			{id: "put256seq", title: "put, 256 in flight, sequential keys", metrics: many, aims: half},
		},
		measure: measurePuts,
	}
}

func measurePuts(ctx context.Context, r *run, p product) (block, error) {
	dir := r.dataDir(p, "put")
	defer func() { _ = os.RemoveAll(dir) }()
	s, _, err := startReady(ctx, p, dir)
	if err != nil {
		return nil, err
	}
	defer s.kill()
	warm := putShape{conns: loadConns, perConn: 8}
	if _, err := putFor(s, warm, r.warmTime()); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	found := block{}
	for _, shape := range putShapes {
		if !r.chooses(shape.id) {
			continue
		}
		if err := s.settle(); err != nil {
			return nil, err
		}
		if found[shape.id], err = putFor(s, shape, r.loadTime()); err != nil {
			return nil, fmt.Errorf("%s: %w", shape.id, err)
		}
	}
	return found, s.stop()
}

// putFor puts for a while in the given shape.
func putFor(s *server, shape putShape, span time.Duration) (figures, error) {
	m, err := measurePut(s, shape, span)
	if err != nil {
		return nil, err
	}
	return m.figures(), nil
}

// measurePut puts for a while in the given shape and checks by the store's revision that every put happened.
func measurePut(s *server, shape putShape, span time.Duration) (measurement, error) {
	before, err := s.revision()
	if err != nil {
		return measurement{}, err
	}
	var sequence atomic.Uint64
	m, err := measureLoad(s, shape.conns, shape.settles, func(began time.Time) load {
		return load{
			path: methodPut, inFlight: shape.perConn, until: began.Add(span),
			next: putSource(shape.sequential, &sequence),
		}
	})
	if err != nil {
		return measurement{}, err
	}
	after, err := s.revision()
	if err != nil {
		return measurement{}, err
	}
	if after-before != int64(m.tally.calls) {
		return m, fmt.Errorf("%d puts were acknowledged, but the revision grew by %d", m.tally.calls, after-before)
	}
	return m, nil
}

// putSource makes put requests without end: random keys are drawn from a space so large that none repeats,
// sequential ones are numbered across all connections.
func putSource(sequential bool, sequence *atomic.Uint64) func([]byte) ([]byte, bool) {
	random := rand.NewPCG(rand.Uint64(), rand.Uint64())
	space := keyspace{prefix: "bench/random/"}
	if sequential {
		space.prefix = "bench/sequence/"
	}
	var key []byte
	return func(dst []byte) ([]byte, bool) {
		number := uint64(0)
		if sequential {
			number = sequence.Add(1)
		} else {
			number = random.Uint64()
		}
		key = space.append(key[:0], number)
		return appendPut(dst, key, random), true
	}
}
