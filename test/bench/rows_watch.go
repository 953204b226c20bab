package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// The watch row has watchStreams streams, each with watchersPerStream watchers of one prefix.
const (
	watchStreams      = 10
	watchersPerStream = 100
)

// watchPutsPerSecond is the rate of puts that all watchers see. It is one the slower server can follow with
// room to spare, so that the row compares cost at equal work.
const watchPutsPerSecond = 100

var watchSpace = keyspace{prefix: "bench/watch/", size: 100}

func watchGroup() group {
	return group{
		name: "watch",
		rows: []row{{
			id: "watch", title: "watch, one event to one of 1,000 watchers",
			metrics: []metric{serverCPU, lagP50, lagP99, eventRate, clientCPU},
			aims:    map[string]float64{serverCPU.name: 4},
		}},
		measure: measureWatch,
	}
}

func measureWatch(ctx context.Context, r *run, p product) (block, error) {
	dir := r.dataDir(p, "watch")
	defer func() { _ = os.RemoveAll(dir) }()
	s, _, err := startReady(ctx, p, dir)
	if err != nil {
		return nil, err
	}
	defer s.kill()
	c, err := gather(s, watchStreams, watchersPerStream, watchSpace.key(0), watchSpace.end())
	if err != nil {
		return nil, err
	}
	defer c.leave()
	if _, err := c.deliver(s, r.warmTime()); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	m, err := startMeter(s)
	if err != nil {
		return nil, err
	}
	c.sampling.Store(true)
	events, err := c.deliver(s, r.loadTime())
	if err != nil {
		return nil, err
	}
	used, err := m.read()
	if err != nil {
		return nil, err
	}
	lag := c.leave()
	n := float64(events)
	return block{"watch": {
		serverCPU.name: micros(used.serverCPU) / n,
		clientCPU.name: micros(used.clientCPU) / n,
		lagP50.name:    micros(lag.percentile(0.50)),
		lagP99.name:    micros(lag.percentile(0.99)),
		eventRate.name: n / used.wall.Seconds(),
		operations:     n,
		otherShare:     used.other,
		stolenShare:    used.stolen,
	}}, s.stop()
}

// deliver puts at the fixed rate for a while, waits until every watcher has seen every put and returns the
// number of events that makes. One that is missing fails the row.
func (c *crowd) deliver(s *server, span time.Duration) (int, error) {
	before := c.delivered.Load()
	conns, err := s.connect(1)
	if err != nil {
		return 0, err
	}
	defer closeAll(conns)
	random := rand.NewPCG(rand.Uint64(), rand.Uint64())
	began := time.Now()
	puts := 0
	for ; time.Since(began) < span; puts++ {
		time.Sleep(time.Until(began.Add(time.Duration(puts) * time.Second / watchPutsPerSecond)))
		request := appendStampedPut(nil, watchSpace.key(puts%watchSpace.size), time.Now(), random)
		if _, err := conns[0].call(methodPut, request); err != nil {
			return 0, fmt.Errorf("put: %w", err)
		}
	}
	events := puts * watchStreams * watchersPerStream
	if err := c.await(&c.delivered, before+int64(events)); err != nil {
		return 0, fmt.Errorf("deliver events: %w", err)
	}
	if got := c.delivered.Load() - before; got != int64(events) {
		return 0, fmt.Errorf("deliver events: %d of %d", got, events)
	}
	return events, nil
}

// appendStampedPut encodes a PutRequest whose value begins with the time of sending.
func appendStampedPut(dst, key []byte, now time.Time, random *rand.PCG) []byte {
	value := binary.LittleEndian.AppendUint64(make([]byte, 0, valueSize), uint64(now.UnixNano()))
	dst, start := beginMessage(dst)
	dst = appendBytesField(dst, 1, key)
	dst = appendBytesField(dst, 2, appendRandom(value, valueSize-8, random))
	return endMessage(dst, start)
}
