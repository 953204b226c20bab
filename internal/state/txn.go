package state

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// path is the branch a transaction takes, and those of the transactions within that branch. All of it is
// decided on the state before the first write.
type path struct {
	succeeded bool
	ops       []*pb.RequestOp
	nested    []path // of the ops that are transactions, in their order
}

func choose(look reader, r *pb.TxnRequest) (path, error) {
	ok, err := holds(look, r.Compare)
	if err != nil {
		return path{}, err
	}
	p := path{succeeded: ok, ops: r.Failure}
	if ok {
		p.ops = r.Success
	}
	for _, op := range p.ops {
		inner := op.GetRequestTxn()
		if inner == nil {
			continue
		}
		in, err := choose(look, inner)
		if err != nil {
			return path{}, err
		}
		p.nested = append(p.nested, in)
	}
	return p, nil
}

// txn carries out a transaction: choose the path, check all of it, and only then write.
func (m *Machine) txn(tx *mvcc.Tx, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	p, err := choose(tx, r)
	if err != nil {
		return nil, err
	}
	if err := m.check(tx, p); err != nil {
		return nil, err
	}
	m.counts.Txns++
	return m.walk(tx, p)
}

// check is everything a chosen path can be refused for, judged on the state before the transaction.
func (m *Machine) check(tx *mvcc.Tx, p path) error {
	nested := p.nested
	for _, op := range p.ops {
		var err error
		switch r := op.Request.(type) {
		case *pb.RequestOp_RequestPut:
			err = m.checkPut(tx, r.RequestPut)
		case *pb.RequestOp_RequestRange:
			err = checkRev(mvcc.Rev(r.RequestRange.Revision), tx.StartRev(), m.writer.CompactRev())
		case *pb.RequestOp_RequestTxn:
			err = m.check(tx, nested[0])
			nested = nested[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkRev refuses revisions that are not there yet or not there any more; 0 and less mean the newest.
func checkRev(rev, current, compacted mvcc.Rev) error {
	switch {
	case rev > current:
		return mvcc.ErrFutureRev
	case rev > 0 && rev < compacted:
		return mvcc.ErrCompacted
	}
	return nil
}

// walk carries out a checked path.
func (m *Machine) walk(tx *mvcc.Tx, p path) (*pb.TxnResponse, error) {
	response := &pb.TxnResponse{Succeeded: p.succeeded, Responses: make([]*pb.ResponseOp, len(p.ops))}
	nested := p.nested
	for i, op := range p.ops {
		answer := new(pb.ResponseOp)
		switch r := op.Request.(type) {
		case *pb.RequestOp_RequestPut:
			one, err := m.put(tx, r.RequestPut)
			if err != nil {
				return nil, final(err)
			}
			one.Header = txHeader(tx)
			answer.Response = &pb.ResponseOp_ResponsePut{ResponsePut: one}
		case *pb.RequestOp_RequestDeleteRange:
			one, err := m.deleteRange(tx, r.RequestDeleteRange)
			if err != nil {
				return nil, final(err)
			}
			one.Header = txHeader(tx)
			answer.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: one}
		case *pb.RequestOp_RequestRange:
			m.counts.Ranges++
			one, err := txRange(tx, r.RequestRange)
			if err != nil {
				return nil, final(err)
			}
			answer.Response = &pb.ResponseOp_ResponseRange{ResponseRange: one}
		case *pb.RequestOp_RequestTxn:
			one, err := m.walk(tx, nested[0])
			if err != nil {
				return nil, err
			}
			nested = nested[1:]
			one.Header = new(pb.ResponseHeader)
			answer.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: one}
		}
		response.Responses[i] = answer
	}
	return response, nil
}

// final is what an error on a checked path is: no verdict, because a part of the transaction may be written
// by now, but a failure of this member. The text keeps the cause; the chain does not, so that no verdict
// inside can be taken for the transaction's.
func final(err error) error {
	return errors.New("carry out a transaction that was found valid: " + err.Error())
}

func txRange(tx *mvcc.Tx, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	result, err := tx.Range(Query(r))
	if err != nil {
		return nil, err
	}
	return rangeResponse(result)
}

// txHeader is the header of a put or delete within a transaction: the revision its writes get.
func txHeader(tx *mvcc.Tx) *pb.ResponseHeader {
	rev := tx.StartRev()
	if tx.Changed() {
		rev++
	}
	return &pb.ResponseHeader{Revision: int64(rev)}
}

// ReadTxn evaluates a transaction that only reads, on a view and without the log. It must hold nothing
// but ranges, in both branches.
func ReadTxn(ctx context.Context, view *mvcc.View, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	p, err := choose(view, r)
	if err != nil {
		return nil, err
	}
	for _, op := range p.ops {
		if err := checkRev(mvcc.Rev(op.GetRequestRange().GetRevision()), view.Rev(), view.CompactRev()); err != nil {
			return nil, err
		}
	}
	response := &pb.TxnResponse{Succeeded: p.succeeded, Responses: make([]*pb.ResponseOp, len(p.ops))}
	for i, op := range p.ops {
		result, err := view.Range(ctx, Query(op.GetRequestRange()))
		if err != nil {
			return nil, err
		}
		one, err := rangeResponse(result)
		if err != nil {
			return nil, err
		}
		response.Responses[i] = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: one}}
	}
	return response, nil
}
