package main

import (
	"context"
	"fmt"
	"time"
)

// slowSync is by how much each sync of the slow member is slowed.
const slowSync = 500 * time.Millisecond

// The puts beside a slow disk come at a fixed rate over so many connections that they go on at that rate even if each
// takes two slowed syncs. Before they count, each connection has made one.
const (
	slowPutsPerSecond = 250
	slowPutConns      = 320
	slowWarm          = 1500 * time.Millisecond
)

var (
	slowP99     = metric{name: "put p99, one disk slow", unit: "µs"}
	slowP50     = metric{name: "put p50, one disk slow", unit: "µs"}
	healthyP99  = metric{name: "put p99, healthy", unit: "µs", bare: true}
	healthyP50  = metric{name: "put p50, healthy", unit: "µs", bare: true}
	slowTimes   = metric{name: "put p99, slow ÷ healthy", unit: "×", own: true}
	elections   = metric{name: "leader changes", own: true}
	slowedSyncs = metric{name: "slowed syncs", bare: true}
	refusedPuts = metric{name: "puts that failed", own: true}
)

func slowDiskGroup() group {
	metrics := []metric{slowP99, slowP50, healthyP99, healthyP50, slowTimes, elections, refusedPuts, putRate, slowedSyncs}
	bounds := map[string]bound{slowTimes.name: {limit: 2}, elections.name: {limit: 0}, refusedPuts.name: {limit: 0}}
	return group{
		name: "slowdisk", sheet: sheetCluster,
		rows: []row{
			{id: "slowdisk", title: "puts at the others while a follower's syncs take 500 ms", metrics: metrics, bounds: bounds},
			{id: "slowdisklead", title: "puts at the others while the leader's syncs take 500 ms", metrics: metrics, bounds: bounds},
		},
		measure: measureSlowDisk,
	}
}

// longTime is how long puts go on whose p99 is compared: there are enough of them then to have one.
func (r *run) longTime() time.Duration {
	if r.quick {
		return 4 * time.Second
	}
	return 10 * time.Second
}

func measureSlowDisk(ctx context.Context, r *run, p product) (block, error) {
	disk := &drag{}
	c, leave, err := r.freshCluster(ctx, p, "slowdisk", func(places []place) { places[0].drag = disk })
	if err != nil {
		return nil, err
	}
	defer leave()
	found := block{}
	for _, way := range []struct {
		id   string
		lead *server // while the first member's disk is slow
	}{{"slowdisk", c.members[1]}, {"slowdisklead", c.members[0]}} {
		if !r.chooses(way.id) {
			continue
		}
		if err := c.hand(way.lead); err != nil {
			return nil, err
		}
		if found[way.id], err = slowFigures(ctx, r, c, disk); err != nil {
			return nil, fmt.Errorf("%s: %w", way.id, err)
		}
	}
	if err := c.checkAlike(); err != nil {
		return nil, err
	}
	return found, c.stop()
}

// slowFigures puts at the healthy members before and while the first member's disk is slow, and waits until that one is
// as well as before.
func slowFigures(ctx context.Context, r *run, c *cluster, disk *drag) (figures, error) {
	healthy := c.members[1:]
	puts := pace{
		path: methodPut, perSecond: slowPutsPerSecond, conns: slowPutConns, source: randomPuts, warm: slowWarm,
		bears: true,
	}
	putWhile := func(delay time.Duration) (measurement, error) {
		return besidePace(puts, healthy, c.members, false, func() error {
			pause(ctx, slowWarm)
			disk.slow(delay)
			pause(ctx, r.longTime())
			return nil
		})
	}
	before, err := putWhile(0)
	if err != nil {
		return nil, err
	}
	slowed := disk.slowed.Load()
	term, err := highestTerm(healthy)
	if err != nil {
		return nil, err
	}
	during, err := putWhile(slowSync)
	disk.slow(0)
	if err != nil {
		return nil, err
	}
	termAfter, err := highestTerm(healthy)
	if err != nil {
		return nil, err
	}
	if err := c.awaitReady(); err != nil {
		return nil, err
	}
	slow, normal := during.tally.latency.percentile(0.99), before.tally.latency.percentile(0.99)
	return figures{
		slowP99.name: micros(slow), healthyP99.name: micros(normal),
		slowP50.name:     micros(during.tally.latency.percentile(0.5)),
		healthyP50.name:  micros(before.tally.latency.percentile(0.5)),
		slowTimes.name:   slow.Seconds() / max(normal.Seconds(), time.Microsecond.Seconds()),
		elections.name:   float64(termAfter - term),
		putRate.name:     float64(during.tally.calls) / (during.loadTime - slowWarm).Seconds(),
		refusedPuts.name: float64(during.tally.refused),
		slowedSyncs.name: float64(disk.slowed.Load() - slowed),
		otherShare:       during.used.other,
		stolenShare:      during.used.stolen,
	}, nil
}

// highestTerm is the latest term that any of the members knows: it grows with each election.
func highestTerm(members []*server) (uint64, error) {
	states, err := statesOf(members)
	if err != nil {
		return 0, err
	}
	var term uint64
	for _, state := range states {
		term = max(term, state.GetRaftTerm())
	}
	return term, nil
}
