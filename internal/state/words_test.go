package state

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/command"
)

// script reads commands as the stories write them, a line each; what is indented below a txn is part of it.
//
//	put k v [lease=n] [prev] [ignore_value] [ignore_lease]
//	del k [end] [prev]
//	range k [end] [rev=n limit=n sort=n by=n keys count minmod=n maxmod=n mincreate=n maxcreate=n]
//	compact n | grant id ttl | revoke id... [expired] | checkpoint id=left... | publish id name url...
//	txn
//	  if target k [end] relation value   value may be none, or name another target as in mod:3
//	  then put ... | then del ... | then range ... | then txn | then nothing
//	  else ...
//
// In keys and values \0 is a zero byte, and two single quotes are nothing.
type script struct {
	t     *testing.T
	lines []string
}

func newScript(t *testing.T, text string) *script {
	return &script{t: t, lines: strings.Split(strings.TrimRight(text, "\n"), "\n")}
}

func word(s string) []byte {
	if s == "''" {
		return nil
	}
	return []byte(strings.ReplaceAll(s, `\0`, "\x00"))
}

// args are a line's words, sorted by what they are.
type args struct {
	plain []string
	named map[string]string
	flags map[string]bool
}

func parseArgs(words []string) args {
	a := args{named: map[string]string{}, flags: map[string]bool{}}
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		switch {
		case ok:
			a.named[name] = value
		case strings.Contains(" prev ignore_value ignore_lease keys count expired no_password ", " "+w+" "):
			a.flags[w] = true
		default:
			a.plain = append(a.plain, w)
		}
	}
	return a
}

func (s *script) number(text string) int64 {
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// end is the second plain word: where a range ends.
func (a args) end() []byte {
	if len(a.plain) > 1 {
		return word(a.plain[1])
	}
	return nil
}

// op takes the next command.
func (s *script) op() command.Op {
	line := s.lines[0]
	s.lines = s.lines[1:]
	f := strings.Fields(line)
	a := parseArgs(f[1:])
	switch f[0] {
	case "put":
		return s.put(a)
	case "del":
		return &pb.DeleteRangeRequest{Key: word(a.plain[0]), RangeEnd: a.end(), PrevKv: a.flags["prev"]}
	case "txn":
		return s.txn(indent(line))
	case "compact":
		return &pb.CompactionRequest{Revision: s.number(a.plain[0])}
	case "grant":
		return &pb.LeaseGrantRequest{ID: s.number(a.plain[0]), TTL: s.number(a.plain[1])}
	case "revoke":
		r := &command.LeaseRevoke{Expired: a.flags["expired"]}
		for _, id := range a.plain {
			r.IDs = append(r.IDs, s.number(id))
		}
		return r
	case "checkpoint":
		c := &command.LeaseCheckpoint{}
		for _, w := range f[1:] {
			id, left, _ := strings.Cut(w, "=")
			c.Leases = append(c.Leases, command.Remaining{ID: s.number(id), Seconds: s.number(left)})
		}
		return c
	case "publish":
		return &command.MemberPublish{ID: uint64(s.number(f[1])), Name: f[2], ClientURLs: f[3:]}
	}
	if op := s.rightsOp(f); op != nil {
		return op
	}
	s.t.Fatalf("unknown line %q", line)
	return nil
}

func (s *script) put(a args) *pb.PutRequest {
	return &pb.PutRequest{Key: word(a.plain[0]), Value: a.end(), Lease: s.number(a.named["lease"]),
		PrevKv: a.flags["prev"], IgnoreValue: a.flags["ignore_value"], IgnoreLease: a.flags["ignore_lease"]}
}

func (s *script) query(a args) *pb.RangeRequest {
	n := func(name string) int64 { return s.number(a.named[name]) }
	return &pb.RangeRequest{Key: word(a.plain[0]), RangeEnd: a.end(), Revision: n("rev"), Limit: n("limit"),
		SortOrder: pb.RangeRequest_SortOrder(n("sort")), SortTarget: pb.RangeRequest_SortTarget(n("by")),
		KeysOnly: a.flags["keys"], CountOnly: a.flags["count"],
		MinModRevision: n("minmod"), MaxModRevision: n("maxmod"),
		MinCreateRevision: n("mincreate"), MaxCreateRevision: n("maxcreate")}
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// txn takes the lines that stand deeper than its own.
func (s *script) txn(depth int) *pb.TxnRequest {
	r := new(pb.TxnRequest)
	for len(s.lines) > 0 && indent(s.lines[0]) > depth {
		line := s.lines[0]
		s.lines = s.lines[1:]
		f := strings.Fields(line)
		switch f[0] {
		case "if":
			r.Compare = append(r.Compare, s.compare(f[1:]))
		case "then":
			r.Success = append(r.Success, s.requestOp(f[1:], indent(line)))
		case "else":
			r.Failure = append(r.Failure, s.requestOp(f[1:], indent(line)))
		default:
			s.t.Fatalf("unknown part of a transaction %q", line)
		}
	}
	return r
}

func (s *script) requestOp(f []string, depth int) *pb.RequestOp {
	a := parseArgs(f[1:])
	switch f[0] {
	case "put":
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: s.put(a)}}
	case "del":
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: &pb.DeleteRangeRequest{Key: word(a.plain[0]), RangeEnd: a.end(), PrevKv: a.flags["prev"]}}}
	case "range":
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: s.query(a)}}
	case "txn":
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: s.txn(depth)}}
	case "nothing":
		return &pb.RequestOp{}
	}
	s.t.Fatalf("unknown operation %q", f)
	return nil
}

func (s *script) compare(f []string) *pb.Compare {
	target, ok := map[string]pb.Compare_CompareTarget{
		"version": pb.Compare_VERSION, "create": pb.Compare_CREATE, "mod": pb.Compare_MOD,
		"value": pb.Compare_VALUE, "lease": pb.Compare_LEASE, "unknown": 99}[f[0]]
	relation, known := map[string]pb.Compare_CompareResult{
		"=": pb.Compare_EQUAL, ">": pb.Compare_GREATER, "<": pb.Compare_LESS, "!=": pb.Compare_NOT_EQUAL,
		"?": 99}[f[len(f)-2]]
	if !ok || !known {
		s.t.Fatalf("unknown compare %q", f)
	}
	c := &pb.Compare{Target: target, Result: relation, Key: word(f[1])}
	if len(f) == 5 {
		c.RangeEnd = word(f[2])
	}
	kind, given, other := strings.Cut(f[len(f)-1], ":")
	if !other {
		kind, given = f[0], f[len(f)-1]
	}
	if given != "none" && kind != "unknown" {
		s.give(c, kind, given)
	}
	return c
}

// give sets the value that a compare compares with.
func (s *script) give(c *pb.Compare, kind, given string) {
	switch kind {
	case "version":
		c.TargetUnion = &pb.Compare_Version{Version: s.number(given)}
	case "create":
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: s.number(given)}
	case "mod":
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: s.number(given)}
	case "value":
		c.TargetUnion = &pb.Compare_Value{Value: word(given)}
	case "lease":
		c.TargetUnion = &pb.Compare_Lease{Lease: s.number(given)}
	default:
		s.t.Fatalf("unknown kind of value %q", kind)
	}
}

// tell writes what became of a command.
func tell(out *strings.Builder, r Result) {
	if r.Err != nil {
		fmt.Fprintf(out, "error: %v; revision %d\n", r.Err, r.Rev)
		return
	}
	fmt.Fprintf(out, "revision %d", r.Rev)
	switch a := r.Response.(type) {
	case *pb.PutResponse:
		tellPut(out, a)
	case *pb.DeleteRangeResponse:
		tellDelete(out, a, "  ")
	case *pb.TxnResponse:
		tellTxn(out, a, "  ")
	case *pb.AlarmResponse:
		fmt.Fprintf(out, ", %d alarms\n", len(a.Alarms))
	case *pb.LeaseGrantResponse:
		fmt.Fprintf(out, ", lease %d for %d s\n", a.ID, a.TTL)
	default:
		out.WriteString("\n")
	}
}

func tellPut(out *strings.Builder, a *pb.PutResponse) {
	if a.PrevKv != nil {
		out.WriteString(", was " + show(a.PrevKv))
	}
	out.WriteString("\n")
}

func tellDelete(out *strings.Builder, a *pb.DeleteRangeResponse, in string) {
	fmt.Fprintf(out, ", deleted %d\n", a.Deleted)
	for _, kv := range a.PrevKvs {
		fmt.Fprintf(out, "%swas %s\n", in, show(kv))
	}
}

func tellRange(out *strings.Builder, a *pb.RangeResponse, in string) {
	fmt.Fprintf(out, ", count %d", a.Count)
	if a.More {
		out.WriteString(", more")
	}
	out.WriteString("\n")
	for _, kv := range a.Kvs {
		fmt.Fprintf(out, "%s%s\n", in, show(kv))
	}
}

func tellTxn(out *strings.Builder, a *pb.TxnResponse, in string) {
	fmt.Fprintf(out, ", %s\n", map[bool]string{true: "then", false: "else"}[a.Succeeded])
	for _, op := range a.Responses {
		switch r := op.Response.(type) {
		case *pb.ResponseOp_ResponsePut:
			fmt.Fprintf(out, "%sput at %d", in, r.ResponsePut.Header.Revision)
			tellPut(out, r.ResponsePut)
		case *pb.ResponseOp_ResponseDeleteRange:
			fmt.Fprintf(out, "%sdel at %d", in, r.ResponseDeleteRange.Header.Revision)
			tellDelete(out, r.ResponseDeleteRange, in+"  ")
		case *pb.ResponseOp_ResponseRange:
			fmt.Fprintf(out, "%srange at %d", in, r.ResponseRange.Header.Revision)
			tellRange(out, r.ResponseRange, in+"  ")
		case *pb.ResponseOp_ResponseTxn:
			fmt.Fprintf(out, "%stxn at %d", in, r.ResponseTxn.Header.Revision)
			tellTxn(out, r.ResponseTxn, in+"  ")
		default:
			out.WriteString(in + "nothing\n")
		}
	}
}
