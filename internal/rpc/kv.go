package rpc

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/wire"
)

// kvServer answers the key-value service. Reads pass a barrier and look at a view; writes are proposed.
type kvServer struct {
	headers
	access
	space
	replica  Proposer
	store    *mvcc.Store
	counts   *metrics.MVCC
	maxOps   int
	maxBytes int // of one command, and about the size of one chunk of a streamed range

	puts        proposing[*pb.PutResponse]
	deletes     proposing[*pb.DeleteRangeResponse]
	txns        proposing[*pb.TxnResponse]
	compactions proposing[*pb.CompactionResponse]

	rangeTook    metrics.Outcomes // of one range, with its barrier
	readTxnTook  metrics.Outcomes // of one transaction that only reads, with its barrier
	rangeLooking metrics.Outcomes // of looking alone
}

// rangeKeys answers a range with bytes: the records leave the store in their wire form.
func (s *kvServer) rangeKeys(ctx context.Context, r *pb.RangeRequest) (any, error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	start := time.Now()
	res, err := s.readRange(ctx, r)
	took := time.Since(start)
	s.rangeTook.Observe(took, err)
	spentOnRead(ctx, took)
	if err != nil {
		return nil, err
	}
	return wire.Range{Header: s.at(res.Rev), Result: res, More: res.More, Count: res.Count}.Encode(), nil
}

func (s *kvServer) readRange(ctx context.Context, r *pb.RangeRequest) (*mvcc.RangeResult, error) {
	if err := s.barrier(ctx, r.Serializable); err != nil {
		return nil, err
	}
	return s.look(ctx, r, state.Query(r))
}

// barrier makes sure that the next view shows everything acknowledged so far, unless the client is
// content with what this member has.
func (s *kvServer) barrier(ctx context.Context, serializable bool) error {
	if serializable {
		return nil
	}
	return s.replica.Barrier(ctx)
}

// look reads, for a request, from a view of its own. Rights are asked for once the view is pinned.
func (s *kvServer) look(ctx context.Context, r *pb.RangeRequest, q mvcc.RangeQuery) (*mvcc.RangeResult, error) {
	s.counts.Ranges.Inc()
	start := time.Now()
	view := s.store.View()
	defer view.Close()
	if err := s.mayRead(ctx, r); err != nil {
		return nil, err
	}
	res, err := view.Range(ctx, q)
	took := time.Since(start)
	s.rangeLooking.Observe(took, err)
	spent(ctx, stepRead, took)
	return res, err
}

func (s *kvServer) put(ctx context.Context, r *pb.PutRequest) (any, error) {
	if err := s.admit(r); err != nil {
		return nil, err
	}
	if err := checkPut(r); err != nil {
		return nil, err
	}
	out, rev, err := s.puts.propose(ctx, r)
	if err != nil {
		return nil, err
	}
	out.Header = s.at(rev)
	return out, nil
}

func (s *kvServer) deleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (any, error) {
	if err := checkDelete(r); err != nil {
		return nil, err
	}
	out, rev, err := s.deletes.propose(ctx, r)
	if err != nil {
		return nil, err
	}
	out.Header = s.at(rev)
	return out, nil
}

func (s *kvServer) txn(ctx context.Context, r *pb.TxnRequest) (any, error) {
	if err := s.admit(r); err != nil {
		return nil, err
	}
	if err := checkTxn(r, s.maxOps); err != nil {
		return nil, err
	}
	if readOnly(r) {
		start := time.Now()
		out, err := s.readTxn(ctx, r)
		took := time.Since(start)
		s.readTxnTook.Observe(took, err)
		spentOnRead(ctx, took)
		if err != nil {
			return nil, err
		}
		return out, nil
	}
	out, rev, err := s.txns.propose(ctx, r)
	if err != nil {
		return nil, err
	}
	out.Header = s.at(rev)
	return out, nil
}

// readTxn answers a transaction that cannot change anything without writing to the log.
func (s *kvServer) readTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := s.barrier(ctx, serializable(r)); err != nil {
		return nil, err
	}
	s.counts.Txns.Inc()
	start := time.Now()
	defer func() { spent(ctx, stepRead, time.Since(start)) }()
	view := s.store.View()
	defer view.Close()
	if err := s.mayRead(ctx, r); err != nil {
		return nil, err
	}
	out, err := state.ReadTxn(ctx, view, r)
	if err != nil {
		return nil, err
	}
	s.counts.Ranges.Add(uint64(len(out.Responses)))
	out.Header = s.at(view.Rev())
	return out, nil
}

func (s *kvServer) compact(ctx context.Context, r *pb.CompactionRequest) (any, error) {
	if err := s.may(ctx, r); err != nil { // before an alarm is looked at, as in etcd
		return nil, err
	}
	out, rev, err := s.compactions.propose(ctx, r)
	if err != nil {
		return nil, err
	}
	if r.Physical {
		if err := s.store.Swept(ctx, mvcc.Rev(r.Revision)); err != nil {
			return nil, err
		}
	}
	out.Header = s.at(rev)
	return out, nil
}
