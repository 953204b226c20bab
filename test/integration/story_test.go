package integration

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/test/harness"
)

// verbs are the short names of the methods that stories call most; others are called as Service/Method.
var verbs = map[string]string{
	"range": "KV/Range", "put": "KV/Put", "delete": "KV/DeleteRange", "txn": "KV/Txn", "compact": "KV/Compact",
	"grant": "Lease/LeaseGrant", "revoke": "Lease/LeaseRevoke", "ttl": "Lease/LeaseTimeToLive", "leases": "Lease/LeaseLeases",
}

// TestStories plays the scripts in testdata/stories, each against a fresh node, and compares every answer.
//
// A script was written by a real etcd: run with KEELSON_TEST_SERVER=etcd and -rewrite to write one anew. Commands:
//
//	do                  one request per line: a verb or Service/Method and the request as prototext; one answer each
//	eventually          like do, repeated until the answers are the expected ones
//	watch stream=S      sends each line (create, cancel, progress) on the watch stream S, opening it at first use
//	recv stream=S n=N   waits for N responses on S
//	events stream=S n=N id=I   waits for N events of watch I, whatever the responses they come in
//	quiet stream=S      checks that nothing more arrives on S for a moment
//	keepalive           sends each line on one keepalive stream and waits for one response each
//	fill prefix=P n=N size=B   puts N keys P000000.. with values of B bytes, one revision each
//	restart             kills the node and starts it again
func TestStories(t *testing.T) {
	paths, err := filepath.Glob("testdata/stories/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			var args []string
			if strings.Contains(path, "progress_notify") {
				args = []string{"--watch-progress-notify-interval", "200ms"}
			}
			s := newTeller(t, harness.Start(t, harness.Options{Args: args}))
			datadriven.RunTest(t, path, s.tell)
		})
	}
}

// teller plays one story.
type teller struct {
	node    *harness.Node
	conn    *grpc.ClientConn
	streams map[string]*watchStream
}

func newTeller(t *testing.T, n *harness.Node) *teller {
	return &teller{node: n, conn: n.Conn(t), streams: map[string]*watchStream{}}
}

func (s *teller) tell(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	switch d.Cmd {
	case "do":
		return s.do(t, d)
	case "eventually":
		var got string
		deadline := time.Now().Add(15 * time.Second)
		for tick := time.NewTicker(50 * time.Millisecond); time.Now().Before(deadline); <-tick.C {
			if got = s.do(t, d); got == d.Expected || (d.Rewrite && time.Until(deadline) < 10*time.Second) {
				break
			}
		}
		return got
	case "watch", "recv", "events", "quiet":
		return s.tellWatch(t, d)
	case "keepalive":
		return s.keepAlive(t, d)
	case "fill":
		return s.fill(t, d)
	case "restart":
		s.streams = map[string]*watchStream{}
		s.node.Kill9(t)
		s.node.Restart(t)
		return ""
	default:
		t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
		return ""
	}
}

func (s *teller) do(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	ctx := harness.Ctx(t)
	if d.HasArg("md") {
		var pair string
		d.ScanArgs(t, "md", &pair)
		k, v, _ := strings.Cut(pair, ":")
		ctx = metadata.AppendToOutgoingContext(ctx, k, v)
	}
	var out strings.Builder
	for line := range strings.Lines(d.Input) {
		verb, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		method, ok := verbs[verb]
		if !ok {
			method = verb
		}
		out.WriteString(s.call(ctx, t, method, text))
		out.WriteString("\n")
	}
	return out.String()
}

// call makes one call, unary or server-streaming, named by its method alone.
func (s *teller) call(ctx context.Context, t *testing.T, method, text string) string {
	t.Helper()
	service, name, _ := strings.Cut(method, "/")
	desc, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName("etcdserverpb." + service + "." + name))
	if err != nil {
		t.Fatalf("find method %q: %v", method, err)
	}
	md := desc.(protoreflect.MethodDescriptor)
	req, resp := newMessage(t, md.Input()), newMessage(t, md.Output())
	if err := prototext.Unmarshal([]byte(text), req); err != nil {
		t.Fatalf("read request %q: %v", text, err)
	}
	full := "/etcdserverpb." + service + "/" + name
	if !md.IsStreamingServer() {
		if err := s.conn.Invoke(ctx, full, req, resp); err != nil {
			return renderError(err)
		}
		return render(resp)
	}
	stream, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, full)
	if err == nil {
		err = stream.SendMsg(req)
	}
	if err == nil {
		err = stream.CloseSend()
	}
	if err != nil {
		return renderError(err)
	}
	var lines []string
	for {
		resp := newMessage(t, md.Output())
		if err := stream.RecvMsg(resp); err != nil {
			if err.Error() != "EOF" {
				lines = append(lines, renderError(err))
			}
			return strings.Join(append(lines, "end"), "\n")
		}
		lines = append(lines, render(resp))
	}
}

func newMessage(t *testing.T, d protoreflect.MessageDescriptor) proto.Message {
	t.Helper()
	mt, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		t.Fatalf("find message %s: %v", d.FullName(), err)
	}
	return mt.New().Interface()
}

func (s *teller) keepAlive(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	stream, err := pb.NewLeaseClient(s.conn).LeaseKeepAlive(harness.Ctx(t))
	if err != nil {
		return renderError(err) + "\n"
	}
	var out strings.Builder
	for line := range strings.Lines(d.Input) {
		req := new(pb.LeaseKeepAliveRequest)
		if err := prototext.Unmarshal([]byte(line), req); err != nil {
			t.Fatalf("read request %q: %v", line, err)
		}
		if err := stream.Send(req); err != nil {
			t.Fatalf("send a keepalive: %v", err)
		}
		resp, err := stream.Recv()
		if err != nil {
			out.WriteString(renderError(err) + "\n")
			return out.String()
		}
		out.WriteString(render(resp) + "\n")
	}
	return out.String()
}

func (s *teller) fill(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var prefix string
	var n, size int
	d.ScanArgs(t, "prefix", &prefix)
	d.ScanArgs(t, "n", &n)
	d.ScanArgs(t, "size", &size)
	kv := pb.NewKVClient(s.conn)
	ctx := harness.CtxFor(t, 30*time.Second)
	value := []byte(strings.Repeat("x", size))
	var last int64
	for i := range n {
		resp, err := kv.Put(ctx, &pb.PutRequest{Key: []byte(prefix + fmt.Sprintf("%06d", i)), Value: value})
		if err != nil {
			t.Fatalf("fill: %v", err)
		}
		last = resp.Header.Revision
	}
	return "@" + strconv.FormatInt(last, 10) + "\n"
}
