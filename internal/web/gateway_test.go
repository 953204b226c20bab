package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// script is a gRPC server that shows what a client asked: most methods answer with an error that names them.
type script struct {
	pb.UnimplementedKVServer
	pb.UnimplementedWatchServer
	watching atomic.Int32
	heard    atomic.Pointer[metadata.MD] // of the last request
}

func (s *script) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	s.heard.Store(&md)
	return &pb.RangeResponse{Count: int64(len(r.Key)), Kvs: []*mvccpb.KeyValue{{Key: r.Key, Value: r.RangeEnd}}}, nil
}

// Watch answers every request with one message that counts it, and ends at a cancel request for watch 99.
func (s *script) Watch(stream grpc.BidiStreamingServer[pb.WatchRequest, pb.WatchResponse]) error {
	s.watching.Add(1)
	defer s.watching.Add(-1)
	md, _ := metadata.FromIncomingContext(stream.Context())
	s.heard.Store(&md)
	for n := int64(1); ; n++ {
		in, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			<-stream.Context().Done()
			return stream.Context().Err()
		case err != nil:
			return err
		case in.GetCancelRequest().GetWatchId() == 99:
			return status.Error(codes.Aborted, "as you like")
		}
		if err := stream.Send(&pb.WatchResponse{WatchId: n}); err != nil {
			return err
		}
	}
}

// world is a gateway before a script, on a port.
type world struct {
	*script
	url  string
	stop context.CancelFunc
	http *http.Server
}

func newWorld(t *testing.T, o GatewayOptions) *world {
	t.Helper()
	w := &world{script: new(script)}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(64<<20), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		return status.Error(codes.Aborted, method)
	}))
	pb.RegisterKVServer(server, w.script)
	pb.RegisterWatchServer(server, w.script)
	inside := bufconn.Listen(1 << 16)
	go func() { _ = server.Serve(inside) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///inside", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return inside.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	if o.Log = slog.New(slog.DiscardHandler); o.MaxRequestBytes == 0 {
		o.MaxRequestBytes = 1536 << 10
	}
	gateway, err := NewGateway(ctx, conn, o)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	options := options(&fakeNode{})
	options.Gateway = gateway
	w.http = NewServer(NewHandler(options), o.Log)
	go func() { _ = w.http.Serve(listener) }()
	t.Cleanup(func() { w.http.Close() })
	w.url, w.stop = "http://"+listener.Addr().String(), stop
	return w
}

// post asks and reads the answer as one JSON object.
func (w *world) post(t *testing.T, path, body string, header ...string) (int, map[string]any) {
	t.Helper()
	resp := w.send(t, http.MethodPost, path, strings.NewReader(body), header...)
	defer resp.Body.Close()
	return resp.StatusCode, object(t, resp.Body)
}

func (w *world) send(t *testing.T, method, path string, body io.Reader, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// object is the next JSON object of a stream, or nil at its end.
func object(t *testing.T, r io.Reader) (o map[string]any) {
	t.Helper()
	if err := json.NewDecoder(r).Decode(&o); err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("read an answer: %v", err)
	}
	return o
}

// is says whether an object is {"code":code,"message":message}.
func is(o map[string]any, code codes.Code, message string) bool {
	return len(o) == 2 && o["code"] == float64(code) && o["message"] == message
}

func TestEveryMethodHasItsPath(t *testing.T) {
	w := newWorld(t, GatewayOptions{})
	const etcd = "/etcdserverpb."
	for path, method := range map[string]string{
		"kv/put": etcd + "KV/Put", "kv/deleterange": etcd + "KV/DeleteRange", "kv/txn": etcd + "KV/Txn", "kv/compaction": etcd + "KV/Compact",
		"lease/grant": etcd + "Lease/LeaseGrant", "lease/revoke": etcd + "Lease/LeaseRevoke", "kv/lease/revoke": etcd + "Lease/LeaseRevoke",
		"lease/keepalive": etcd + "Lease/LeaseKeepAlive", "lease/timetolive": etcd + "Lease/LeaseTimeToLive",
		"kv/lease/timetolive": etcd + "Lease/LeaseTimeToLive", "lease/leases": etcd + "Lease/LeaseLeases", "kv/lease/leases": etcd + "Lease/LeaseLeases",
		"cluster/member/add": etcd + "Cluster/MemberAdd", "cluster/member/remove": etcd + "Cluster/MemberRemove",
		"cluster/member/update": etcd + "Cluster/MemberUpdate", "cluster/member/list": etcd + "Cluster/MemberList",
		"cluster/member/promote": etcd + "Cluster/MemberPromote",
		"maintenance/alarm":      etcd + "Maintenance/Alarm", "maintenance/status": etcd + "Maintenance/Status",
		"maintenance/defragment": etcd + "Maintenance/Defragment", "maintenance/hash": etcd + "Maintenance/Hash",
		"maintenance/hashkv": etcd + "Maintenance/HashKV", "maintenance/snapshot": etcd + "Maintenance/Snapshot",
		"maintenance/transfer-leadership": etcd + "Maintenance/MoveLeader", "maintenance/downgrade": etcd + "Maintenance/Downgrade",
		"auth/enable": etcd + "Auth/AuthEnable", "auth/disable": etcd + "Auth/AuthDisable", "auth/status": etcd + "Auth/AuthStatus",
		"auth/authenticate": etcd + "Auth/Authenticate",
		"auth/user/add":     etcd + "Auth/UserAdd", "auth/user/get": etcd + "Auth/UserGet", "auth/user/list": etcd + "Auth/UserList",
		"auth/user/delete": etcd + "Auth/UserDelete", "auth/user/changepw": etcd + "Auth/UserChangePassword",
		"auth/user/grant": etcd + "Auth/UserGrantRole", "auth/user/revoke": etcd + "Auth/UserRevokeRole",
		"auth/role/add": etcd + "Auth/RoleAdd", "auth/role/get": etcd + "Auth/RoleGet", "auth/role/list": etcd + "Auth/RoleList",
		"auth/role/delete": etcd + "Auth/RoleDelete", "auth/role/grant": etcd + "Auth/RoleGrantPermission", "auth/role/revoke": etcd + "Auth/RoleRevokePermission",
		"lock/lock": "/v3lockpb.Lock/Lock", "lock/unlock": "/v3lockpb.Lock/Unlock",
		"election/campaign": "/v3electionpb.Election/Campaign", "election/proclaim": "/v3electionpb.Election/Proclaim",
		"election/leader": "/v3electionpb.Election/Leader", "election/observe": "/v3electionpb.Election/Observe",
		"election/resign": "/v3electionpb.Election/Resign",
	} {
		code, answer := w.post(t, "/v3/"+path, "{}")
		if in, ok := answer["error"].(map[string]any); ok {
			answer = in // a stream's way to say it
		}
		if service, name := cutMethod(method); service == etcd+"KV" {
			// The script knows the service, and gRPC itself answers for the methods that it has not.
			if !is(answer, codes.Unimplemented, "method "+name+" not implemented") || code != 501 {
				t.Errorf("%s is answered %d %v", path, code, answer)
			}
		} else if !is(answer, codes.Aborted, method) || code != 409 {
			t.Errorf("%s is answered %d %v, want %s", path, code, answer, method)
		}
		resp := w.send(t, http.MethodGet, "/v3/"+path, nil)
		if answer := object(t, resp.Body); resp.StatusCode != 501 || !is(answer, codes.Unimplemented, "Method Not Allowed") {
			t.Errorf("GET %s is answered %d %v", path, resp.StatusCode, answer)
		}
		resp.Body.Close()
	}
	if code, answer := w.post(t, "/v3/kv/rangestream", "{}"); code != 404 || !is(answer, codes.NotFound, "Not Found") {
		t.Errorf("an unknown path is answered %d %v", code, answer)
	}
}

func cutMethod(full string) (service, name string) {
	i := strings.LastIndexByte(full, '/')
	return full[:i], full[i+1:]
}

func TestJSONIsReadAndWrittenAsEtcdDoes(t *testing.T) {
	w := newWorld(t, GatewayOptions{})
	for body, want := range map[string]string{
		"":                              `{"kvs":[{}]}`,
		"{}":                            `{"kvs":[{}]}`,
		`{"key":"Zm9v"}`:                `{"count":"3","kvs":[{"key":"Zm9v"}]}`,
		`{"key":"_-8","rangeEnd":"YQ"}`: `{"count":"2","kvs":[{"key":"/+8=","value":"YQ=="}]}`,
		`{"range_end":"YQ==","limit":"7","revision":8,"sort_order":"DESCEND","sort_target":3,"nobody":{"knows":[1]}}`: `{"kvs":[{"value":"YQ=="}]}`,
	} {
		code, answer := w.post(t, "/v3/kv/range", body, "Content-Type", "text/who knows; =")
		if got, _ := json.Marshal(answer); code != 200 || string(got) != want {
			t.Errorf("%s is answered %d %s, want %s", body, code, got, want)
		}
	}
	for body, part := range map[string]string{
		"{": "unexpected EOF", "x": "invalid character 'x'", `{"key":1}`: "invalid value for bytes field key",
		`{"limit":"x"}`: "invalid value for int64 field limit", `[]`: "syntax error", `"a"`: "syntax error",
	} {
		code, answer := w.post(t, "/v3/kv/range", body)
		if text, _ := answer["message"].(string); code != 400 || answer["code"] != 3.0 || !strings.Contains(text, part) {
			t.Errorf("%s is answered %d %v, want a message with %q", body, code, answer, part)
		}
	}
}

func TestHeadersBecomeMetadata(t *testing.T) {
	w := newWorld(t, GatewayOptions{})
	w.post(t, "/v3/kv/range", "{}", "Authorization", "Bearer abc", "Grpc-Metadata-hasleader", "true", "Accept", "a/b", "X-Other", "no")
	heard := *w.heard.Load()
	for name, want := range map[string]string{
		"authorization": "Bearer abc", "hasleader": "true", "grpcgateway-accept": "a/b", "x-other": "", "x-forwarded-for": "127.0.0.1",
	} {
		if got := strings.Join(heard.Get(name), "|"); got != want {
			t.Errorf("metadata %s is %q, want %q", name, got, want)
		}
	}
}

func TestABodyIsReadUpToItsBound(t *testing.T) {
	const maxRequest = 1 << 10
	limit := jsonPerByte*(maxRequest+grpcSlackBytes) + jsonSlackBytes
	w := newWorld(t, GatewayOptions{MaxRequestBytes: maxRequest})
	fits := `{"key":"` + strings.Repeat("A", (limit-100)/4*4) + `"}`
	if code, answer := w.post(t, "/v3/kv/range", fits); code != 200 {
		t.Errorf("a body below the bound is answered %d %v", code, answer)
	}
	huge := `{"key":"` + strings.Repeat("A", limit) + `"}`
	for path, inStream := range map[string]bool{"/v3/kv/range": false, "/v3/watch": true} {
		code, answer := w.post(t, path, huge)
		if inStream {
			if in, ok := answer["error"].(map[string]any); ok {
				answer = in
			}
		}
		if want := fmt.Sprintf("the request's body is larger than %d bytes", limit); code != 429 || !is(answer, codes.ResourceExhausted, want) {
			t.Errorf("%s: a body past the bound is answered %d %v", path, code, answer)
		}
	}
}

// conversation is a request whose body stays open.
type conversation struct {
	t       *testing.T
	say     *io.PipeWriter
	resp    *http.Response
	answers *json.Decoder
	leave   context.CancelFunc
}

func (w *world) converse(t *testing.T, first string) *conversation {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	body, say := io.Pipe()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/v3/watch", body)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(say, first) }()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { leave(); resp.Body.Close() })
	return &conversation{t: t, say: say, resp: resp, answers: json.NewDecoder(resp.Body), leave: leave}
}

func (c *conversation) next() string {
	c.t.Helper()
	var answer any
	if err := c.answers.Decode(&answer); err != nil {
		return err.Error()
	}
	text, _ := json.Marshal(answer)
	return string(text)
}

func TestAClientMayGoOnAskingWhileItIsAnswered(t *testing.T) {
	w := newWorld(t, GatewayOptions{})
	c := w.converse(t, `{"create_request":{}}`)
	if got := c.next(); got != `{"result":{"watch_id":"1"}}` || c.resp.StatusCode != 200 {
		t.Fatalf("the first answer is %s", got)
	}
	go func() { _, _ = io.WriteString(c.say, "{}\n{\"create_request\":{}}") }()
	if got := c.next() + c.next(); got != `{"result":{"watch_id":"2"}}{"result":{"watch_id":"3"}}` {
		t.Fatalf("two requests more are answered %s", got)
	}
	// What cannot be read ends what the client has to say, and not what it hears.
	go func() { _, _ = io.WriteString(c.say, "{}nonsense{}") }()
	if got := c.next(); got != `{"result":{"watch_id":"4"}}` {
		t.Fatalf("before nonsense comes %s", got)
	}
	if n := w.watching.Load(); n != 1 {
		t.Errorf("after nonsense %d watches are there", n)
	}
	c.leave()
	eventually(t, "the watch of a client that has gone ends", func() bool { return w.watching.Load() == 0 })
}

func TestAConversationEndsWithAReason(t *testing.T) {
	w := newWorld(t, GatewayOptions{})
	for text, want := range map[string]string{
		`{"cancel_request":{"watch_id":99}}`: `{"error":{"code":10,"message":"as you like"}}`,
		`{"create_request":{"key":1}}`:       `"code":3,"message":"proto:`,
		`}`:                                  `"code":3,"message":"invalid character '}'`,
		`{` + strings.Repeat(" ", 9<<20):     `"code":8,"message":"the request's body is larger than`,
	} {
		c := w.converse(t, text)
		if got := c.next(); !strings.Contains(got, want) {
			t.Errorf("after %s comes %s, want %s", text, got, want)
		}
		if got := c.next(); got != "EOF" {
			t.Errorf("after %s and the error comes %s", text, got)
		}
	}
	eventually(t, "all watches end", func() bool { return w.watching.Load() == 0 })
	// The clients above hold their requests open and say nothing more: the server must not wait for them.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := w.http.Shutdown(ctx); err != nil {
		t.Errorf("somebody is still served: %v", err)
	}
}

func TestAWatchWithACompleteBodyLastsUntilTheClientGoes(t *testing.T) {
	w := newWorld(t, GatewayOptions{})
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/v3/watch", strings.NewReader(`{"create_request":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	line, _ := bufio.NewReader(resp.Body).ReadString('\n')
	if !strings.Contains(line, "result") || w.watching.Load() != 1 {
		t.Errorf("the first line is %q, with %d watching", line, w.watching.Load())
	}
	leave()
	eventually(t, "the watch ends", func() bool { return w.watching.Load() == 0 })
}

// dial opens a WebSocket.
func (w *world) dial(t *testing.T, path string, header http.Header) *websocket.Conn {
	t.Helper()
	conn, resp, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(w.url, "http")+path, header)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// exchange sends a message and reads one.
func exchange(t *testing.T, conn *websocket.Conn, message string) string {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		t.Fatal(err)
	}
	_, answer, err := conn.ReadMessage()
	if err != nil {
		return err.Error()
	}
	return strings.ReplaceAll(string(answer), " ", "")
}

func TestAWebSocketIsAConversation(t *testing.T) {
	w := newWorld(t, GatewayOptions{})
	conn := w.dial(t, "/v3/watch", http.Header{"Sec-Websocket-Protocol": {"Bearer, abc.1"}})
	if conn.Subprotocol() != "Bearer" {
		t.Errorf("the subprotocol is %q", conn.Subprotocol())
	}
	for i, want := range []string{`{"result":{"watch_id":"1"}}`, `{"result":{"watch_id":"2"}}`} {
		if got := exchange(t, conn, `{"create_request":{}}`); got != want {
			t.Errorf("message %d is answered %s", i, got)
		}
	}
	if got := (*w.heard.Load()).Get("authorization"); !slices.Equal(got, []string{"Bearer abc.1"}) {
		t.Errorf("the token arrives as %q", got)
	}
	if got := exchange(t, conn, `{"cancel_request":{"watch_id":"99"}}`); got != `{"error":{"code":10,"message":"asyoulike"}}` {
		t.Errorf("the error is %s", got)
	}
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("after the last answer comes %v", err)
	}

	conn = w.dial(t, "/v3/watch", nil)
	if got := exchange(t, conn, `{"create_request":7}`); !strings.Contains(got, `"code":3`) {
		t.Errorf("a malformed message is answered %s", got)
	}
	conn = w.dial(t, "/v3/kv/range", nil)
	if got := exchange(t, conn, `{"key":"Zm9v"}`); got != `{"kvs":[{"key":"Zm9v"}],"count":"3"}` {
		t.Errorf("a single request is answered %s", got)
	}

	conn = w.dial(t, "/v3/watch", nil)
	exchange(t, conn, `{}`)
	conn.Close()
	eventually(t, "the watch of a client that has gone ends", func() bool { return w.watching.Load() == 0 })
}

func TestWatchesEndWithTheGateway(t *testing.T) {
	w := newWorld(t, GatewayOptions{})
	socket, plain := w.dial(t, "/v3/watch", nil), w.converse(t, "{}")
	exchange(t, socket, "{}")
	plain.next()
	w.stop()
	var err error
	for err == nil { // the error may come as a message first
		_, _, err = socket.ReadMessage()
	}
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the WebSocket outlives the gateway")
	}
	if got := plain.next(); !strings.Contains(got, `"code":1`) {
		t.Errorf("the watch ends with %s", got)
	}
	eventually(t, "all watches end", func() bool { return w.watching.Load() == 0 })
}

func TestNamesInCertificatesAreTurnedAway(t *testing.T) {
	users := false
	gateway, err := NewGateway(t.Context(), nil, GatewayOptions{Log: slog.New(slog.DiscardHandler), RefuseNamed: func() bool { return users }})
	if err != nil {
		t.Fatal(err)
	}
	withName := func(name string) *tls.ConnectionState {
		return &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: name}}}}}
	}
	for _, c := range []struct {
		users bool
		tls   *tls.ConnectionState
		code  int
	}{
		{true, withName("alice"), 400}, {true, withName(""), 404}, {true, &tls.ConnectionState{}, 404}, {true, nil, 404}, {false, withName("alice"), 404},
	} {
		users = c.users
		r := httptest.NewRequest(http.MethodPost, "/v3/nowhere", strings.NewReader("{}"))
		r.TLS = c.tls
		recorder := httptest.NewRecorder()
		gateway.ServeHTTP(recorder, r)
		if recorder.Code != c.code {
			t.Errorf("with users %v and TLS %v the answer is %d, want %d", c.users, c.tls != nil, recorder.Code, c.code)
		}
		const text = "CommonName of client sending a request against gateway will be ignored and not used as expected\n"
		if c.code == 400 && recorder.Body.String() != text {
			t.Errorf("the refusal says %q", recorder.Body)
		}
	}
}
