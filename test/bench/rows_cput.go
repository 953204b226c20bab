package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// clusterLoads is how many times as long as elsewhere the puts of these rows last. In its first seconds a member of Keelson
// writes the files of its log in advance and merges small tables, which is not what it does all day.
const clusterLoads = 3

// clusterShape is a number of clients that put, and where they are.
type clusterShape struct {
	id      string
	clients int
	// leading means that all clients are at the leader; otherwise they are spread over the members.
	leading bool
}

var clusterShapes = []clusterShape{
	{id: "cput64", clients: 64},
	{id: "cput300", clients: 300},
	{id: "cputlead64", clients: 64, leading: true},
	{id: "cputlead300", clients: 300, leading: true},
}

func clusterPutGroup() group {
	metrics := []metric{serverCPU, rate, p50, p99, diskBytes, clientCPU}
	aims := map[string]float64{serverCPU.name: 2.5, rate.name: 2}
	g := group{name: "cput", sheet: sheetCluster, measure: measureClusterPuts}
	for _, shape := range clusterShapes {
		where := "spread over the members"
		if shape.leading {
			where = "at the leader"
		}
		title := fmt.Sprintf("put, %d clients %s", shape.clients, where)
		g.rows = append(g.rows, row{id: shape.id, title: title, metrics: metrics, aims: aims})
	}
	return g
}

// freshCluster starts a cluster without data. What it leaves is removed with leave.
func (r *run) freshCluster(ctx context.Context, p product, group string, change func([]place)) (c *cluster, leave func(), err error) {
	dir := r.dataDir(p, group)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make a directory for the members: %w", err)
	}
	places, err := layOut(dir)
	if err != nil {
		return nil, nil, err
	}
	if change != nil {
		change(places)
	}
	c, err = startCluster(ctx, p, places)
	if err != nil {
		return nil, nil, err
	}
	return c, func() {
		c.kill()
		_ = os.RemoveAll(dir)
	}, nil
}

func measureClusterPuts(ctx context.Context, r *run, p product) (block, error) {
	c, leave, err := r.freshCluster(ctx, p, "cput", nil)
	if err != nil {
		return nil, err
	}
	defer leave()
	if _, err := c.put(clusterShape{clients: clusterShapes[0].clients}, r.warmTime()); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	found := block{}
	for _, shape := range clusterShapes {
		if !r.chooses(shape.id) {
			continue
		}
		if err := settle(c.members); err != nil {
			return nil, err
		}
		m, err := c.put(shape, clusterLoads*r.loadTime())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", shape.id, err)
		}
		found[shape.id] = m.figures()
	}
	if err := c.checkAlike(); err != nil {
		return nil, err
	}
	return found, c.stop()
}

// put lets clients put for a while, each over a connection of its own and one put at a time. The store's revision has
// to say that every acknowledged put happened, and no other.
func (c *cluster) put(shape clusterShape, span time.Duration) (measurement, error) {
	at := c.members
	if shape.leading {
		lead, err := c.leader()
		if err != nil {
			return measurement{}, err
		}
		at = []*server{lead}
	}
	before, err := c.members[0].revision()
	if err != nil {
		return measurement{}, err
	}
	m, err := measureSpread(at, c.members, shape.clients, true, func(began time.Time) load {
		return load{path: methodPut, inFlight: 1, until: began.Add(span), next: randomPuts()}
	})
	if err != nil {
		return measurement{}, err
	}
	after, err := c.members[0].revision()
	if err != nil {
		return measurement{}, err
	}
	if after-before != int64(m.tally.calls) {
		return m, fmt.Errorf("%d puts were acknowledged, but the revision grew by %d", m.tally.calls, after-before)
	}
	return m, nil
}
