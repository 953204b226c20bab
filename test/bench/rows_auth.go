package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// authPairs limits the pairs of the rows that switch users on and off, whose blocks take a minute.
const authPairs = 3

// The metrics of the rows that switch users on and off.
var (
	cpuUsersOff  = metric{name: "with users off", unit: "µs", bare: true}
	cpuUsersMore = metric{name: "more for users", unit: "%", own: true}
)

// authShape is one load that runs with users off and with users on.
type authShape struct {
	id, jwtID string // jwtID is empty where JWTs have no row
	run       func(s *server, span time.Duration) (measurement, error)
}

func authShapes() []authShape {
	puts := func(perConn int) func(*server, time.Duration) (measurement, error) {
		return func(s *server, span time.Duration) (measurement, error) {
			return measurePut(s, putShape{conns: loadConns, perConn: perConn, settles: true}, span)
		}
	}
	return []authShape{
		{id: "authput64", jwtID: "authjwtput64", run: puts(8)},
		{id: "authput256", run: puts(32)},
		{id: "authget", jwtID: "authjwtget", run: func(s *server, span time.Duration) (measurement, error) {
			return measureRead(s, readShapes(0)[0], span)
		}},
	}
}

func authGroup() group {
	metrics := []metric{serverCPU, cpuUsersOff, cpuUsersMore, rate, p99, clientCPU}
	limit := map[string]bound{cpuUsersMore.name: {limit: 10}}
	return group{
		name: "auth", sheet: sheetUpkeep,
		rows: []row{
			{id: "authput64", title: "put, 64 in flight, users on", metrics: metrics, bounds: limit},
			{id: "authput256", title: "put, 256 in flight, users on", metrics: metrics, bounds: limit},
			{id: "authget", title: "get, linearizable, 64 in flight, users on", metrics: metrics, bounds: limit},
			{id: "authjwtput64", title: "put, 64 in flight, users on, JWT (RS256)", metrics: metrics, bounds: limit},
			{id: "authjwtget", title: "get, linearizable, 64 in flight, users on, JWT (RS256)", metrics: metrics, bounds: limit},
		},
		measure:  measureAuth,
		maxPairs: authPairs,
	}
}

// measureAuth measures the chosen rows with either kind of token, each kind in a process of its own.
func measureAuth(ctx context.Context, r *run, p product) (block, error) {
	found := block{}
	for _, jwt := range []bool{false, true} {
		chosen := map[string]authShape{}
		for _, shape := range authShapes() {
			id := shape.id
			if jwt {
				id = shape.jwtID
			}
			if id != "" && r.chooses(id) {
				chosen[id] = shape
			}
		}
		if len(chosen) == 0 {
			continue
		}
		if err := measureTokens(ctx, r, p, jwt, chosen, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func measureTokens(ctx context.Context, r *run, p product, jwt bool, chosen map[string]authShape, found block) error {
	dir := r.dataDir(p, "auth")
	defer func() { _ = os.RemoveAll(dir) }()
	var flags []string
	if jwt {
		flag, err := jwtFlag(r.dir)
		if err != nil {
			return err
		}
		flags = append(flags, flag)
	}
	s, _, err := startReady(ctx, p, dir, flags...)
	if err != nil {
		return err
	}
	defer s.kill()
	if err := pour(s, readSpace); err != nil {
		return err
	}
	known, err := settlePeople(s)
	if err != nil {
		return fmt.Errorf("make users: %w", err)
	}
	if _, err := putFor(s, putShape{conns: loadConns, perConn: 8}, r.warmTime()); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	for _, shape := range authShapes() {
		for _, id := range []string{shape.id, shape.jwtID} {
			if _, ours := chosen[id]; !ours {
				continue
			}
			if found[id], err = offAndOn(s, known, shape, r.loadTime()/4, r.warmTime()); err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
		}
	}
	return s.stop()
}

// offAndOn runs a load with users off, on, on and off, and the same again, so that a store that grows and a machine
// that drifts fall on both sides. What users cost is the median over neighbours: the engine's background work comes in
// lumps that belong to neither side and would decide a comparison of sums. A run before them all is not counted,
// because the first of a kind is always the slowest.
func offAndOn(s *server, known people, shape authShape, span, warm time.Duration) (figures, error) {
	if _, err := shape.run(s, warm); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	var sides [2]measurement
	var ratios []float64
	last := 0.0
	for i, users := range []int{0, 1, 1, 0, 0, 1, 1, 0} {
		m, err := runAs(s, known, shape, users == 1, span)
		if err != nil {
			return nil, err
		}
		sides[users].merge(m)
		now := m.figures()[serverCPU.name]
		if i%2 == 1 {
			on, off := now, last
			if users == 0 {
				on, off = off, on
			}
			ratios = append(ratios, more(on, off))
		}
		last = now
	}
	with := sides[1].figures()
	with[cpuUsersOff.name] = sides[0].figures()[serverCPU.name]
	with[cpuUsersMore.name] = median(ratios)
	return with, nil
}

// runAs switches users on or off, if they are not so already, and runs a load.
func runAs(s *server, known people, shape authShape, users bool, span time.Duration) (measurement, error) {
	if users && s.token == "" {
		if err := known.on(); err != nil {
			return measurement{}, fmt.Errorf("switch users on: %w", err)
		}
	}
	if !users && s.token != "" {
		if err := known.off(); err != nil {
			return measurement{}, fmt.Errorf("switch users off: %w", err)
		}
	}
	if err := s.settle(); err != nil {
		return measurement{}, err
	}
	return shape.run(s, span)
}
