package rpc

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/state"
)

// kvServer answers the key-value service. Reads pass a barrier and look at a view; writes are proposed.
type kvServer struct {
	headers
	replica  Proposer
	store    *mvcc.Store
	counts   *metrics.MVCC
	maxOps   int
	maxBytes int // of one command, and about the size of one chunk of a streamed range
}

// rangeKeys answers a range with bytes: the records leave the store in their wire form.
func (s *kvServer) rangeKeys(ctx context.Context, r *pb.RangeRequest) (any, error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	if err := s.barrier(ctx, r.Serializable); err != nil {
		return nil, err
	}
	res, err := s.look(ctx, state.Query(r))
	if err != nil {
		return nil, err
	}
	return encodeRange(rangeMessage{header: s.at(res.Rev), res: res, more: res.More, count: res.Count}), nil
}

// barrier makes sure that the next view shows everything acknowledged so far, unless the client is
// content with what this member has.
func (s *kvServer) barrier(ctx context.Context, serializable bool) error {
	if serializable {
		return nil
	}
	return s.replica.Barrier(ctx)
}

// look reads from a view of its own.
func (s *kvServer) look(ctx context.Context, q mvcc.RangeQuery) (*mvcc.RangeResult, error) {
	s.counts.Ranges.Inc()
	view := s.store.View()
	defer view.Close()
	return view.Range(ctx, q)
}

func (s *kvServer) put(ctx context.Context, r *pb.PutRequest) (any, error) {
	if err := checkPut(r); err != nil {
		return nil, err
	}
	out, rev, err := propose[*pb.PutResponse](ctx, s.replica, r)
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
	out, rev, err := propose[*pb.DeleteRangeResponse](ctx, s.replica, r)
	if err != nil {
		return nil, err
	}
	out.Header = s.at(rev)
	return out, nil
}

func (s *kvServer) txn(ctx context.Context, r *pb.TxnRequest) (any, error) {
	if err := checkTxn(r, s.maxOps); err != nil {
		return nil, err
	}
	if readOnly(r) {
		return s.readTxn(ctx, r)
	}
	out, rev, err := propose[*pb.TxnResponse](ctx, s.replica, r)
	if err != nil {
		return nil, err
	}
	out.Header = s.at(rev)
	return out, nil
}

// readTxn answers a transaction that cannot change anything without writing to the log.
func (s *kvServer) readTxn(ctx context.Context, r *pb.TxnRequest) (any, error) {
	if err := s.barrier(ctx, serializable(r)); err != nil {
		return nil, err
	}
	s.counts.Txns.Inc()
	view := s.store.View()
	defer view.Close()
	out, err := state.ReadTxn(ctx, view, r)
	if err != nil {
		return nil, err
	}
	s.counts.Ranges.Add(uint64(len(out.Responses)))
	out.Header = s.at(view.Rev())
	return out, nil
}

func (s *kvServer) compact(ctx context.Context, r *pb.CompactionRequest) (any, error) {
	out, rev, err := propose[*pb.CompactionResponse](ctx, s.replica, r)
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

// propose puts a command into the log and returns its response and the revision after it. Whether the
// command was refused or failed when it was applied makes no difference to a client.
func propose[Out any](ctx context.Context, replica Proposer, op command.Op) (out Out, rev mvcc.Rev, err error) {
	res, err := replica.Propose(ctx, op)
	if err == nil {
		err = res.Err
	}
	if err != nil {
		return out, 0, err
	}
	return res.Response.(Out), res.Rev, nil
}
