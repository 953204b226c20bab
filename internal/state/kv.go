package state

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/mvcc"
)

// reader is what a transaction looks at: the state as a command changes it, or a view of it.
type reader interface {
	Get(key []byte) (*mvcc.Item, bool)
	Record(it *mvcc.Item) ([]byte, error)
	Items(key, end []byte, yield func(*mvcc.Item) bool)
}

// put carries out one put that was checked: write the record, move the key to its lease. Where a value or
// lease is to be kept and an earlier step of the same transaction deleted the key, there is none to keep.
func (m *Machine) put(tx *mvcc.Tx, r *pb.PutRequest) (*pb.PutResponse, error) {
	response := new(pb.PutResponse)
	value, leaseID := r.Value, r.Lease
	if r.PrevKv || r.IgnoreValue || r.IgnoreLease {
		if old, ok := tx.Get(r.Key); ok {
			kv, err := keyValue(tx, old)
			if err != nil {
				return nil, err
			}
			if r.PrevKv {
				response.PrevKv = kv
			}
			if r.IgnoreValue {
				value = kv.Value
			}
			if r.IgnoreLease {
				leaseID = kv.Lease
			}
		}
	}
	old, err := tx.Put(r.Key, value, leaseID)
	if err != nil {
		return nil, err
	}
	m.moveLease(r.Key, old, leaseID)
	m.counts.Puts++
	m.counts.PutBytes += uint64(len(r.Key) + len(value))
	return response, nil
}

// checkPut is everything a put can be refused for; it writes nothing.
func (m *Machine) checkPut(look reader, r *pb.PutRequest) error {
	if r.Lease != 0 {
		if _, ok := m.leases.Get(lease.ID(r.Lease)); !ok {
			return lease.ErrNotFound
		}
	}
	if r.IgnoreValue || r.IgnoreLease {
		if _, ok := look.Get(r.Key); !ok {
			return ErrKeyNotFound
		}
	}
	return nil
}

// moveLease hangs a key that was just written on its lease and takes it off the one it hung on before.
func (m *Machine) moveLease(key []byte, old *mvcc.Item, leaseID int64) {
	if old != nil && old.Lease == leaseID {
		return
	}
	if old != nil && old.Lease != 0 {
		m.leases.Detach(lease.ID(old.Lease), old.Key)
	}
	if leaseID != 0 {
		m.leases.Attach(lease.ID(leaseID), string(key))
	}
}

func (m *Machine) deleteRange(tx *mvcc.Tx, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	response := new(pb.DeleteRangeResponse)
	if r.PrevKv {
		var err error
		tx.Items(r.Key, r.RangeEnd, func(it *mvcc.Item) bool {
			var kv *mvccpb.KeyValue
			if kv, err = keyValue(tx, it); err != nil {
				return false
			}
			response.PrevKvs = append(response.PrevKvs, kv)
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	deleted, err := tx.Delete(r.Key, r.RangeEnd)
	if err != nil {
		return nil, err
	}
	for _, it := range deleted {
		if it.Lease != 0 {
			m.leases.Detach(lease.ID(it.Lease), it.Key)
		}
	}
	response.Deleted = int64(len(deleted))
	m.counts.Deletes++
	return response, nil
}

// keyValue reads a live key's record.
func keyValue(look reader, it *mvcc.Item) (*mvccpb.KeyValue, error) {
	record, err := look.Record(it)
	if err != nil {
		return nil, err
	}
	kv := new(mvccpb.KeyValue)
	if err := proto.Unmarshal(record, kv); err != nil {
		return nil, fmt.Errorf("read the record of %q: %w", it.Key, err)
	}
	return kv, nil
}

// Query turns a request into the store's words.
func Query(r *pb.RangeRequest) mvcc.RangeQuery {
	return mvcc.RangeQuery{
		Key: r.Key, End: r.RangeEnd, Rev: mvcc.Rev(r.Revision), Limit: r.Limit,
		Sort: mvcc.Sort(r.SortOrder), Target: mvcc.Target(r.SortTarget),
		KeysOnly: r.KeysOnly, CountOnly: r.CountOnly,
		MinMod: mvcc.Rev(r.MinModRevision), MaxMod: mvcc.Rev(r.MaxModRevision),
		MinCreate: mvcc.Rev(r.MinCreateRevision), MaxCreate: mvcc.Rev(r.MaxCreateRevision),
	}
}

// rangeResponse turns a range's result into etcd's type and gives its memory back.
func rangeResponse(result *mvcc.RangeResult) (*pb.RangeResponse, error) {
	response := new(pb.RangeResponse)
	var frames []byte
	for _, f := range result.Frames {
		frames = append(frames, f...)
	}
	if err := proto.Unmarshal(frames, response); err != nil {
		return nil, fmt.Errorf("read the records of a range: %w", err)
	}
	response.Header = &pb.ResponseHeader{Revision: int64(result.Rev)}
	response.More, response.Count = result.More, result.Count
	result.Release()
	return response, nil
}
