package state

import (
	"bytes"
	"cmp"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// holds reports whether all of a transaction's compares are true. No compares are true.
func holds(look reader, compares []*pb.Compare) (bool, error) {
	for _, c := range compares {
		ok, err := compareRange(look, c)
		if !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// compareRange reports whether a compare is true of every key it names. Where there is no key it is
// judged as on a key that was never written.
func compareRange(look reader, c *pb.Compare) (ok bool, err error) {
	found, ok := false, true
	look.Items(c.Key, c.RangeEnd, func(it *mvcc.Item) bool {
		found = true
		ok, err = compareItem(look, c, it)
		return ok && err == nil
	})
	if found || err != nil {
		return ok, err
	}
	if c.Target == pb.Compare_VALUE {
		// A missing key has no value: nothing is true of it, not even that it differs.
		return false, nil
	}
	return verdict(c, sign(c, &mvcc.Item{})), nil
}

func compareItem(look reader, c *pb.Compare, it *mvcc.Item) (bool, error) {
	if c.Target != pb.Compare_VALUE {
		return verdict(c, sign(c, it)), nil
	}
	var kv *mvccpb.KeyValue
	kv, err := keyValue(look, it)
	if err != nil {
		return false, err
	}
	return verdict(c, bytes.Compare(kv.Value, c.GetValue())), nil
}

// sign compares what is stored with what was given. A compare whose value is of another target than it
// names is given that target's zero, and a target that we do not know is equal: both as in etcd.
func sign(c *pb.Compare, it *mvcc.Item) int {
	switch c.Target {
	case pb.Compare_VERSION:
		return cmp.Compare(it.Version, c.GetVersion())
	case pb.Compare_CREATE:
		return cmp.Compare(int64(it.Create), c.GetCreateRevision())
	case pb.Compare_MOD:
		return cmp.Compare(int64(it.Mod), c.GetModRevision())
	case pb.Compare_LEASE:
		return cmp.Compare(it.Lease, c.GetLease())
	}
	return 0
}

// verdict applies a compare's relation; one that we do not know is true, as in etcd.
func verdict(c *pb.Compare, sign int) bool {
	switch c.Result {
	case pb.Compare_EQUAL:
		return sign == 0
	case pb.Compare_NOT_EQUAL:
		return sign != 0
	case pb.Compare_GREATER:
		return sign > 0
	case pb.Compare_LESS:
		return sign < 0
	}
	return true
}
