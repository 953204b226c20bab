package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	clientv3 "go.etcd.io/etcd/client/v3"
	lockpb "go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"

	"github.com/keelson-db/keelson/test/harness"
)

// jsonStep is one request in JSON, as any HTTP client would send it.
type jsonStep struct {
	request string // "METHOD /path body"; ${name} stands for what an earlier answer had in a field
	header  string // "Name: value", lines
	lines   int    // objects to read of an answer that goes on; 0 reads to the end
	keep    string // a field of the answer to remember by its name
}

// jsonAnswer is what came back, as far as it must be the same everywhere.
type jsonAnswer struct {
	Code    int
	Kind    string
	Objects []any
}

// jsonClient speaks to one server.
type jsonClient struct {
	url  string
	kept map[string]string
}

func (c *jsonClient) expand(text string) string {
	for name, value := range c.kept {
		text = strings.ReplaceAll(text, "${"+name+"}", value)
	}
	return text
}

func (c *jsonClient) do(t *testing.T, s jsonStep) jsonAnswer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	method, rest, _ := strings.Cut(c.expand(s.request), " ")
	path, body, _ := strings.Cut(rest, " ")
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(c.expand(s.header)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatalf("%s: %v", s.request, err)
	}
	defer resp.Body.Close()
	a := jsonAnswer{Code: resp.StatusCode, Kind: resp.Header.Get("Content-Type")}
	answers := json.NewDecoder(resp.Body)
	for s.lines == 0 || len(a.Objects) < s.lines {
		var o any
		if err := answers.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			rest, _ := io.ReadAll(answers.Buffered())
			t.Fatalf("%s: read the answer %q: %v", s.request, rest, err)
		}
		if fields, ok := o.(map[string]any); ok && s.keep != "" {
			c.kept[s.keep] = fmt.Sprint(fields[s.keep])
		}
		a.Objects = append(a.Objects, o)
	}
	return a
}

// differing matches what two servers cannot agree on.
var differing = regexp.MustCompile(`^(cluster_id|member_id|raft_term|memberID|ID|leader|token|raft\w+|dbSize|dbSizeInUse)$`)

var address = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// same takes out of a parsed answer what two servers cannot agree on, and the addresses.
func same(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			_, object := value.(map[string]any)
			if v[name] = same(value); differing.MatchString(name) && !object {
				v[name] = "*"
			}
		}
	case []any:
		for i := range v {
			v[i] = same(v[i])
		}
	case string:
		return address.ReplaceAllString(v, "ADDR")
	}
	return v
}

// compareJSON sends every step to both and compares the answers.
func compareJSON(t *testing.T, etcd, keelson *jsonClient, steps []jsonStep) {
	t.Helper()
	for _, s := range steps {
		want, got := etcd.do(t, s), keelson.do(t, s)
		for _, a := range []jsonAnswer{want, got} {
			for i := range a.Objects {
				a.Objects[i] = same(a.Objects[i])
			}
		}
		if !reflect.DeepEqual(want, got) {
			shown := func(a jsonAnswer) string { text, _ := json.Marshal(a); return string(text) }
			t.Errorf("%s\n  etcd    %s\n  keelson %s", s.request, shown(want), shown(got))
		}
	}
}

// besideEtcd starts a real etcd and the server under test with the same flags.
func besideEtcd(t *testing.T, args ...string) (etcd, keelson *jsonClient) {
	t.Helper()
	keelsonOnly(t, "it is compared with an etcd")
	bins, err := harness.Build()
	if err != nil {
		t.Fatal(err)
	}
	client := func(o harness.Options) *jsonClient {
		return &jsonClient{url: harness.Start(t, o).URL(), kept: map[string]string{}}
	}
	return client(harness.Options{Binary: bins.Etcd, Args: args, QuietLog: true}), client(harness.Options{Args: args})
}

// TestTheGatewayAnswersLikeEtcd asks both the same in JSON; keys and values are Base64: Zm9v is foo, YmFy is bar.
func TestTheGatewayAnswersLikeEtcd(t *testing.T) {
	t.Parallel()
	etcd, keelson := besideEtcd(t)
	compareJSON(t, etcd, keelson, []jsonStep{
		// Keys.
		{request: `POST /v3/kv/range {"key":"Zm9v"}`},
		{request: `POST /v3/kv/put {"key":"Zm9v","value":"YmFy"}`},
		{request: `POST /v3/kv/range {"key":"Zm9v"}`},
		{request: `POST /v3beta/kv/range {"key":"Zm9v"}`},
		{request: `POST /v3/kv/put {"key":"Zm9v","value":"YmFyMg==","prev_kv":true}`},
		{request: `POST /v3/kv/put {"key":"Zm9v","value":"YmFyMw==","prevKv":true,"nobody":"knows"}`},
		{request: `POST /v3/kv/range {"key":"AA==","rangeEnd":"AA==","sort_order":"DESCEND","sort_target":"MOD","limit":"10"}`},
		{request: `POST /v3/kv/range {"key":"AA","range_end":"AA","count_only":true}`},
		{request: `POST /v3/kv/range {"key":"Zm9v","revision":"2"}`},
		{request: `POST /v3/kv/range {"key":"Zm9v","revision":200}`},
		{request: `POST /v3/kv/range {}`},
		{request: `POST /v3/kv/range`},
		{request: `POST /v3/kv/range {"key":"Zm9v","serializable":true}`, header: "Content-Type: application/x-www-form-urlencoded"},
		{request: `POST /v3/kv/txn {"compare":[{"key":"Zm9v","target":"CREATE","create_revision":"2"}],"success":[{"request_put":{"key":"YQ==","value":"YQ=="}},{"requestRange":{"key":"YQ=="}}]}`},
		{request: `POST /v3/kv/txn {"compare":[{"key":"Zm9v","target":"VALUE","result":"GREATER","value":"eg=="}],"failure":[{"request_range":{"key":"YQ=="}},{"request_txn":{"success":[{"request_delete_range":{"key":"YQ==","prev_kv":true}}]}}]}`},
		{request: `POST /v3/kv/txn {"success":[{"request_put":{"key":"YQ=="}},{"request_put":{"key":"YQ=="}}]}`},
		{request: `POST /v3/kv/deleterange {"key":"Zm9v","prev_kv":true}`},
		{request: `POST /v3/kv/deleterange {"key":"Zm9v"}`},
		{request: `POST /v3/kv/compaction {"revision":"3"}`},
		{request: `POST /v3/kv/compaction {"revision":"3"}`},
		{request: `POST /v3/kv/range {"key":"Zm9v","revision":"2"}`},
		{request: `POST /v3/kv/put {"key":"bA==","value":"eA==","ignore_value":true}`},
		{request: `POST /v3/kv/put {"key":"bA==","lease":"77"}`},
		// Bad requests.
		{request: `POST /v3/kv/range {`},
		{request: `POST /v3/kv/range ]`},
		{request: `POST /v3/kv/range {"key":"Zm9v"} trailing`},
		{request: `GET /v3/kv/range`},
		{request: `PUT /v3/kv/range {}`},
		{request: `DELETE /v3/kv/range`},
		{request: `OPTIONS /v3/kv/range`},
		{request: `POST /v3/kv/nothing {}`},
		{request: `POST /v3/kv/rangestream {"key":"Zm9v"}`},
		{request: `POST /v3/ {}`},
		// Leases.
		{request: `POST /v3/lease/grant {"ID":"77","TTL":"100"}`},
		{request: `POST /v3/lease/grant {"ID":77,"TTL":100}`},
		{request: `POST /v3/lease/grant {"TTL":"9000000001"}`},
		{request: `POST /v3/kv/put {"key":"bA==","lease":"77"}`},
		{request: `POST /v3/lease/keepalive {"ID":"77"}`},
		{request: `POST /v3/lease/keepalive {"ID":"77"}{"ID":"78"}`},
		{request: `POST /v3/lease/timetolive {"ID":"77","keys":true}`},
		{request: `POST /v3/kv/lease/timetolive {"ID":"78"}`},
		{request: `POST /v3/lease/leases {}`},
		{request: `POST /v3/kv/lease/leases`},
		{request: `POST /v3/lease/revoke {"ID":"77"}`},
		{request: `POST /v3/kv/lease/revoke {"ID":"77"}`},
		// Watches.
		{request: `POST /v3/watch {"create_request":{"key":"Zm9v","start_revision":"4"}}`, lines: 2},
		{request: `POST /v3/watch {"create_request":{"key":"AA==","range_end":"AA==","start_revision":"4","prev_kv":true,"filters":["NOPUT"]}}`, lines: 2},
		{request: `POST /v3/watch {"create_request":{"key":"Zm9v","start_revision":"1"}}`, lines: 2},
		{request: `POST /v3/watch {"create_request":{"key":"Zm9v","watch_id":"5"}}{"create_request":{"key":"Zm9v","watch_id":"5"}}{"cancel_request":{"watch_id":"5"}}`, lines: 3},
		// The cluster and maintenance.
		{request: `POST /v3/cluster/member/list {}`},
		{request: `POST /v3/maintenance/alarm {"action":"GET"}`},
		{request: `POST /v3/maintenance/status {}`},
	})
}

// TestTheGatewayLocksLikeEtcd runs for locks and elections in JSON.
func TestTheGatewayLocksLikeEtcd(t *testing.T) {
	t.Parallel()
	etcd, keelson := besideEtcd(t)
	compareJSON(t, etcd, keelson, []jsonStep{
		{request: `POST /v3/lease/grant {"ID":"10","TTL":"600"}`},
		{request: `POST /v3/lease/grant {"ID":"11","TTL":"600"}`},
		{request: `POST /v3/lock/lock {"name":"bg==","lease":"10"}`, keep: "key"},
		{request: `POST /v3/lock/lock {"name":"bg==","lease":"10"}`},
		{request: `POST /v3/lock/lock {"name":"bg==","lease":"99"}`},
		{request: `POST /v3/lock/unlock {"key":"${key}"}`},
		{request: `POST /v3/lock/unlock {"key":"${key}"}`},
		{request: `POST /v3/lock/unlock {}`},
		{request: `POST /v3/lock/lock {"lease":"11"}`},
		{request: `POST /v3/election/leader {"name":"ZQ=="}`},
		{request: `POST /v3/election/campaign {"name":"ZQ==","lease":"10","value":"YQ=="}`},
		{request: `POST /v3/election/leader {"name":"ZQ=="}`},
		{request: `POST /v3/election/observe {"name":"ZQ=="}`, lines: 1},
		{request: `POST /v3/election/proclaim {"leader":{"name":"ZQ==","key":"ZS9h","rev":"5","lease":"10"},"value":"Yg=="}`},
		{request: `POST /v3/election/proclaim {"leader":{"name":"ZQ==","key":"ZS9h","rev":"4","lease":"10"},"value":"Yg=="}`},
		{request: `POST /v3/election/proclaim {"value":"Yg=="}`},
		{request: `POST /v3/election/proclaim {"leader":{},"value":"Yg=="}`},
		{request: `POST /v3/election/campaign {"name":"ZQ==","lease":"10","value":"Yw=="}`},
		{request: `POST /v3/election/leader {"name":"ZQ=="}`},
		{request: `POST /v3/election/resign {"leader":{"name":"ZQ==","key":"ZS9h","rev":"5","lease":"10"}}`},
		{request: `POST /v3/election/resign {"leader":{"name":"ZQ==","key":"ZS9h","rev":"5","lease":"10"}}`},
		{request: `POST /v3/election/resign {}`},
		{request: `POST /v3/election/campaign {"name":"ZQ==","lease":"99","value":"YQ=="}`},
		{request: `POST /v3/kv/range {"key":"AA==","range_end":"AA=="}`},
	})
}

// TestTheGatewayAsksWhoLikeEtcd walks through users, roles and tokens in JSON.
func TestTheGatewayAsksWhoLikeEtcd(t *testing.T) {
	t.Parallel()
	etcd, keelson := besideEtcd(t, "--bcrypt-cost", "4")
	const root = "Authorization: ${token}"
	compareJSON(t, etcd, keelson, []jsonStep{
		{request: `POST /v3/auth/status {}`},
		{request: `POST /v3/auth/enable {}`},
		{request: `POST /v3/auth/authenticate {"name":"root","password":"pw"}`},
		{request: `POST /v3/auth/user/add {"name":"root","password":"pw"}`},
		{request: `POST /v3/auth/user/add {"name":"root","password":"pw"}`},
		{request: `POST /v3/auth/role/add {"name":"root"}`},
		{request: `POST /v3/auth/user/grant {"user":"root","role":"root"}`},
		{request: `POST /v3/auth/role/add {"name":"reader"}`},
		{request: `POST /v3/auth/role/grant {"name":"reader","perm":{"permType":"READ","key":"Zm9v"}}`},
		{request: `POST /v3/auth/role/grant {"name":"reader","perm":{"permType":2,"key":"YQ==","range_end":"Yg=="}}`},
		{request: `POST /v3/auth/role/get {"role":"reader"}`},
		{request: `POST /v3/auth/role/revoke {"role":"reader","key":"YQ==","range_end":"Yg=="}`},
		{request: `POST /v3/auth/role/get {"role":"reader"}`},
		{request: `POST /v3/auth/role/list {}`},
		{request: `POST /v3/auth/user/add {"name":"alice","options":{"no_password":true}}`},
		{request: `POST /v3/auth/user/changepw {"name":"alice","password":"pw2"}`},
		{request: `POST /v3/auth/user/grant {"user":"alice","role":"reader"}`},
		{request: `POST /v3/auth/user/get {"name":"alice"}`},
		{request: `POST /v3/auth/user/list {}`},
		{request: `POST /v3/auth/enable {}`},
		{request: `POST /v3/kv/range {"key":"Zm9v"}`},
		{request: `POST /v3/lock/lock {"name":"bg=="}`},
		{request: `POST /v3/auth/authenticate {"name":"root","password":"no"}`},
		{request: `POST /v3/auth/authenticate {"name":"alice","password":"pw2"}`, keep: "token"},
		{request: `POST /v3/kv/range {"key":"Zm9v"}`, header: "Authorization: ${token}"},
		{request: `POST /v3/kv/range {"key":"Zm9v"}`, header: "Authorization: Bearer ${token}"},
		{request: `POST /v3/kv/range {"key":"Zm9v"}`, header: "Grpc-Metadata-Token: ${token}"},
		{request: `POST /v3/kv/put {"key":"Zm9v"}`, header: "Authorization: ${token}"},
		{request: `POST /v3/lock/lock {"name":"bg==","lease":"5"}`, header: "Authorization: ${token}"},
		{request: `POST /v3/watch {"create_request":{"key":"Zm8="}}`, header: "Authorization: ${token}", lines: 1},
		{request: `POST /v3/auth/user/list {}`, header: "Authorization: ${token}"},
		{request: `POST /v3/kv/range {"key":"Zm9v"}`, header: "Authorization: nonsense"},
		{request: `POST /v3/auth/authenticate {"name":"root","password":"pw"}`, keep: "token"},
		{request: `POST /v3/kv/put {"key":"Zm9v","value":"YmFy"}`, header: root},
		{request: `POST /v3/lease/grant {"ID":"5","TTL":"600"}`, header: root},
		{request: `POST /v3/lock/lock {"name":"bg==","lease":"5"}`, header: root},
		{request: `POST /v3/election/campaign {"name":"ZQ==","lease":"5","value":"YQ=="}`, header: "Authorization: Bearer ${token}"},
		{request: `POST /v3/auth/user/revoke {"name":"alice","role":"reader"}`, header: root},
		{request: `POST /v3/auth/role/delete {"role":"reader"}`, header: root},
		{request: `POST /v3/auth/user/delete {"name":"alice"}`, header: root},
		{request: `POST /v3/auth/user/delete {"name":"root"}`, header: root},
		{request: `POST /v3/auth/disable {}`, header: root},
		{request: `POST /v3/auth/status {}`},
	})
}

// TestTheGatewayMaintainsLikeEtcd asks for what administrators need.
func TestTheGatewayMaintainsLikeEtcd(t *testing.T) {
	t.Parallel()
	etcd, keelson := besideEtcd(t)
	compareJSON(t, etcd, keelson, []jsonStep{
		{request: `POST /v3/kv/put {"key":"Zm9v","value":"YmFy"}`},
		{request: `POST /v3/maintenance/hashkv {}`},
		{request: `POST /v3/maintenance/hashkv {"revision":"9"}`},
		{request: `POST /v3/maintenance/defragment {}`},
		{request: `POST /v3/maintenance/alarm {"action":"ACTIVATE","alarm":"NOSPACE"}`},
		{request: `POST /v3/kv/put {"key":"Zm9v","value":"YmFy"}`},
		{request: `POST /v3/maintenance/alarm {}`},
		{request: `POST /v3/maintenance/alarm {"action":2,"alarm":1}`},
		{request: `POST /v3/maintenance/transfer-leadership {"targetID":"1"}`},
		{request: `POST /v3/maintenance/downgrade {"action":"VALIDATE","version":"3.6.0"}`},
		{request: `POST /v3/maintenance/downgrade {"action":"ENABLE","version":"x"}`},
	})
}

// TestLargeBodies sends values around --max-request-bytes.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	etcd, keelson := besideEtcd(t)
	put := func(bytes int) jsonStep {
		return jsonStep{request: `POST /v3/kv/put {"key":"Zm9v","value":"` + strings.Repeat("AAAA", bytes/3) + `"}`}
	}
	compareJSON(t, etcd, keelson, []jsonStep{put(1 << 20), put(1600 << 10)})
	for _, c := range []*jsonClient{etcd, keelson} {
		for _, bytes := range []int{2100 << 10, 8 << 20} { // more than a message may have, more than is read
			a := c.do(t, put(bytes))
			if o, _ := a.Objects[0].(map[string]any); a.Code != 429 || o["code"] != 8.0 {
				t.Errorf("%d bytes at %s: %d %v", bytes, c.url, a.Code, a.Objects)
			}
		}
	}
}

// TestASwitchedOffGatewayIsNotThere asks a server without a gateway.
func TestASwitchedOffGatewayIsNotThere(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{Args: []string{"--enable-grpc-gateway=false"}})
	if a := ask(t, "POST", n.URL()+"/v3/kv/range"); a.code != 404 || a.body != "404 page not found\n" {
		t.Errorf("the answer is %d %q", a.code, a.body)
	}
}

// jsonWatch is a watch over a request of HTTP whose body stays open.
type jsonWatch struct {
	say     *io.PipeWriter
	answers *json.Decoder
}

func openJSONWatch(t *testing.T, n *harness.Node, first string) *jsonWatch {
	t.Helper()
	body, say := io.Pipe()
	r, err := http.NewRequestWithContext(harness.Ctx(t), http.MethodPost, n.URL()+"/v3/watch", body)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.WriteString(say, first)
		if !onKeelson() {
			say.Close() // etcd begins to answer when the request has ended
		}
	}()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { say.Close(); resp.Body.Close() })
	return &jsonWatch{say, json.NewDecoder(resp.Body)}
}

func (w *jsonWatch) next(t *testing.T) string {
	t.Helper()
	var v any
	if err := w.answers.Decode(&v); err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(v)
	return string(text)
}

// openSocket opens a WebSocket and sends the first message.
func openSocket(t *testing.T, n *harness.Node, first string) *websocket.Conn {
	t.Helper()
	conn, resp, err := websocket.DefaultDialer.DialContext(harness.Ctx(t), "ws://"+n.ClientAddr+"/v3/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	t.Cleanup(func() { conn.Close() })
	if err := conn.WriteMessage(websocket.TextMessage, []byte(first)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func nextMessage(t *testing.T, conn *websocket.Conn) string {
	t.Helper()
	_, text, err := conn.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), " ", "")
}

// TestWatchesOfJSONClientsLast watches over a plain request and over a WebSocket while keys change.
func TestWatchesOfJSONClientsLast(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := &jsonClient{url: n.URL()}
	create := func(id int) string { return fmt.Sprintf(`{"create_request":{"key":"Zm9v","watch_id":"%d"}}`, id) }
	plain, socket := openJSONWatch(t, n, create(7)), openSocket(t, n, create(8))
	if got := plain.next(t) + nextMessage(t, socket); !strings.Contains(got, `"watch_id":"7"`) || !strings.Contains(got, `"watch_id":"8"`) {
		t.Fatalf("the watches are created as %s", got)
	}
	for _, value := range []string{"YQ==", "Yg=="} {
		if a := c.do(t, jsonStep{request: `POST /v3/kv/put {"key":"Zm9v","value":"` + value + `"}`}); a.Code != 200 {
			t.Fatalf("put: %v", a)
		}
		for _, got := range []string{plain.next(t), nextMessage(t, socket)} {
			if !strings.Contains(got, `"events":`) || !strings.Contains(got, `"value":"`+value+`"`) {
				t.Errorf("after a put of %s comes %s", value, got)
			}
		}
	}
	if onKeelson() {
		if _, err := io.WriteString(plain.say, `{"cancel_request":{"watch_id":"7"}}`); err != nil {
			t.Fatal(err)
		}
		if got := plain.next(t); !strings.Contains(got, `"canceled":true`) {
			t.Errorf("the answer to a cancellation on the same request is %s", got)
		}
	}
}

// TestWhoWaitsDoesNotKeepTheHolderFromUnlocking has more waiting calls than streams may be on one connection.
func TestWhoWaitsDoesNotKeepTheHolderFromUnlocking(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{Args: []string{"--max-concurrent-streams", "4"}})
	holder := lockpb.NewLockClient(n.Conn(t))
	held, err := holder.Lock(harness.Ctx(t), &lockpb.LockRequest{Name: []byte("n")})
	if err != nil {
		t.Fatal(err)
	}
	const waiting = 6
	keys := make(chan []byte, waiting)
	for range waiting {
		client := lockpb.NewLockClient(n.Conn(t))
		go func() {
			got, err := client.Lock(harness.Ctx(t), &lockpb.LockRequest{Name: []byte("n")})
			if err != nil {
				t.Errorf("lock: %v", err)
			}
			keys <- got.GetKey()
		}()
	}
	harness.Eventually(t, 5*time.Second, "all wait", func() error {
		got, err := n.Client(t).Get(harness.Ctx(t), "n/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err == nil && got.Count != waiting+1 {
			err = fmt.Errorf("%d keys", got.Count)
		}
		return err
	})
	key := held.Key
	for range waiting {
		if _, err := holder.Unlock(harness.Ctx(t), &lockpb.UnlockRequest{Key: key}); err != nil {
			t.Fatalf("unlock: %v", err)
		}
		key = <-keys
	}
}
