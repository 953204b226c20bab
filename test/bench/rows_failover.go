package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// failoverLimit bounds the wait for the first put after a leader was killed.
const failoverLimit = 60 * time.Second

// failoverCalm is how long a whole cluster gets puts before its leader is killed. It is longer than two election
// timeouts, so that everybody knows how everybody is.
const failoverCalm = 2500 * time.Millisecond

var (
	nextPut     = metric{name: "to the next put", unit: "ms"}
	nextPutMost = metric{name: "to the next put, slowest", unit: "ms"}
	nextPutFew  = metric{name: "to the next put, quickest", unit: "ms"}
)

// failoverRounds is how often a leader is killed in a block.
func (r *run) failoverRounds() int {
	if r.quick {
		return 3
	}
	return 5
}

func failoverGroup() group {
	return group{
		name: "failover", sheet: sheetCluster,
		rows: []row{{
			id: "failover", title: "kill -9 of the leader under 300 puts a second",
			metrics: []metric{nextPut, nextPutMost, nextPutFew},
			bounds:  map[string]bound{nextPut.name: {limit: 500}},
		}},
		measure: measureFailover,
	}
}

// measureFailover kills one leader after the other under puts at all members. At the end everything that was
// acknowledged has to be there, at every member.
func measureFailover(ctx context.Context, r *run, p product) (block, error) {
	c, leave, err := r.freshCluster(ctx, p, "failover", nil)
	if err != nil {
		return nil, err
	}
	defer leave()
	var addresses []string
	for _, s := range c.members {
		addresses = append(addresses, s.address)
	}
	probe, err := startProber(addresses)
	if err != nil {
		return nil, err
	}
	defer probe.stop()
	var times []float64
	for range r.failoverRounds() {
		took, err := failover(ctx, c, probe)
		if err != nil {
			return nil, err
		}
		times = append(times, millis(took))
		r.say("failover: %s: %.0f ms", p.name, millis(took))
	}
	kept := probe.stop()
	if err := checkKept(c.members[0], kept); err != nil {
		return nil, err
	}
	if err := c.checkAlike(); err != nil {
		return nil, err
	}
	return block{"failover": {
		nextPut.name: median(times), nextPutMost.name: slices.Max(times), nextPutFew.name: slices.Min(times),
	}}, c.stop()
}

// failover kills the leader, waits for the first put that a new one acknowledges, and makes the cluster whole again. The
// time runs from the kill.
func failover(ctx context.Context, c *cluster, probe *prober) (time.Duration, error) {
	pause(ctx, failoverCalm)
	lead, err := c.leader()
	if err != nil {
		return 0, err
	}
	killed := time.Now()
	lead.kill()
	// A put sent after the process was gone can be acknowledged by a new leader alone.
	first, err := probe.firstAfter(ctx, time.Now(), failoverLimit)
	if err != nil {
		return 0, fmt.Errorf("put after the leader was killed: %w", err)
	}
	return first.Sub(killed), c.restart(ctx, lead)
}
