package rpc

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Operations of transactions, in few letters for the tables below.
func opRange(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}
}

func opPut(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
}

func opDel(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)},
	}}
}

func opTxn(then, otherwise []*pb.RequestOp) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: then, Failure: otherwise}}}
}

func ops(o ...*pb.RequestOp) []*pb.RequestOp { return o }

func times(n int, op *pb.RequestOp) []*pb.RequestOp {
	out := make([]*pb.RequestOp, n)
	for i := range out {
		out[i] = op
	}
	return out
}

func TestRequestsAreCheckedInOrder(t *testing.T) {
	k, v := []byte("k"), []byte("v")
	for name, tc := range map[string]struct{ got, want error }{
		"range":                           {checkRange(&pb.RangeRequest{Key: k}), nil},
		"range of everything":             {checkRange(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}), nil},
		"range without key":               {checkRange(&pb.RangeRequest{SortOrder: 9}), rpctypes.ErrGRPCEmptyKey},
		"range with unknown order":        {checkRange(&pb.RangeRequest{Key: k, SortOrder: 3}), rpctypes.ErrGRPCInvalidSortOption},
		"range with negative order":       {checkRange(&pb.RangeRequest{Key: k, SortOrder: -1}), rpctypes.ErrGRPCInvalidSortOption},
		"range with unknown target":       {checkRange(&pb.RangeRequest{Key: k, SortTarget: 5}), rpctypes.ErrGRPCInvalidSortOption},
		"put":                             {checkPut(&pb.PutRequest{Key: k}), nil},
		"put without key":                 {checkPut(&pb.PutRequest{IgnoreValue: true, Value: v}), rpctypes.ErrGRPCEmptyKey},
		"put that ignores a given value":  {checkPut(&pb.PutRequest{Key: k, IgnoreValue: true, Value: v, IgnoreLease: true, Lease: 1}), rpctypes.ErrGRPCValueProvided},
		"put that ignores a given lease":  {checkPut(&pb.PutRequest{Key: k, IgnoreValue: true, IgnoreLease: true, Lease: 1}), rpctypes.ErrGRPCLeaseProvided},
		"delete":                          {checkDelete(&pb.DeleteRangeRequest{Key: k}), nil},
		"delete without key":              {checkDelete(&pb.DeleteRangeRequest{RangeEnd: k}), rpctypes.ErrGRPCEmptyKey},
		"empty transaction":               {checkTxn(&pb.TxnRequest{}, 128), nil},
		"compare without key":             {checkTxn(&pb.TxnRequest{Compare: []*pb.Compare{{}}, Success: ops(opPut(""))}, 128), rpctypes.ErrGRPCEmptyKey},
		"empty key in a branch not taken": {checkTxn(&pb.TxnRequest{Failure: ops(opRange(""))}, 128), rpctypes.ErrGRPCEmptyKey},
		"operation that is none":          {checkTxn(&pb.TxnRequest{Success: ops(&pb.RequestOp{})}, 128), rpctypes.ErrGRPCKeyNotFound},
		"as many operations as allowed":   {checkTxn(&pb.TxnRequest{Success: times(128, opRange("a")), Failure: times(128, opRange("a"))}, 128), nil},
		"one operation too many":          {checkTxn(&pb.TxnRequest{Failure: times(129, opRange(""))}, 128), rpctypes.ErrGRPCTooManyOps},
		"one compare too many":            {checkTxn(&pb.TxnRequest{Compare: make([]*pb.Compare, 129)}, 128), rpctypes.ErrGRPCTooManyOps},
		"nested within what is left":      {checkTxn(&pb.TxnRequest{Success: ops(opTxn(times(127, opRange("a")), nil))}, 128), nil},
		"nested beyond what is left":      {checkTxn(&pb.TxnRequest{Success: ops(opTxn(times(128, opRange("a")), nil))}, 128), rpctypes.ErrGRPCTooManyOps},
		"siblings have a budget each":     {checkTxn(&pb.TxnRequest{Success: ops(opTxn(times(126, opRange("a")), nil), opTxn(times(126, opRange("a")), nil))}, 128), nil},
		"a bad key before a duplicate":    {checkTxn(&pb.TxnRequest{Success: ops(opPut("a"), opPut("a"), opPut(""))}, 128), rpctypes.ErrGRPCEmptyKey},
	} {
		if !errors.Is(tc.got, tc.want) {
			t.Errorf("%s: %v, want %v", name, tc.got, tc.want)
		}
	}
}

func TestDuplicateKeysAreFoundByTheLetter(t *testing.T) {
	nested := func(o ...*pb.RequestOp) *pb.RequestOp { return opTxn(o, nil) }
	for _, tc := range []struct {
		name      string
		ops       []*pb.RequestOp
		duplicate bool
	}{
		{"two puts of one key", ops(opPut("a"), opPut("a")), true},
		{"two puts of two keys", ops(opPut("a"), opPut("b")), false},
		{"put and delete of one key", ops(opPut("a"), opDel("a", "")), true},
		{"delete and put of one key", ops(opDel("a", ""), opPut("a")), true},
		{"put inside a deleted range", ops(opDel("a", "c"), opPut("b")), true},
		{"put at the end of a deleted range", ops(opDel("a", "c"), opPut("c")), false},
		{"put just behind a deleted key", ops(opDel("a", ""), opPut("a\x00")), false},
		{"put behind a delete to the end", ops(opDel("a", "\x00"), opPut("b")), false},
		{"deletes that overlap", ops(opDel("a", "c"), opDel("b", "d"), opDel("b", "")), false},
		{"a delete that ends before it begins", ops(opDel("c", "a"), opPut("b")), false},
		{"puts and ranges", ops(opPut("a"), opRange("a"), opRange("a")), false},
		{"then and else of one nested", ops(opTxn(ops(opPut("a")), ops(opPut("a")))), false},
		{"put twice in nested", ops(nested(opPut("a"), opPut("a"))), true},
		{"put twice in the else of nested", ops(opTxn(nil, ops(opPut("a"), opPut("a")))), true},
		{"put here and in nested", ops(opPut("a"), nested(opPut("a"))), true},
		{"put here and in the else of nested", ops(opTxn(nil, ops(opPut("a"))), opPut("a")), true},
		{"delete here, put in nested", ops(opDel("a", "c"), nested(opPut("b"))), true},
		{"put in nested, delete here", ops(nested(opPut("b")), opDel("a", "c")), true},
		{"delete in nested, put here", ops(nested(opDel("a", "c")), opPut("b")), true},
		{"puts of one key in siblings", ops(nested(opPut("a")), nested(opPut("a"))), true},
		{"puts of one key in else of siblings", ops(opTxn(nil, ops(opPut("a"))), opTxn(nil, ops(opPut("a")))), true},
		{"put of then in the else of a sibling", ops(opTxn(ops(opPut("a")), nil), opTxn(nil, ops(opPut("a")))), true},
		{"a key of both branches again in a sibling", ops(opTxn(ops(opPut("a")), ops(opPut("a"))), nested(opPut("a"))), true},
		{"delete in a sibling before a put", ops(nested(opDel("a", "c")), nested(opPut("b"))), true},
		{"delete in a sibling after a put", ops(nested(opPut("b")), nested(opDel("a", "c"))), false},
		{"delete in then, put in else of one nested", ops(opTxn(ops(opDel("a", "")), ops(opPut("a")))), false},
		{"deletes in siblings", ops(nested(opDel("a", "c")), nested(opDel("b", "d"))), false},
		{"two levels down", ops(opPut("a"), nested(nested(opPut("a")))), true},
		{"two levels down, another key", ops(opPut("a"), nested(nested(opPut("b")))), false},
	} {
		want := error(nil)
		if tc.duplicate {
			want = rpctypes.ErrGRPCDuplicateKey
		}
		for branch, r := range map[string]*pb.TxnRequest{"then": {Success: tc.ops}, "else": {Failure: tc.ops}} {
			if got := checkTxn(r, 128); !errors.Is(got, want) {
				t.Errorf("%s, in %s: %v, want %v", tc.name, branch, got, want)
			}
		}
	}
	both := &pb.TxnRequest{Success: ops(opPut("a"), opDel("b", "")), Failure: ops(opPut("a"), opPut("b"))}
	if err := checkTxn(both, 128); err != nil {
		t.Errorf("the two branches of the outermost transaction were held against each other: %v", err)
	}
}

// naiveWrites is the rule without any cleverness: lists that are searched from one end to the other.
type naiveWrites struct {
	puts map[string]bool
	dels [][2]string
}

func (n *naiveWrites) touches(key string) bool {
	if n.puts[key] {
		return true
	}
	for _, d := range n.dels {
		if d[0] <= key && key < d[1] {
			return true
		}
	}
	return false
}

func naive(list []*pb.RequestOp) (naiveWrites, bool) {
	n := naiveWrites{puts: map[string]bool{}}
	for _, op := range list {
		if d := op.GetRequestDeleteRange(); d != nil {
			end := string(d.RangeEnd)
			if end == "" {
				end = string(d.Key) + "\x00"
			}
			n.dels = append(n.dels, [2]string{string(d.Key), end})
		}
	}
	for _, op := range list {
		r := op.GetRequestTxn()
		if r == nil {
			continue
		}
		then, ok1 := naive(r.Success)
		otherwise, ok2 := naive(r.Failure)
		if !ok1 || !ok2 {
			return n, false
		}
		added := map[string]bool{}
		for _, w := range []naiveWrites{then, otherwise} {
			for key := range w.puts {
				if n.touches(key) {
					return n, false
				}
				added[key] = true
			}
		}
		for key := range added {
			n.puts[key] = true
		}
		n.dels = append(append(n.dels, then.dels...), otherwise.dels...)
	}
	for _, op := range list {
		if p := op.GetRequestPut(); p != nil {
			if n.touches(string(p.Key)) {
				return n, false
			}
			n.puts[string(p.Key)] = true
		}
	}
	return n, true
}

// opsFrom reads operations from a program: one byte decides each.
func opsFrom(program *[]byte, depth int) (list []*pb.RequestOp) {
	for len(*program) > 0 {
		b := (*program)[0]
		*program = (*program)[1:]
		key, end := string('a'+rune(b>>2&7)), string('a'+rune(b>>5))
		switch {
		case b == 0xff:
			return list
		case b&3 == 0 && depth < 4:
			list = append(list, opTxn(opsFrom(program, depth+1), opsFrom(program, depth+1)))
		case b&3 == 1:
			list = append(list, opDel(key, end))
		case b&3 == 2:
			list = append(list, opDel(key, ""))
		default:
			list = append(list, opPut(key+end))
		}
	}
	return list
}

func FuzzDuplicateKeysAgainstTheNaiveRule(f *testing.F) {
	f.Add([]byte{0, 3, 0xff, 1, 0xff, 7, 0, 0x21, 0xff, 0xff, 3})
	f.Add([]byte{0, 0, 7, 0xff, 9, 0xff, 0xff, 0xff, 0x4b, 0x41})
	f.Fuzz(func(t *testing.T, program []byte) {
		list := opsFrom(&program, 0)
		_, ok := naive(list)
		_, err := collectWrites(list)
		if ok != (err == nil) {
			t.Errorf("%v: %v, but the naive rule says %v", list, err, ok)
		}
	})
}

func TestManyWritesAreCheckedWithoutSquaring(t *testing.T) {
	var branch []*pb.RequestOp
	for i := range 300 {
		var inner []*pb.RequestOp
		for j := range 300 {
			inner = append(inner, opPut(fmt.Sprintf("p/%03d/%03d", i, j)), opDel(fmt.Sprintf("d/%03d/%03d", i, j), ""))
		}
		branch = append(branch, opTxn(inner, nil))
	}
	if err := checkTxn(&pb.TxnRequest{Success: branch}, 1000); err != nil {
		t.Error(err)
	}
}

func TestTransactionsThatOnlyReadAreRecognised(t *testing.T) {
	local := opRange("a")
	local.GetRequestRange().Serializable = true
	for name, tc := range map[string]struct {
		r                      *pb.TxnRequest
		readOnly, serializable bool
	}{
		"nothing":                {&pb.TxnRequest{}, true, true},
		"only compares":          {&pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("a")}}}, true, true},
		"ranges":                 {&pb.TxnRequest{Success: ops(opRange("a")), Failure: ops(local)}, true, false},
		"serializable ranges":    {&pb.TxnRequest{Success: ops(local), Failure: ops(local)}, true, true},
		"a put in one branch":    {&pb.TxnRequest{Success: ops(local), Failure: ops(opPut("a"))}, false, false},
		"a delete":               {&pb.TxnRequest{Success: ops(opDel("a", ""))}, false, false},
		"a nested one that read": {&pb.TxnRequest{Success: ops(opTxn(ops(local), nil))}, false, false},
	} {
		if got := readOnly(tc.r); got != tc.readOnly {
			t.Errorf("%s: read-only %v", name, got)
		}
		if got := serializable(tc.r); tc.readOnly && got != tc.serializable {
			t.Errorf("%s: serializable %v", name, got)
		}
	}
}

func TestLoggedKeysAreCut(t *testing.T) {
	if got := shown([]byte(strings.Repeat("x", 10_000))); len(got) != shownKeyBytes {
		t.Errorf("a long key is logged with %d bytes", len(got))
	}
}
