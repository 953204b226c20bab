package compat

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// history is a list of steps that needs nothing but a fresh server.
type history struct{ steps []step }

// step is one request and who makes it.
type step struct {
	verb    string // as in stories
	as      string // whose token, "" for none
	stream  string // of a watch
	request proto.Message
}

func (s step) text() string {
	return strings.ReplaceAll(prototext.MarshalOptions{}.Format(s.request), "  ", " ")
}

// story writes the steps that are no line of a `do`.
func (s step) story() string {
	if s.verb == "login" {
		r := s.request.(*pb.AuthenticateRequest)
		return "login\n" + r.Name + " " + r.Password
	}
	head := "watch stream=" + s.stream
	if s.as != "" {
		head += " token=" + s.as
	}
	return head + "\ncreate " + s.text()
}

// simpler returns the step with one part of its transaction left out, in every way.
func (s step) simpler() []step {
	r, ok := s.request.(*pb.TxnRequest)
	if !ok {
		return nil
	}
	var list []step
	for i := range r.Compare {
		c := proto.Clone(r).(*pb.TxnRequest)
		c.Compare = slices.Delete(c.Compare, i, i+1)
		list = append(list, step{verb: s.verb, as: s.as, request: c})
	}
	for i := range r.Success {
		c := proto.Clone(r).(*pb.TxnRequest)
		c.Success = slices.Delete(c.Success, i, i+1)
		list = append(list, step{verb: s.verb, as: s.as, request: c})
	}
	for i := range r.Failure {
		c := proto.Clone(r).(*pb.TxnRequest)
		c.Failure = slices.Delete(c.Failure, i, i+1)
		list = append(list, step{verb: s.verb, as: s.as, request: c})
	}
	return list
}

const (
	// maxDepth is how deep transactions nest.
	maxDepth = 2
	// maxLease is the highest ID of a lease that a history grants; a higher one is never there.
	maxLease = 5
)

// dice draws requests. It guesses the revision: every guess is fair, since both servers answer the same request.
type dice struct {
	*rand.Rand
	revision int64
	users    bool
}

// newHistory draws a history, with users if wanted.
func newHistory(rng *rand.Rand, users bool, n int) history {
	d := &dice{Rand: rng, revision: 1, users: users}
	var h history
	add := func(as, verb string, r proto.Message) {
		h.steps = append(h.steps, step{verb: verb, as: as, request: r})
	}
	who := []string{""}
	if users {
		who = []string{"root", "alice", "alice", "alice", "bob", "bob"}
		for _, name := range []string{"root", "alice", "bob"} {
			add("", "user", &pb.AuthUserAddRequest{Name: name, Password: name})
			add("", "role", &pb.AuthRoleAddRequest{Name: name})
			add("", "give", &pb.AuthUserGrantRoleRequest{User: name, Role: name})
		}
		for range 6 {
			add("", "allow", d.grantPermission())
		}
		add("", "enable", &pb.AuthEnableRequest{})
		for _, name := range []string{"root", "alice", "bob"} {
			add("", "login", &pb.AuthenticateRequest{Name: name, Password: name})
		}
	}
	for i := range n {
		as := who[d.IntN(len(who))]
		if users && d.IntN(12) == 0 {
			// Later grants never take a right away: of a watch that loses its right the servers think differently.
			r := d.grantPermission()
			r.Perm.PermType = authpb.Permission_READWRITE
			add("root", "allow", r)
			continue
		}
		if d.IntN(20) == 0 {
			h.steps = append(h.steps, step{verb: "watch", as: as, stream: fmt.Sprintf("w%d", i), request: d.watch()})
			continue
		}
		verb, r := d.request()
		add(as, verb, r)
	}
	last := who[0]
	add(last, "range", &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	add(last, "leases", &pb.LeaseLeasesRequest{})
	add(last, "hashkv", &pb.HashKVRequest{})
	return h
}

func (d *dice) chance(n int) bool { return d.IntN(n) == 0 }

func (d *dice) key() []byte { return []byte(string("abcdefgh"[d.IntN(8)])) }

// span draws a key and mostly no end, or one after it, before it, or open. With users on none is before it: what
// etcd thinks of the rights to a range without keys depends on the order in which rights were given.
func (d *dice) span() (key, end []byte) {
	key = d.key()
	switch d.IntN(6) {
	case 0, 1:
		if end = d.key(); d.users && bytes.Compare(key, end) >= 0 {
			end = []byte("i")
		}
	case 2:
		end = []byte{0}
	}
	return key, end
}

func (d *dice) value() []byte { return []byte(fmt.Sprint(d.IntN(20))) }

// past draws a revision: now, one that was, or one that will be.
func (d *dice) past() int64 {
	switch d.IntN(8) {
	case 0:
		return d.revision + d.Int64N(3)
	case 1, 2, 3:
		return d.Int64N(d.revision + 1)
	default:
		return 0
	}
}

func (d *dice) lease() int64 {
	if d.chance(3) {
		return d.Int64N(maxLease + 2)
	}
	return 0
}

func (d *dice) request() (string, proto.Message) {
	switch n := d.IntN(100); {
	case n < 25:
		d.revision++
		return "put", d.put()
	case n < 50:
		return "range", d.rangeRequest()
	case n < 60:
		return "delete", d.deleteRange()
	case n < 80:
		d.revision++
		return "txn", d.txn(maxDepth)
	case n < 83:
		return "compact", &pb.CompactionRequest{Revision: d.Int64N(d.revision + 2)}
	case n < 88:
		return "grant", &pb.LeaseGrantRequest{ID: 1 + d.Int64N(maxLease), TTL: 600}
	case n < 90:
		return "revoke", &pb.LeaseRevokeRequest{ID: 1 + d.Int64N(maxLease+1)}
	case n < 93:
		return "ttl", &pb.LeaseTimeToLiveRequest{ID: 1 + d.Int64N(maxLease+1), Keys: true}
	case n < 94:
		return "leases", &pb.LeaseLeasesRequest{}
	default:
		return "hashkv", &pb.HashKVRequest{Revision: d.past()}
	}
}

func (d *dice) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: d.key(), Value: d.value(), Lease: d.lease(), PrevKv: d.chance(3)}
	if d.chance(8) {
		r.IgnoreValue = true
		if !d.chance(4) {
			r.Value = nil
		}
	}
	if d.chance(8) {
		r.IgnoreLease = true
		if !d.chance(4) {
			r.Lease = 0
		}
	}
	return r
}

func (d *dice) rangeRequest() *pb.RangeRequest {
	r := &pb.RangeRequest{Revision: d.past()}
	r.Key, r.RangeEnd = d.span()
	if d.chance(4) {
		r.Limit = d.Int64N(4)
	}
	if d.chance(4) {
		r.SortOrder = pb.RangeRequest_SortOrder(d.IntN(3))
		r.SortTarget = pb.RangeRequest_SortTarget(d.IntN(5))
	}
	r.KeysOnly, r.CountOnly, r.Serializable = d.chance(6), d.chance(8), d.chance(6)
	for _, filter := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
		if d.chance(12) {
			*filter = d.Int64N(d.revision + 1)
		}
	}
	return r
}

func (d *dice) deleteRange() *pb.DeleteRangeRequest {
	r := &pb.DeleteRangeRequest{PrevKv: d.chance(2)}
	r.Key, r.RangeEnd = d.span()
	return r
}

func (d *dice) txn(depth int) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for range d.IntN(3) {
		r.Compare = append(r.Compare, d.compare())
	}
	for range d.IntN(4) {
		r.Success = append(r.Success, d.op(depth))
	}
	for range d.IntN(3) {
		r.Failure = append(r.Failure, d.op(depth))
	}
	return r
}

func (d *dice) op(depth int) *pb.RequestOp {
	switch n := d.IntN(20); {
	case n < 8:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: d.put()}}
	case n < 13:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: d.rangeRequest()}}
	case n < 17 || depth == 0:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: d.deleteRange()}}
	default:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: d.txn(depth - 1)}}
	}
}

func (d *dice) compare() *pb.Compare {
	c := &pb.Compare{Key: d.key(), Result: pb.Compare_CompareResult(d.IntN(4)), Target: pb.Compare_CompareTarget(d.IntN(5))}
	if d.chance(4) {
		c.Key, c.RangeEnd = d.span()
	}
	switch number := d.Int64N(d.revision + 2); c.Target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: d.Int64N(4)}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: number}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: number}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: d.value()}
	default:
		c.TargetUnion = &pb.Compare_Lease{Lease: d.lease()}
	}
	return c
}

// watch draws a watch of what was or is, and now and then of what will be.
func (d *dice) watch() *pb.WatchCreateRequest {
	r := &pb.WatchCreateRequest{PrevKv: d.chance(2)}
	r.Key, r.RangeEnd = d.span()
	if d.chance(2) {
		r.StartRevision = 1 + d.Int64N(max(1, d.revision/2))
	}
	for _, f := range []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE} {
		if d.chance(6) {
			r.Filters = append(r.Filters, f)
		}
	}
	return r
}

func (d *dice) grantPermission() *pb.AuthRoleGrantPermissionRequest {
	p := &authpb.Permission{PermType: authpb.Permission_Type(d.IntN(3))}
	p.Key, p.RangeEnd = d.span()
	return &pb.AuthRoleGrantPermissionRequest{Name: []string{"alice", "bob"}[d.IntN(2)], Perm: p}
}
