package main

import (
	"context"
	"fmt"
	"os"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// compactRounds is how often every key is put again before the compaction: so many of its revisions are superseded.
const compactRounds = 10

var (
	compactCPU   = metric{name: "server CPU per removed revision", unit: "µs"}
	compactTime  = metric{name: "to the end", unit: "ms"}
	sizeInUse    = metric{name: "in use after", unit: "MiB"}
	sizeInUseOld = metric{name: "in use before", unit: "MiB", bare: true}
)

func compactGroup() group {
	return group{
		name: "compact", sheet: sheetUpkeep,
		rows: []row{{
			id: "compact", title: "compaction of %s superseded revisions, beside 1,000 puts a second",
			metrics: []metric{compactCPU, compactTime, putP99, putP99Alone, putP99More, sizeInUse, sizeInUseOld},
		}},
		measure:  measureCompaction,
		maxPairs: storePairs,
	}
}

// measureCompaction fills a fresh store for every block, because a compaction cannot be repeated.
func measureCompaction(ctx context.Context, r *run, p product) (block, error) {
	dir := r.dataDir(p, "compact")
	defer func() { _ = os.RemoveAll(dir) }()
	s, _, err := startReady(ctx, p, dir)
	if err != nil {
		return nil, err
	}
	defer s.kill()
	space := keyspace{prefix: "bench/compact/", size: r.startSpace().size / compactRounds}
	for range compactRounds + 1 {
		if err := pour(s, space); err != nil {
			return nil, err
		}
	}
	if err := s.settle(); err != nil {
		return nil, err
	}
	revision, err := s.revision()
	if err != nil {
		return nil, err
	}
	f, err := compactionFigures(ctx, r, s, revision)
	if err != nil {
		return nil, err
	}
	if err := checkCompacted(s, space, revision); err != nil {
		return nil, err
	}
	return block{"compact": f}, s.stop()
}

// compactionFigures puts alone and then beside a compaction, which is waited for until the records are removed.
// What both cost in the background belongs to them.
func compactionFigures(ctx context.Context, r *run, s *server, revision int64) (figures, error) {
	alone, err := putsAlone(ctx, s, true, r.loadTime())
	if err != nil {
		return nil, err
	}
	before, err := s.inUse()
	if err != nil {
		return nil, err
	}
	var took time.Duration
	with, err := besidePuts(s, true, func() error {
		began := time.Now()
		request := &pb.CompactionRequest{Revision: revision, Physical: true}
		err := s.ask(methodCompact, request, &pb.CompactionResponse{})
		took = time.Since(began)
		// Puts go on for as long as they did alone, so that a quick compaction has a tail to be compared.
		pause(ctx, r.loadTime()-took)
		return err
	})
	if err != nil {
		return nil, err
	}
	after, err := s.inUse()
	if err != nil {
		return nil, err
	}
	f := besideFigures(with, alone)
	removed := float64(r.startSpace().size)
	f[compactCPU.name] = micros(beyondPuts(with, alone)) / removed
	f[compactTime.name] = millis(took)
	f[sizeInUseOld.name], f[sizeInUse.name] = mebibytes(before), mebibytes(after)
	return f, nil
}

// inUse is what the server says its store occupies.
func (s *server) inUse() (int64, error) {
	reply := &pb.StatusResponse{}
	err := s.ask(methodStatus, &pb.StatusRequest{}, reply)
	return reply.GetDbSizeInUse(), err
}

// checkCompacted makes sure that the latest records are there and older revisions are gone.
func checkCompacted(s *server, space keyspace, revision int64) error {
	if err := checkFilled(s, space); err != nil {
		return err
	}
	if _, err := s.rangeOnce(appendRange(nil, space.key(0), nil, 0, revision-1)); err == nil {
		return fmt.Errorf("compaction: revision %d can still be read", revision-1)
	}
	return nil
}
