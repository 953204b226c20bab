package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// readSpace holds the records that the reading rows read.
var readSpace = keyspace{prefix: "bench/read/", size: 100_000}

// listSize is the number of records of one list, pageSize that of one page.
const (
	listSize = 10_000
	pageSize = 500
)

// overwritten is the number of puts after the pinned revision, so that it really is an older one.
const overwritten = 2_000

func readGroup() group {
	measures := []metric{serverCPU, rate, p50, p99, clientCPU}
	page := map[string]float64{serverCPU.name: 50}
	return group{
		name: "read",
		rows: []row{
			{id: "get", title: "get, linearizable, 64 in flight, 100,000 keys", metrics: measures,
				aims: map[string]float64{serverCPU.name: 1.8}},
			{id: "list", title: "list of 10,000 records", metrics: measures,
				aims: map[string]float64{serverCPU.name: 4}},
			{id: "page", title: "page of 500 out of 100,000 keys, latest revision", metrics: measures, aims: page},
			{id: "pageold", title: "page of 500 out of 100,000 keys, older revision", metrics: measures, aims: page},
		},
		prepare: prepareReads,
		measure: measureReads,
	}
}

// prepareReads fills a store, notes its revision and overwrites some records.
func prepareReads(ctx context.Context, r *run, p product) (block, error) {
	s, _, err := startReady(ctx, p, r.dataDir(p, "read"))
	if err != nil {
		return nil, err
	}
	defer s.kill()
	if _, err := fill(s, readSpace); err != nil {
		return nil, err
	}
	if r.pinned[p.slot], err = s.revision(); err != nil {
		return nil, err
	}
	if err := overwrite(s, readSpace, overwritten); err != nil {
		return nil, err
	}
	return nil, s.stop()
}

// overwrite puts a number of existing keys again.
func overwrite(s *server, space keyspace, count int) error {
	conns, err := s.connect(1)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	random := rand.NewPCG(rand.Uint64(), rand.Uint64())
	put := 0
	_, err = conns[0].run(load{path: methodPut, inFlight: 64, next: func(dst []byte) ([]byte, bool) {
		put++
		return appendPut(dst, space.key(int(random.Uint64()%uint64(space.size))), random), put <= count
	}})
	return err
}

func measureReads(ctx context.Context, r *run, p product) (block, error) {
	s, _, err := startReady(ctx, p, r.dataDir(p, "read"))
	if err != nil {
		return nil, err
	}
	defer s.kill()
	pinned := r.pinned[p.slot]
	if err := checkReads(s, pinned); err != nil {
		return nil, err
	}
	shapes := readShapes(pinned)
	if _, err := readFor(s, shapes[0], r.warmTime()); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	found := block{}
	for _, shape := range shapes {
		if !r.chooses(shape.id) {
			continue
		}
		if found[shape.id], err = readFor(s, shape, r.loadTime()); err != nil {
			return nil, fmt.Errorf("%s: %w", shape.id, err)
		}
	}
	return found, s.stop()
}

// readShape is one way of reading.
type readShape struct {
	id             string
	conns, perConn int
	source         func() func([]byte) ([]byte, bool)
	minReply       int
}

// readShapes lists the reading rows; pinned is the older revision.
func readShapes(pinned int64) []readShape {
	const record = keySize + valueSize
	page := func(revision int64) func() func([]byte) ([]byte, bool) {
		return func() func([]byte) ([]byte, bool) { return pageSource(revision) }
	}
	return []readShape{
		{"get", loadConns, 8, getSource, record},
		{"list", 1, 1, listSource, listSize * record},
		{"page", 1, 1, page(0), pageSize * record},
		{"pageold", 1, 1, page(pinned), pageSize * record},
	}
}

func readFor(s *server, shape readShape, span time.Duration) (figures, error) {
	m, err := measureRead(s, shape, span)
	if err != nil {
		return nil, err
	}
	return m.figures(), nil
}

func measureRead(s *server, shape readShape, span time.Duration) (measurement, error) {
	return measureLoad(s, shape.conns, false, func(began time.Time) load {
		return load{
			path: methodRange, inFlight: shape.perConn, until: began.Add(span),
			next: shape.source(), minReply: shape.minReply,
		}
	})
}

// getSource reads single records at random.
func getSource() func([]byte) ([]byte, bool) {
	random := rand.NewPCG(rand.Uint64(), rand.Uint64())
	var key []byte
	return func(dst []byte) ([]byte, bool) {
		key = readSpace.append(key[:0], random.Uint64()%uint64(readSpace.size))
		return appendRange(dst, key, nil, 0, 0), true
	}
}

// listSource reads the first listSize records at once.
func listSource() func([]byte) ([]byte, bool) {
	return func(dst []byte) ([]byte, bool) {
		return appendRange(dst, readSpace.key(0), readSpace.key(listSize), 0, 0), true
	}
}

// pageSource reads the pages of the whole keyspace in scattered order: where a page's cost depends on how
// much follows it, a load that ends in the middle of a walk would otherwise favour one end.
func pageSource(revision int64) func([]byte) ([]byte, bool) {
	pages := keyspace{size: readSpace.size / pageSize}
	number := 0
	return func(dst []byte) ([]byte, bool) {
		first := pages.scattered(number%pages.size) * pageSize
		number++
		return appendRange(dst, readSpace.key(first), readSpace.end(), pageSize, revision), true
	}
}

// checkReads reads one list and one page of either kind whole and compares them with what was filled in.
func checkReads(s *server, pinned int64) error {
	list, err := s.rangeOnce(appendRange(nil, readSpace.key(0), readSpace.key(listSize), 0, 0))
	if err != nil {
		return err
	}
	if n := len(list.GetKvs()); n != listSize || list.GetCount() != listSize {
		return fmt.Errorf("check list: %d records and a count of %d", n, list.GetCount())
	}
	for _, revision := range []int64{0, pinned} {
		page, err := s.rangeOnce(appendRange(nil, readSpace.key(pageSize), readSpace.end(), pageSize, revision))
		if err != nil {
			return err
		}
		kvs := page.GetKvs()
		if len(kvs) != pageSize || !page.GetMore() || page.GetCount() != int64(readSpace.size-pageSize) {
			return fmt.Errorf("check page at revision %d: %d records, more %v, count %d",
				revision, len(kvs), page.GetMore(), page.GetCount())
		}
		for i, kv := range kvs {
			if string(kv.GetKey()) != string(readSpace.key(pageSize+i)) || len(kv.GetValue()) != valueSize {
				return fmt.Errorf("check page at revision %d: record %d is %q", revision, i, kv.GetKey())
			}
			if revision > 0 && kv.GetModRevision() > revision {
				return fmt.Errorf("check page at revision %d: %q is from revision %d", revision, kv.GetKey(), kv.GetModRevision())
			}
		}
	}
	return nil
}
