package cli

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// tiny is the least server that the commands can be tried on: it keeps pairs and remembers requests.
type tiny struct {
	pb.UnimplementedKVServer
	pb.UnimplementedWatchServer
	pb.UnimplementedMaintenanceServer

	mu    sync.Mutex
	rev   int64
	pairs []*mvccpb.KeyValue // sorted by key
	last  *pb.RangeRequest
}

func (s *tiny) header() *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: 0xc1, MemberId: 0xa1, Revision: s.rev, RaftTerm: 2}
}

func (s *tiny) span(key, end []byte) (in, out []*mvccpb.KeyValue) {
	for _, kv := range s.pairs {
		k := string(kv.Key)
		if k == string(key) || len(end) > 0 && k > string(key) && (string(end) == "\x00" || k < string(end)) {
			in = append(in, kv)
		} else {
			out = append(out, kv)
		}
	}
	return in, out
}

func (s *tiny) Range(_ context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r
	if r.Revision > s.rev {
		return nil, rpctypes.ErrGRPCFutureRev
	}
	in, _ := s.span(r.Key, r.RangeEnd)
	out := &pb.RangeResponse{Header: s.header(), Count: int64(len(in))}
	if r.CountOnly {
		return out, nil
	}
	for _, kv := range in {
		if r.Limit > 0 && int64(len(out.Kvs)) == r.Limit {
			out.More = true
			break
		}
		one := &mvccpb.KeyValue{Key: kv.Key, Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: 1, Lease: kv.Lease}
		if r.KeysOnly {
			one.Value = nil
		}
		out.Kvs = append(out.Kvs, one)
	}
	return out, nil
}

func (s *tiny) Put(_ context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rev++
	in, rest := s.span(r.Key, nil)
	out := &pb.PutResponse{Header: s.header()}
	if len(in) > 0 && r.PrevKv {
		out.PrevKv = in[0]
	}
	s.pairs = append(rest, &mvccpb.KeyValue{Key: r.Key, Value: r.Value, CreateRevision: s.rev, ModRevision: s.rev, Version: 1, Lease: r.Lease})
	slices.SortFunc(s.pairs, func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) })
	return out, nil
}

func (s *tiny) DeleteRange(_ context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, rest := s.span(r.Key, r.RangeEnd)
	s.pairs = rest
	s.rev++
	out := &pb.DeleteRangeResponse{Header: s.header(), Deleted: int64(len(in))}
	if r.PrevKv {
		out.PrevKvs = in
	}
	return out, nil
}

// Watch tells two changes and then that older ones are gone.
func (s *tiny) Watch(stream pb.Watch_WatchServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	s.mu.Lock()
	h := s.header()
	s.mu.Unlock()
	kv := &mvccpb.KeyValue{Key: []byte("a"), Value: []byte("1"), CreateRevision: 2, ModRevision: 2, Version: 1}
	for _, r := range []*pb.WatchResponse{
		{Header: h, Created: true},
		{Header: h, Events: []*mvccpb.Event{{Kv: kv}, {Type: mvccpb.DELETE, Kv: &mvccpb.KeyValue{Key: []byte("a"), ModRevision: 3}, PrevKv: kv}}},
		{Header: h, Canceled: true, CompactRevision: 7},
	} {
		if err := stream.Send(r); err != nil {
			return err
		}
	}
	<-stream.Context().Done()
	return nil
}

func (s *tiny) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &pb.StatusResponse{Header: s.header(), Version: "3.7.3", DbSize: 5 << 20, DbSizeInUse: 1500, Leader: 0xa1,
		RaftTerm: 2, RaftIndex: 9, RaftAppliedIndex: 9, Errors: []string{"memberID:161 alarm:NOSPACE"}}, nil
}

// serve starts a tiny server for a test and returns it and its address.
func serve(t *testing.T) (*tiny, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, g := &tiny{rev: 1}, grpc.NewServer()
	pb.RegisterKVServer(g, s)
	pb.RegisterWatchServer(g, s)
	pb.RegisterMaintenanceServer(g, s)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	return s, l.Addr().String()
}

// call runs a command line, split at spaces.
func call(t *testing.T, line, stdin string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	args := strings.Fields(line)
	for i := range args {
		if args[i] == `""` {
			args[i] = ""
		}
	}
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// A conversation with a server, in order: what is typed, and what is seen.
func TestTheCommandsPrintWhatTheServerAnswers(t *testing.T) {
	_, addr := serve(t)
	t.Setenv("ETCDCTL_ENDPOINTS", "127.0.0.1:1")
	t.Setenv("KEELSON_ENDPOINTS", addr)
	for _, step := range []struct{ line, stdin, out string }{
		{line: "put a 1", out: "OK\n"},
		{line: "put a 2 --prev-kv", out: "OK\na\n1\n"},
		{line: "put a -", stdin: "from a pipe\n", out: "OK\n"},
		{line: "put ab", stdin: "<\xff>", out: "OK\n"},
		{line: "put --lease 2a -o json -- b 3", out: `{"revision":6}` + "\n"},
		{line: "get a", out: "a\nfrom a pipe\n\n"},
		{line: "get nothing", out: ""},
		{line: "get a --prefix --keys-only", out: "a\nab\n"},
		{line: `get "" --prefix --count-only`, out: "3\n"},
		{line: "get a b --print-value-only", out: "from a pipe\n\n<\xff>\n"},
		{line: "get ab --from-key --limit 1 -o json", out: `{"revision":6,"count":2,"more":true,"kvs":[{"key":"ab","value_base64":"PP8+","create_revision":5,"mod_revision":5,"version":1}]}` + "\n"},
		{line: "get b -o json", out: `{"revision":6,"count":1,"kvs":[{"key":"b","value":"3","create_revision":6,"mod_revision":6,"version":1,"lease":"2a"}]}` + "\n"},
		{line: "get a --keys-only -o json", out: `{"revision":6,"count":1,"kvs":[{"key":"a","create_revision":4,"mod_revision":4,"version":1}]}` + "\n"},
		{line: "del b --prev-kv -o json", out: `{"revision":7,"deleted":1,"prev":[{"key":"b","value":"3","create_revision":6,"mod_revision":6,"version":1,"lease":"2a"}]}` + "\n"},
		{line: "del a --prefix --prev-kv", out: "2\na\nfrom a pipe\n\nab\n<\xff>\n"},
		{line: "status", out: addr + ": member a1, leader\n  version    3.7.3\n  revision   8\n  data       5.0 MiB, of which 1.5 KiB in use\n" +
			"  raft       term 2, index 9, applied 9\n  problem    memberID:161 alarm:NOSPACE\n"},
		{line: "status -o json", out: `{"endpoint":"` + addr + `","cluster_id":"c1","member_id":"a1","leader":"a1","version":"3.7.3","revision":8,` +
			`"db_size":5242880,"db_size_in_use":1500,"raft_term":2,"raft_index":9,"raft_applied_index":9,"problems":["memberID:161 alarm:NOSPACE"]}` + "\n"},
	} {
		code, out, errs := call(t, step.line, step.stdin)
		if code != 0 || out != step.out || errs != "" {
			t.Errorf("keelson %s: exit %d\n%s%s\nwant\n%s", step.line, code, out, errs, step.out)
		}
	}
}

func TestAWatchPrintsChangesAndWhyItEnded(t *testing.T) {
	_, addr := serve(t)
	for _, step := range []struct{ line, out string }{
		{"watch a", "PUT\na\n1\nDELETE\na\n1\na\n\n"},
		{"watch a -o json", `{"type":"put","kv":{"key":"a","value":"1","create_revision":2,"mod_revision":2,"version":1}}` + "\n" +
			`{"type":"delete","kv":{"key":"a","mod_revision":3},"prev":{"key":"a","value":"1","create_revision":2,"mod_revision":2,"version":1}}` + "\n"},
	} {
		code, out, errs := call(t, step.line+" --endpoints "+addr, "")
		if code != exitInterrupted || out != step.out || !strings.Contains(errs, "compacted") || !strings.Contains(errs, "--rev 7") {
			t.Errorf("keelson %s: exit %d\n%s%s", step.line, code, out, errs)
		}
	}
}

func TestGetAsksForWhatItsFlagsSay(t *testing.T) {
	s, addr := serve(t)
	for _, step := range []struct {
		line string
		want *pb.RangeRequest
	}{
		{"get k --rev 1 --limit 5 --consistency s", &pb.RangeRequest{Key: []byte("k"), Revision: 1, Limit: 5, Serializable: true}},
		{"get k --sort-by MODIFY", &pb.RangeRequest{Key: []byte("k"), SortTarget: pb.RangeRequest_MOD, SortOrder: pb.RangeRequest_ASCEND}},
		{"get k --sort-by version --order descend --prefix", &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), SortTarget: pb.RangeRequest_VERSION, SortOrder: pb.RangeRequest_DESCEND}},
		{`get "" --prefix`, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}},
		{`get k --from-key`, &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte{0}}},
	} {
		if code, _, errs := call(t, step.line+" --endpoints "+addr, ""); code != 0 {
			t.Errorf("keelson %s: %d %s", step.line, code, errs)
			continue
		}
		if got := s.last.String(); got != step.want.String() {
			t.Errorf("keelson %s asks %s, want %s", step.line, got, step.want)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	_, addr := serve(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never speaks
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	for _, step := range []struct {
		line string
		code int
		says string
	}{
		{"get a --endpoints " + nobody, exitConnection, "Start a node with \"keelson\""},
		{"put a 1 --endpoints http://" + nobody, exitConnection, "connection refused"},
		{"watch a --endpoints " + nobody, exitConnection, "--endpoints HOST:PORT"},
		{"status --endpoints " + nobody, exitConnection, "nothing answers at"},
		{"get a --timeout 200ms --endpoints " + silent.Addr().String(), exitConnection, "--timeout"},
		{"get a --rev 99 --endpoints " + addr, exitError, "future revision"},
		{"get", exitArguments, "get KEY [END]"},
		{"get a b c", exitArguments, "keelson get --help"},
		{`get ""`, exitArguments, "--prefix"},
		{"get a --prefix --from-key", exitArguments, "do not go together"},
		{"get a --consistency x", exitArguments, "it is l or s"},
		{"get a --sort-by x", exitArguments, "it is key"},
		{"get a --order x", exitArguments, "ascend or descend"},
		{"get a --limit -1", exitArguments, "negative"},
		{"get a -o yaml", exitArguments, "simple or json"},
		{"get a --nonsense", exitArguments, "unknown flag"},
		{"get a --timeout 0s", exitArguments, "--timeout"},
		{"put a 1 --lease x", exitArguments, "hexadecimal"},
		{"gte a", exitArguments, "did you mean get"},
		{"dump nonsense", exitArguments, "log or state"},
		{"dump --data-dir /nowhere/at/all", exitArguments, "with --data-dir"},
	} {
		code, out, errs := call(t, step.line, "")
		if code != step.code || !strings.Contains(errs, step.says) || out != "" {
			t.Errorf("keelson %s: exit %d, want %d and %q\n%s%s", step.line, code, step.code, step.says, out, errs)
		}
	}
}

func TestStatusOfSeveralServersTellsWhichIsMissing(t *testing.T) {
	_, addr := serve(t)
	code, out, errs := call(t, "status --endpoints "+addr+",127.0.0.1:1", "")
	if code != exitError || !strings.Contains(out, "member a1, leader") || !strings.Contains(out, "127.0.0.1:1: nothing answers") || !strings.Contains(errs, "not all") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

func TestAnInterruptEndsAWatchQuietly(t *testing.T) {
	_, addr := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	out := &stopper{stop: cancel}
	var errs bytes.Buffer
	code := run(ctx, []string{"watch", "a", "--endpoints", addr}, strings.NewReader(""), out, &errs)
	if code != exitOK && code != exitInterrupted {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}

// stopper calls stop at the first line that is printed.
type stopper struct{ stop func() }

func (s *stopper) Write(b []byte) (int, error) {
	s.stop()
	return len(b), nil
}

func TestKnowsTellsCommandsFromServerFlags(t *testing.T) {
	for word, want := range map[string]bool{"put": true, "dump": true, "version": true, "help": true,
		"--name": false, "-o": false, "": false, "serve": false} {
		if Knows(word) != want {
			t.Errorf("Knows(%q) = %v", word, !want)
		}
	}
	if code, out, _ := call(t, "version", ""); code != 0 || !strings.Contains(out, "API version: 3.7") {
		t.Errorf("version: %d %s", code, out)
	}
}

func TestAddressesOfEndpoints(t *testing.T) {
	for endpoint, want := range map[string][2]string{
		"127.0.0.1:2379": {"tcp", "127.0.0.1:2379"}, "http://a:1": {"tcp", "a:1"}, "https://[::1]:1": {"tcp", "[::1]:1"},
		"localhost:2379": {"tcp", "localhost:2379"}, "unix:///run/k.sock": {"unix", "/run/k.sock"}, "unix:k.sock": {"unix", "k.sock"},
	} {
		if network, addr := address(endpoint); network != want[0] || addr != want[1] {
			t.Errorf("%s: %s %s", endpoint, network, addr)
		}
	}
}
