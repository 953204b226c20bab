package rpc

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// The checks below look at the shape of a request alone. The order in which they look is part of the
// interface: a client that makes two mistakes is told about the same one as by etcd.

func checkRange(r *pb.RangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	if r.SortOrder < pb.RangeRequest_NONE || r.SortOrder > pb.RangeRequest_DESCEND ||
		r.SortTarget < pb.RangeRequest_KEY || r.SortTarget > pb.RangeRequest_VALUE {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	return nil
}

func checkPut(r *pb.PutRequest) error {
	switch {
	case len(r.Key) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case r.IgnoreValue && len(r.Value) != 0:
		return rpctypes.ErrGRPCValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return rpctypes.ErrGRPCLeaseProvided
	}
	return nil
}

func checkDelete(r *pb.DeleteRangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

// checkTxn looks at a transaction and everything nested in it. A nested one may only use what its parent
// has left of the budget, which also bounds how deep nesting goes.
func checkTxn(r *pb.TxnRequest, maxOps int) error {
	if err := checkTxnOps(r, maxOps); err != nil {
		return err
	}
	// Hardly any transaction puts twice or nests, and such a branch needs no bookkeeping.
	for _, branch := range [...][]*pb.RequestOp{r.Success, r.Failure} {
		if plainBranch(branch) {
			continue
		}
		if _, err := collectWrites(branch); err != nil {
			return err
		}
	}
	return nil
}

func checkTxnOps(r *pb.TxnRequest, maxOps int) error {
	widest := max(len(r.Compare), len(r.Success), len(r.Failure))
	if widest > maxOps {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.Compare {
		if len(c.Key) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, branch := range [...][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			if err := checkOp(op, maxOps-widest); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *pb.RequestOp, budget int) error {
	switch op := op.Request.(type) {
	case *pb.RequestOp_RequestRange:
		return checkRange(op.RequestRange)
	case *pb.RequestOp_RequestPut:
		return checkPut(op.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return checkDelete(op.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return checkTxnOps(op.RequestTxn, budget)
	}
	// An operation that is none of the four is called a missing key: the odd name is etcd's.
	return rpctypes.ErrGRPCKeyNotFound
}

// plainBranch says that at most one operation of the branch writes, so that no two can collide.
func plainBranch(ops []*pb.RequestOp) bool {
	writes := 0
	for _, op := range ops {
		switch op.Request.(type) {
		case *pb.RequestOp_RequestTxn:
			return false
		case *pb.RequestOp_RequestPut, *pb.RequestOp_RequestDeleteRange:
			writes++
		}
	}
	return writes <= 1
}

// readOnly says that a transaction has only ranges in both branches. One that nests goes through the log
// even if all that is nested reads.
func readOnly(r *pb.TxnRequest) bool {
	return everyOp(r, func(op *pb.RequestOp) bool {
		_, ok := op.Request.(*pb.RequestOp_RequestRange)
		return ok
	})
}

// serializable says that every range of a read-only transaction is content with what this member has
// applied; a transaction that only compares is too.
func serializable(r *pb.TxnRequest) bool {
	return everyOp(r, func(op *pb.RequestOp) bool { return op.GetRequestRange().GetSerializable() })
}

func everyOp(r *pb.TxnRequest, holds func(*pb.RequestOp) bool) bool {
	for _, branch := range [...][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			if !holds(op) {
				return false
			}
		}
	}
	return true
}
