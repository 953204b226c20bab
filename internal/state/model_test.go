package state

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"slices"
	"sort"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/mvcc"
)

// model is the machine written down naively: every version of every key in a map, and the rules of etcd's
// API as they are told, without a thought to speed.
type model struct {
	versions map[string][]version // in order
	changes  []change
	rev      int64
	compact  int64
	leases   map[int64]lease.Lease
}

// version is a key as one command left it; kv is nil where the command deleted it.
type version struct {
	rev int64
	kv  *mvccpb.KeyValue
}

type change struct {
	rev     int64
	sub     int32
	deleted bool
	key     string
}

func newModel() *model {
	return &model{versions: map[string][]version{}, rev: 1, compact: -1, leases: map[int64]lease.Lease{}}
}

// state is the live keys at a revision.
func (m *model) state(rev int64) map[string]*mvccpb.KeyValue {
	live := map[string]*mvccpb.KeyValue{}
	for key, all := range m.versions {
		for _, v := range all {
			if v.rev > rev {
				break
			}
			live[key] = v.kv
		}
	}
	maps.DeleteFunc(live, func(_ string, kv *mvccpb.KeyValue) bool { return kv == nil })
	return live
}

// scratch is one command at work: the keys before it, and the keys with its changes.
type scratch struct {
	m           *model
	before, now map[string]*mvccpb.KeyValue
	changes     []change
}

func (m *model) begin() *scratch {
	now := m.state(m.rev)
	return &scratch{m: m, before: maps.Clone(now), now: now}
}

// seen is the revision that the command's own reads speak of.
func (s *scratch) seen() int64 {
	if len(s.changes) > 0 {
		return s.m.rev + 1
	}
	return s.m.rev
}

func (s *scratch) header() *pb.ResponseHeader { return &pb.ResponseHeader{Revision: s.seen()} }

// end makes the command's changes part of the model.
func (s *scratch) end() {
	if len(s.changes) == 0 {
		return
	}
	s.m.rev++
	for _, c := range s.changes {
		all := s.m.versions[c.key]
		if n := len(all); n > 0 && all[n-1].rev == s.m.rev {
			all = all[:n-1]
		}
		s.m.versions[c.key] = append(all, version{s.m.rev, s.now[c.key]})
	}
	s.m.changes = append(s.m.changes, s.changes...)
}

func (s *scratch) note(key string, deleted bool) {
	s.changes = append(s.changes, change{s.m.rev + 1, int32(len(s.changes)), deleted, key})
}

// apply carries out a command and returns what the machine must answer.
func (m *model) apply(op command.Op) (response any, err error) {
	switch op := op.(type) {
	case *pb.PutRequest:
		s := m.begin()
		if err := s.mayPut(op); err != nil {
			return nil, err
		}
		response = s.put(op)
		s.end()
	case *pb.DeleteRangeRequest:
		s := m.begin()
		response = s.delete(op)
		s.end()
	case *pb.TxnRequest:
		s := m.begin()
		if err := s.may(op); err != nil {
			return nil, err
		}
		response = s.txn(op)
		s.end()
	case *pb.CompactionRequest:
		if err := m.readable(op.Revision, m.compact+1); err != nil {
			return nil, err
		}
		m.compact = op.Revision
		response = &pb.CompactionResponse{}
	case *pb.LeaseGrantRequest:
		if _, ok := m.leases[op.ID]; ok {
			return nil, lease.ErrExists
		}
		m.leases[op.ID] = lease.Lease{ID: lease.ID(op.ID), TTL: op.TTL}
		response = &pb.LeaseGrantResponse{ID: op.ID, TTL: op.TTL}
	case *command.LeaseRevoke:
		return m.revoke(op)
	case *command.LeaseCheckpoint:
		for _, c := range op.Leases {
			if l, ok := m.leases[c.ID]; ok && c.Seconds >= 0 && c.Seconds <= l.TTL {
				l.Remaining = c.Seconds
				m.leases[c.ID] = l
			}
		}
	}
	return response, nil
}

func (m *model) revoke(r *command.LeaseRevoke) (any, error) {
	unknown := func(id int64) bool { return m.leases[id] == lease.Lease{} }
	if !r.Expired && slices.ContainsFunc(r.IDs, unknown) {
		return nil, lease.ErrNotFound
	}
	for _, id := range r.IDs {
		if unknown(id) {
			continue
		}
		s := m.begin()
		for _, key := range m.attached(id) {
			s.delete(&pb.DeleteRangeRequest{Key: []byte(key)})
		}
		s.end()
		delete(m.leases, id)
	}
	return &pb.LeaseRevokeResponse{}, nil
}

// attached are the keys of a lease, in order.
func (m *model) attached(id int64) (keys []string) {
	for key, kv := range m.state(m.rev) {
		if kv.Lease == id {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	return keys
}

// readable says why a revision cannot be read: what is below low has gone.
func (m *model) readable(rev, low int64) error {
	if rev < low {
		return mvcc.ErrCompacted
	}
	if rev > m.rev {
		return mvcc.ErrFutureRev
	}
	return nil
}

// within are the keys of a range, in order.
func within(keys map[string]*mvccpb.KeyValue, key, end []byte) []string {
	var in []string
	for k := range keys {
		from := k >= string(key) || string(key) == "\x00"
		switch {
		case len(end) == 0 && k != string(key):
		case string(end) == "\x00" && !from:
		case len(end) > 0 && string(end) != "\x00" && (k < string(key) || k >= string(end)):
		default:
			in = append(in, k)
		}
	}
	sort.Strings(in)
	return in
}

func (s *scratch) mayPut(r *pb.PutRequest) error {
	if _, ok := s.m.leases[r.Lease]; r.Lease != 0 && !ok {
		return lease.ErrNotFound
	}
	if s.before[string(r.Key)] == nil && (r.IgnoreValue || r.IgnoreLease) {
		return ErrKeyNotFound
	}
	return nil
}

func (s *scratch) put(r *pb.PutRequest) *pb.PutResponse {
	old := s.now[string(r.Key)]
	kv := &mvccpb.KeyValue{Key: r.Key, CreateRevision: s.m.rev + 1, ModRevision: s.m.rev + 1, Version: 1, Value: r.Value, Lease: r.Lease}
	response := new(pb.PutResponse)
	if old != nil {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
		if r.IgnoreValue {
			kv.Value = old.Value
		}
		if r.IgnoreLease {
			kv.Lease = old.Lease
		}
		if r.PrevKv {
			response.PrevKv = old
		}
	}
	s.now[string(r.Key)] = kv
	s.note(string(r.Key), false)
	return response
}

func (s *scratch) delete(r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	response := new(pb.DeleteRangeResponse)
	for _, key := range within(s.now, r.Key, r.RangeEnd) {
		if r.PrevKv {
			response.PrevKvs = append(response.PrevKvs, s.now[key])
		}
		delete(s.now, key)
		s.note(key, true)
		response.Deleted++
	}
	return response
}

func (s *scratch) rangeKeys(r *pb.RangeRequest) *pb.RangeResponse {
	keys := s.now
	if r.Revision > 0 {
		keys = s.m.state(r.Revision)
	}
	response := &pb.RangeResponse{Header: s.header()}
	for _, key := range within(keys, r.Key, r.RangeEnd) {
		response.Kvs = append(response.Kvs, keys[key])
	}
	response.Count = int64(len(response.Kvs))
	if r.CountOnly {
		response.Kvs = nil
	}
	sort.SliceStable(response.Kvs, func(i, j int) bool {
		c := sortBy(response.Kvs[i], response.Kvs[j], r.SortTarget)
		return r.SortOrder == pb.RangeRequest_ASCEND && c < 0 || r.SortOrder == pb.RangeRequest_DESCEND && c > 0
	})
	if r.Limit > 0 && r.Limit < int64(len(response.Kvs)) {
		response.Kvs, response.More = response.Kvs[:r.Limit], true
	}
	for i, kv := range response.Kvs {
		if r.KeysOnly {
			bare := &mvccpb.KeyValue{Key: kv.Key, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version}
			if r.SortTarget == pb.RangeRequest_VALUE {
				bare.Lease = kv.Lease
			}
			response.Kvs[i] = bare
		}
	}
	return response
}

func sortBy(a, b *mvccpb.KeyValue, target pb.RangeRequest_SortTarget) int {
	switch target {
	case pb.RangeRequest_VERSION:
		return cmp.Compare(a.Version, b.Version)
	case pb.RangeRequest_CREATE:
		return cmp.Compare(a.CreateRevision, b.CreateRevision)
	case pb.RangeRequest_MOD:
		return cmp.Compare(a.ModRevision, b.ModRevision)
	case pb.RangeRequest_VALUE:
		return bytes.Compare(a.Value, b.Value)
	}
	return bytes.Compare(a.Key, b.Key)
}

// taken is the branch that a transaction takes; compares see what was there before the whole command.
func (s *scratch) taken(r *pb.TxnRequest) ([]*pb.RequestOp, bool) {
	for _, c := range r.Compare {
		keys := within(s.before, c.Key, c.RangeEnd)
		if len(keys) == 0 && (c.Target == pb.Compare_VALUE || !compare(c, &mvccpb.KeyValue{})) {
			return r.Failure, false
		}
		if slices.ContainsFunc(keys, func(k string) bool { return !compare(c, s.before[k]) }) {
			return r.Failure, false
		}
	}
	return r.Success, true
}

func compare(c *pb.Compare, kv *mvccpb.KeyValue) bool {
	order := 0
	switch c.Target {
	case pb.Compare_VERSION:
		order = cmp.Compare(kv.Version, c.GetVersion())
	case pb.Compare_CREATE:
		order = cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
	case pb.Compare_MOD:
		order = cmp.Compare(kv.ModRevision, c.GetModRevision())
	case pb.Compare_VALUE:
		order = strings.Compare(string(kv.Value), string(c.GetValue()))
	case pb.Compare_LEASE:
		order = cmp.Compare(kv.Lease, c.GetLease())
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return order == 0
	case pb.Compare_GREATER:
		return order > 0
	case pb.Compare_LESS:
		return order < 0
	case pb.Compare_NOT_EQUAL:
		return order != 0
	}
	return true
}

// may is what a transaction can be refused for.
func (s *scratch) may(r *pb.TxnRequest) error {
	ops, _ := s.taken(r)
	errs := make([]error, len(ops))
	for i, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			errs[i] = s.mayPut(p)
		} else if g := op.GetRequestRange(); g != nil && g.Revision > 0 {
			errs[i] = s.m.readable(g.Revision, s.m.compact)
		} else if t := op.GetRequestTxn(); t != nil {
			errs[i] = s.may(t)
		}
	}
	// The first one is the answer.
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *scratch) txn(r *pb.TxnRequest) *pb.TxnResponse {
	ops, ok := s.taken(r)
	response := &pb.TxnResponse{Succeeded: ok}
	for _, op := range ops {
		one := new(pb.ResponseOp)
		if p := op.GetRequestPut(); p != nil {
			a := s.put(p)
			a.Header = s.header()
			one.Response = &pb.ResponseOp_ResponsePut{ResponsePut: a}
		} else if d := op.GetRequestDeleteRange(); d != nil {
			a := s.delete(d)
			a.Header = s.header()
			one.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: a}
		} else if g := op.GetRequestRange(); g != nil {
			one.Response = &pb.ResponseOp_ResponseRange{ResponseRange: s.rangeKeys(g)}
		} else if t := op.GetRequestTxn(); t != nil {
			a := s.txn(t)
			a.Header = &pb.ResponseHeader{}
			one.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: a}
		}
		response.Responses = append(response.Responses, one)
	}
	return response
}

// read is what a transaction that only reads answers without the log.
func (m *model) read(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	s := m.begin()
	if err := s.may(r); err != nil {
		return nil, err
	}
	return s.txn(r), nil
}

// sameError says that the machine's error is the model's.
func sameError(got, want error) bool { return (got == nil) == (want == nil) && errors.Is(got, want) }
