package main

import (
	"context"
	"fmt"
	"time"
)

// The puts that go on at the leader beside reads from a follower: their rate and connections.
const (
	creadPutsPerSecond = 2000
	creadPutConns      = 32
)

// The reads of a fixed rate from the follower. They have so many connections that they go on at that rate even if each
// waits for some tens of milliseconds.
const (
	creadPerSecond = 1000
	creadConns     = 64
)

func clusterReadGroup() group {
	beside := "a follower, beside 2,000 puts a second"
	puts := []metric{putP99, putP99Alone, putRate}
	return group{
		name: "cread", sheet: sheetCluster,
		rows: []row{
			{id: "cread", title: "get, linearizable, 1,000 a second from " + beside,
				metrics: append([]metric{mixedCPU, p50, p99, readRate}, puts...), aims: map[string]float64{p99.name: 5}},
			{id: "creadmax", title: "get, linearizable, 64 in flight from " + beside,
				metrics: append([]metric{readCPU, rate, p50, p99}, puts...)},
		},
		measure: measureClusterReads,
	}
}

var (
	// mixedCPU is what reads and puts cost together where both have a fixed rate: there it says more than a difference.
	mixedCPU = metric{name: "server CPU, reads and puts", unit: "ms/s"}
	readRate = metric{name: "reads", unit: "/s", bare: true}
	// readCPU leaves out what the puts cost when they were alone.
	readCPU = metric{name: "server CPU, beyond puts", unit: "µs"}
)

func measureClusterReads(ctx context.Context, r *run, p product) (block, error) {
	c, leave, err := r.freshCluster(ctx, p, "cread", nil)
	if err != nil {
		return nil, err
	}
	defer leave()
	lead, err := c.leader()
	if err != nil {
		return nil, err
	}
	follower := c.without(lead)[0]
	if err := pour(lead, readSpace); err != nil {
		return nil, err
	}
	if _, err := readBeside(c, lead, func() (*tally, error) { return readAtPace(ctx, follower, r.warmTime()) }); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	if err := settle(c.members); err != nil {
		return nil, err
	}
	alone, err := readBeside(c, lead, func() (*tally, error) {
		pause(ctx, r.loadTime())
		return &tally{}, nil
	})
	if err != nil {
		return nil, err
	}
	found := block{}
	for _, way := range []struct {
		id   string
		read func() (*tally, error)
	}{
		{"cread", func() (*tally, error) { return readAtPace(ctx, follower, r.loadTime()) }},
		{"creadmax", func() (*tally, error) { return readAtFull(follower, r.loadTime()) }},
	} {
		if !r.chooses(way.id) {
			continue
		}
		with, err := readBeside(c, lead, way.read)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", way.id, err)
		}
		found[way.id] = with.figures(alone.measurement)
	}
	now, err := c.leader()
	if err != nil {
		return nil, err
	}
	if now != lead {
		return nil, fmt.Errorf("the leader changed from %s to %s while reads were measured", lead.place.name, now.place.name)
	}
	return found, c.stop()
}

// besideReads is what reads did, beside what the puts at the same time did and what both cost.
type besideReads struct {
	measurement
	reads *tally
}

// readBeside makes reads while puts go on at the leader.
func readBeside(c *cluster, lead *server, read func() (*tally, error)) (besideReads, error) {
	var done besideReads
	puts := pace{path: methodPut, perSecond: creadPutsPerSecond, conns: creadPutConns, source: randomPuts}
	var err error
	done.measurement, err = besidePace(puts, []*server{lead}, c.members, false, func() error {
		var failed error
		done.reads, failed = read()
		return failed
	})
	return done, err
}

// readAtPace reads single records at the fixed rate for a while.
func readAtPace(ctx context.Context, s *server, span time.Duration) (*tally, error) {
	reads, err := pace{
		path: methodRange, perSecond: creadPerSecond, conns: creadConns, source: getSource, minReply: keySize + valueSize,
	}.begin(s)
	if err != nil {
		return nil, err
	}
	pause(ctx, span)
	return reads.stop()
}

// readAtFull keeps many reads under way for a while.
func readAtFull(s *server, span time.Duration) (*tally, error) {
	conns, err := s.connect(loadConns)
	if err != nil {
		return nil, err
	}
	defer closeAll(conns)
	until := time.Now().Add(span)
	return runAll(conns, func() load {
		return load{path: methodRange, inFlight: 8, until: until, next: getSource(), minReply: keySize + valueSize}
	})
}

// figures gives the reads per operation, and the puts beside them.
func (b besideReads) figures(alone measurement) figures {
	n := float64(max(b.reads.calls, 1))
	f := besideFigures(b.measurement, alone)
	f[mixedCPU.name] = millis(b.used.serverCPU) / b.used.wall.Seconds()
	f[readCPU.name] = micros(beyondPuts(b.measurement, alone)) / n
	f[rate.name] = n / b.loadTime.Seconds()
	f[readRate.name] = f[rate.name]
	f[p50.name] = micros(b.reads.latency.percentile(0.50))
	f[p99.name] = micros(b.reads.latency.percentile(0.99))
	f[operations] = n
	return f
}
