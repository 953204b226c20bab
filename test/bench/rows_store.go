package main

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// storePairs limits the pairs of the rows with large stores, whose blocks take long.
const storePairs = 3

// storeValue is the length in bytes of the values of the store that is streamed.
const storeValue = 1024

// hashCalls is the number of HashKV calls in a block.
const hashCalls = 3

// storeSpace holds the records of the store that is streamed: with a million of them, one gigabyte.
func (r *run) storeSpace() keyspace {
	space := r.startSpace()
	return keyspace{prefix: "bench/store/", size: space.size, value: storeValue}
}

var (
	streamRate  = metric{name: "stream", unit: "MB/s", moreIsBetter: true}
	streamCPU   = metric{name: "server CPU per GB", unit: "ms"}
	streamBytes = metric{name: "streamed", unit: "MB", bare: true}
	overIdle    = metric{name: "VmRSS over idle", unit: "MiB", own: true}
	anonOver    = metric{name: "RssAnon over idle", unit: "MiB", own: true}
	overPuts    = metric{name: "VmRSS over idle, puts alone", unit: "MiB", bare: true}
	anonPuts    = metric{name: "RssAnon over idle, puts alone", unit: "MiB", bare: true}
	idleMemory  = metric{name: "VmRSS idle", unit: "MiB", bare: true}
	hashTime    = metric{name: "time", unit: "ms"}
)

func storeGroup() group {
	return group{
		name: "store", sheet: sheetUpkeep,
		rows: []row{
			{id: "snapshot", title: "snapshot of %s keys with 1 KiB, beside 1,000 puts a second",
				metrics: []metric{
					streamRate, streamCPU, overIdle, anonOver, overPuts, anonPuts, idleMemory,
					putP99, putP99Alone, putP99More, streamBytes,
				},
				bounds: map[string]bound{streamRate.name: {limit: 100, least: true}, overIdle.name: {limit: 64}}},
			{id: "hashkv", title: "HashKV of %s keys with 1 KiB", metrics: []metric{hashTime, startCPU}},
		},
		prepare:  prepareStore,
		measure:  measureStore,
		maxPairs: storePairs,
	}
}

func prepareStore(ctx context.Context, r *run, p product) (block, error) {
	s, _, err := startReady(ctx, p, r.dataDir(p, "store"))
	if err != nil {
		return nil, err
	}
	defer s.kill()
	if err := pour(s, r.storeSpace()); err != nil {
		return nil, err
	}
	// The log of a store that was only just loaded still holds the load; see singlePuts.
	if err := overwrite(s, r.storeSpace(), singlePuts); err != nil {
		return nil, err
	}
	if err := s.settle(); err != nil {
		return nil, err
	}
	return nil, s.stop()
}

func measureStore(ctx context.Context, r *run, p product) (block, error) {
	s, _, err := startReady(ctx, p, r.dataDir(p, "store"))
	if err != nil {
		return nil, err
	}
	defer s.kill()
	found := block{}
	if r.chooses("snapshot") {
		if found["snapshot"], err = snapshotFigures(ctx, r, s); err != nil {
			return nil, err
		}
	}
	if r.chooses("hashkv") {
		if found["hashkv"], err = hashFigures(s); err != nil {
			return nil, err
		}
	}
	return found, s.stop()
}

// snapshotFigures rests, puts alone and then puts beside a stream. Memory is compared with that at rest, and what
// the puts alone add to it is shown beside.
func snapshotFigures(ctx context.Context, r *run, s *server) (figures, error) {
	pause(ctx, r.idleTime())
	idle, err := residentMemory(s.pid())
	if err != nil {
		return nil, err
	}
	var alone, with measurement
	withPuts, err := peak(s.pid(), func() error {
		alone, err = putsAlone(ctx, s, false, r.loadTime())
		return err
	})
	if err != nil {
		return nil, err
	}
	var got streamed
	most, err := peak(s.pid(), func() error {
		with, err = besidePuts(s, false, func() error {
			got, err = s.snapshot()
			return err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	space := r.storeSpace()
	if least := int64(space.size) * int64(keySize+space.value); got.bytes < least {
		return nil, fmt.Errorf("stream a snapshot: %d bytes cannot hold %v", got.bytes, space)
	}
	f := besideFigures(with, alone)
	f[streamRate.name] = float64(got.bytes) / 1e6 / got.took.Seconds()
	f[streamCPU.name] = millis(beyondPuts(with, alone)) / (float64(got.bytes) / 1e9)
	f[streamBytes.name] = float64(got.bytes) / 1e6
	f[idleMemory.name] = mebibytes(idle.Resident)
	f[overIdle.name] = mebibytes(most.Resident - idle.Resident)
	f[anonOver.name] = mebibytes(most.Anon - idle.Anon)
	f[overPuts.name] = mebibytes(withPuts.Resident - idle.Resident)
	f[anonPuts.name] = mebibytes(withPuts.Anon - idle.Anon)
	return f, nil
}

// hashFigures asks for the hash of the whole store a few times. A put before each keeps a server from answering what
// it has answered before.
func hashFigures(s *server) (figures, error) {
	var times, costs []float64
	f := figures{}
	for range hashCalls {
		if err := overwrite(s, keyspace{prefix: "bench/random/", size: 1}, 1); err != nil {
			return nil, err
		}
		if err := s.settle(); err != nil {
			return nil, err
		}
		m, err := startMeter(s)
		if err != nil {
			return nil, err
		}
		reply := &pb.HashKVResponse{}
		began := time.Now()
		if err := s.ask(methodHashKV, &pb.HashKVRequest{}, reply); err != nil {
			return nil, err
		}
		times = append(times, millis(time.Since(began)))
		used, err := m.read()
		if err != nil {
			return nil, err
		}
		costs = append(costs, millis(used.serverCPU))
		f[otherShare], f[stolenShare] = used.other, used.stolen
		if reply.GetHashRevision() != reply.GetHeader().GetRevision() || reply.GetHash() == 0 {
			return nil, fmt.Errorf("hash: revision %d of %d, hash %d",
				reply.GetHashRevision(), reply.GetHeader().GetRevision(), reply.GetHash())
		}
	}
	f[hashTime.name], f[startCPU.name] = median(times), median(costs)
	return f, nil
}
