package main

import (
	"context"
	"fmt"
	"time"
)

// startPairs limits the pairs of the start-up rows, whose blocks take half a minute.
const startPairs = 3

// singlePuts is the number of ordinary puts after loading, and again before each kill. After loading they
// push the large transactions out of the log that etcd keeps in memory (up to 10,000 entries), which would
// otherwise cost it hundreds of megabytes no real use has; before a kill they are work to recover.
const singlePuts = 20_000

// startSpace returns the records of the start-up rows.
func (r *run) startSpace() keyspace {
	if r.quick {
		return keyspace{prefix: "bench/start/", size: 100_000}
	}
	return keyspace{prefix: "bench/start/", size: 1_000_000}
}

// idleTime is how long a server rests before its memory is read.
func (r *run) idleTime() time.Duration {
	if r.quick {
		return 3 * time.Second
	}
	return 15 * time.Second
}

func startGroup() group {
	starts := []metric{startCPU, startTime}
	memories := []metric{residentMem, anonMem, fileMem}
	return group{
		name: "start",
		rows: []row{
			{id: "start", title: "start-up with %s keys after an orderly stop", metrics: starts,
				aims: map[string]float64{startTime.name: 5}},
			{id: "startkill", title: "start-up with %s keys after kill -9", metrics: starts,
				aims: map[string]float64{startTime.name: 5}},
			{id: "memory", title: "memory with %s keys, idle after start", metrics: memories,
				aims: map[string]float64{residentMem.name: 2}},
			{id: "memoryload", title: "memory with %s keys, idle after loading them", metrics: memories,
				aims: map[string]float64{residentMem.name: 2}},
			{id: "load", title: "loading %s keys, per put in transactions of 128",
				metrics: []metric{serverCPU, rate, diskBytes, written, clientCPU}},
		},
		prepare:  prepareStart,
		measure:  measureStart,
		maxPairs: startPairs,
	}
}

// prepareStart loads the store and takes what can be measured on the way.
func prepareStart(ctx context.Context, r *run, p product) (block, error) {
	s, _, err := startReady(ctx, p, r.dataDir(p, "start"))
	if err != nil {
		return nil, err
	}
	defer s.kill()
	loading, err := fill(s, r.startSpace())
	if err != nil {
		return nil, err
	}
	if err := overwrite(s, r.startSpace(), singlePuts); err != nil {
		return nil, err
	}
	pause(ctx, r.idleTime())
	after, err := memoryFigures(s)
	if err != nil {
		return nil, err
	}
	return block{"load": loading, "memoryload": after}, s.stop()
}

// measureStart begins and ends with an orderly stop: start, rest, read the memory, put, kill, start.
func measureStart(ctx context.Context, r *run, p product) (block, error) {
	found := block{}
	dir := r.dataDir(p, "start")
	s, err := timedStart(ctx, p, dir, found, "start")
	if err != nil {
		return nil, err
	}
	defer s.kill()
	pause(ctx, r.idleTime())
	if found["memory"], err = memoryFigures(s); err != nil {
		return nil, err
	}
	if err := overwrite(s, r.startSpace(), singlePuts); err != nil {
		return nil, err
	}
	before, err := s.revision()
	if err != nil {
		return nil, err
	}
	s.kill()
	again, err := timedStart(ctx, p, dir, found, "startkill")
	if err != nil {
		return nil, err
	}
	defer again.kill()
	after, err := again.revision()
	if err != nil {
		return nil, err
	}
	if after != before {
		return nil, fmt.Errorf("the store was at revision %d when killed and is at %d after its start", before, after)
	}
	if err := checkFilled(again, r.startSpace()); err != nil {
		return nil, err
	}
	return found, again.stop()
}

// timedStart starts a product and adds the figures of the start to a block.
func timedStart(ctx context.Context, p product, dir string, found block, id string) (*server, error) {
	machine, err := readMachineTime()
	if err != nil {
		return nil, err
	}
	s, took, err := startReady(ctx, p, dir)
	if err != nil {
		return nil, err
	}
	m := meter{servers: []*server{s}, began: s.started, clientCPU: ownCPUTime(), machineTime: machine}
	used, err := m.read()
	if err != nil {
		s.kill()
		return nil, err
	}
	found[id] = figures{
		startCPU.name:  millis(used.serverCPU),
		startTime.name: millis(took),
		otherShare:     used.other,
		stolenShare:    used.stolen,
	}
	return s, nil
}

func memoryFigures(s *server) (figures, error) {
	m, err := residentMemory(s.pid())
	if err != nil {
		return nil, err
	}
	return figures{
		residentMem.name: mebibytes(m.Resident),
		anonMem.name:     mebibytes(m.Anon),
		fileMem.name:     mebibytes(m.File),
	}, nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }
