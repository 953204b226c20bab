package compat

import (
	"context"
	"errors"
	"fmt"
	"io"
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

	// Registers the messages of the services that the client library does not use.
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	_ "google.golang.org/grpc/health/grpc_health_v1"
)

// verbs are the short names of the methods that stories call most; others are called as Service/Method.
var verbs = map[string]string{
	"range": "KV/Range", "put": "KV/Put", "delete": "KV/DeleteRange", "txn": "KV/Txn", "compact": "KV/Compact",
	"grant": "Lease/LeaseGrant", "revoke": "Lease/LeaseRevoke", "ttl": "Lease/LeaseTimeToLive", "leases": "Lease/LeaseLeases",
	"alarm": "Maintenance/Alarm", "hashkv": "Maintenance/HashKV", "status": "Maintenance/Status",
	"enable": "Auth/AuthEnable", "disable": "Auth/AuthDisable", "authstatus": "Auth/AuthStatus",
	"user": "Auth/UserAdd", "role": "Auth/RoleAdd", "give": "Auth/UserGrantRole", "allow": "Auth/RoleGrantPermission",
}

// packages are where a service named without its package is looked for.
var packages = []string{"etcdserverpb", "v3lockpb", "v3electionpb", "grpc.health.v1"}

func findMethod(verb string) (full string, md protoreflect.MethodDescriptor, err error) {
	if long, ok := verbs[verb]; ok {
		verb = long
	}
	service, name, _ := strings.Cut(verb, "/")
	for _, pkg := range packages {
		desc, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(pkg + "." + service + "." + name))
		if err == nil {
			return "/" + pkg + "." + service + "/" + name, desc.(protoreflect.MethodDescriptor), nil
		}
	}
	return "", nil, fmt.Errorf("no method %q", verb)
}

// context carries what a step says about who asks: token=NAME, and md=key:value for any other metadata.
func (s *teller) context(ctx context.Context, t *testing.T, d *datadriven.TestData) context.Context {
	t.Helper()
	var token string
	if d.MaybeScanArgs(t, "token", &token) {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", s.token(token))
	}
	if d.HasArg("md") {
		var pair string
		d.ScanArgs(t, "md", &pair)
		k, v, _ := strings.Cut(pair, ":")
		before, name, ok := strings.Cut(v, "$token-")
		v = strings.ReplaceAll(before, "_", " ")
		if ok {
			v += s.token(name)
		}
		ctx = metadata.AppendToOutgoingContext(ctx, k, v)
	}
	return ctx
}

// token is the token kept under a name, or the name itself: a story may send nonsense.
func (s *teller) token(name string) string {
	if kept, ok := s.tokens[name]; ok {
		return kept
	}
	return name
}

func (s *teller) do(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	ctx := s.context(harness.Ctx(t), t, d)
	var out strings.Builder
	for line := range strings.Lines(d.Input) {
		verb, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		out.WriteString(s.call(ctx, t, verb, text) + "\n")
	}
	return s.named(out.String())
}

// call makes one call, unary or server-streaming, and renders its whole answer in one line or more.
func (s *teller) call(ctx context.Context, t *testing.T, verb, text string) string {
	t.Helper()
	full, md, err := findMethod(verb)
	if err != nil {
		t.Fatal(err)
	}
	req, resp := s.request(t, md.Input(), text), harness.NewMessage(t, md.Output())
	if !md.IsStreamingServer() {
		if err := s.conn.Invoke(ctx, full, req, resp); err != nil {
			return renderError(err)
		}
		return render(resp)
	}
	stream, err := s.openStream(ctx, full, req)
	if err != nil {
		return renderError(err)
	}
	var lines []string
	for {
		resp := harness.NewMessage(t, md.Output())
		if err := stream.RecvMsg(resp); err != nil {
			return strings.Join(append(lines, streamEnd(err)), "\n")
		}
		lines = append(lines, render(resp))
	}
}

// openStream starts a server-streaming call.
func (s *teller) openStream(ctx context.Context, full string, req proto.Message) (grpc.ClientStream, error) {
	stream, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, full)
	if err == nil {
		err = stream.SendMsg(req)
	}
	if err == nil {
		err = stream.CloseSend()
	}
	return stream, err
}

func streamEnd(err error) string {
	if errors.Is(err, io.EOF) {
		return "end"
	}
	return renderError(err)
}

// request reads a request of a story.
func (s *teller) request(t *testing.T, d protoreflect.MessageDescriptor, text string) proto.Message {
	t.Helper()
	m := harness.NewMessage(t, d)
	if err := prototext.Unmarshal([]byte(s.names.Replace(text)), m); err != nil {
		t.Fatalf("read request %q: %v", text, err)
	}
	return m
}

// login authenticates and keeps the token under the name as=NAME, by default the user's own.
func (s *teller) login(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(d.Input) {
		user, password, _ := strings.Cut(strings.TrimSpace(line), " ")
		resp, err := pb.NewAuthClient(s.conn).Authenticate(s.context(harness.Ctx(t), t, d), &pb.AuthenticateRequest{Name: user, Password: password})
		if err != nil {
			out.WriteString(renderError(err) + "\n")
			continue
		}
		as := user
		d.MaybeScanArgs(t, "as", &as)
		s.tokens[as] = resp.Token
		out.WriteString(render(resp) + "\n")
	}
	return s.named(out.String())
}

func (s *teller) keepAlive(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	stream, err := pb.NewLeaseClient(s.conn).LeaseKeepAlive(s.context(harness.Ctx(t), t, d))
	if err != nil {
		return renderError(err)
	}
	var out strings.Builder
	for line := range strings.Lines(d.Input) {
		req := s.request(t, (&pb.LeaseKeepAliveRequest{}).ProtoReflect().Descriptor(), line)
		if err := stream.SendMsg(req); err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("send a keepalive: %v", err)
		}
		resp, err := stream.Recv()
		if err != nil {
			out.WriteString(streamEnd(err) + "\n")
			break
		}
		out.WriteString(render(resp) + "\n")
	}
	return s.named(out.String())
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

// big puts a value of size=N bytes at the key of each line.
func (s *teller) big(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(d.Input) {
		text, size, _ := strings.Cut(strings.TrimSpace(line), " size=")
		n, err := strconv.Atoi(size)
		if err != nil {
			t.Fatalf("read %q: %v", line, err)
		}
		out.WriteString(s.call(harness.Ctx(t), t, "put", text+` value:"`+strings.Repeat("x", n)+`"`) + "\n")
	}
	return out.String()
}
