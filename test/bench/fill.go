package main

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// fillOps is the number of puts per transaction while filling a store: etcd's default limit.
const fillOps = 128

// fillConns and fillPerConn shape the load that fills a store. One transaction is about 38 KB, so few in
// flight suffice.
const (
	fillConns   = 4
	fillPerConn = 4
)

// fillBytes is the size in bytes that a transaction may have while filling: a little less than the window of a
// fresh stream, which a request must fit.
const fillBytes = 60 << 10

// putOverhead is more than a put in a transaction has besides its key and its value, in bytes.
const putOverhead = 24

// fill puts every key of a keyspace once, in scattered order, in transactions of fillOps puts or, with large
// values, of as many as fillBytes hold.
func fill(s *server, space keyspace) (figures, error) {
	var taken atomic.Int64
	m, err := measureLoad(s, fillConns, true, func(time.Time) load {
		return load{path: methodTxn, inFlight: fillPerConn, next: fillSource(space, &taken)}
	})
	if err != nil {
		return nil, fmt.Errorf("fill: %w", err)
	}
	m.tally.calls = space.size // figures are wanted per put, not per transaction
	return m.figures(), checkFilled(s, space)
}

func fillSource(space keyspace, taken *atomic.Int64) func([]byte) ([]byte, bool) {
	random := rand.NewPCG(rand.Uint64(), rand.Uint64())
	ops := min(fillOps, fillBytes/(keySize+space.valueBytes()+putOverhead))
	keys := make([][]byte, 0, ops)
	return func(dst []byte) ([]byte, bool) {
		first := int(taken.Add(int64(ops))) - ops
		if first >= space.size {
			return nil, false
		}
		keys = keys[:0]
		for n := first; n < min(first+ops, space.size); n++ {
			keys = append(keys, space.key(space.scattered(n)))
		}
		return appendPutTxn(dst, keys, space.valueBytes(), random), true
	}
}

// pour does what fill does and measures nothing.
func pour(s *server, space keyspace) error {
	conns, err := s.connect(fillConns)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	var taken atomic.Int64
	_, err = runAll(conns, func() load {
		return load{path: methodTxn, inFlight: fillPerConn, next: fillSource(space, &taken)}
	})
	if err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	return checkFilled(s, space)
}

// checkFilled asks for one record and reads the count of all from the reply.
func checkFilled(s *server, space keyspace) error {
	reply, err := s.rangeOnce(appendRange(nil, space.key(0), space.end(), 1, 0))
	if err != nil {
		return err
	}
	if reply.GetCount() != int64(space.size) {
		return fmt.Errorf("fill: the store counts %d of %v", reply.GetCount(), space)
	}
	return nil
}
