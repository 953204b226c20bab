package web

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-db/keelson/internal/metrics"
)

// fakeNode is a healthy leader unless a test says otherwise.
type fakeNode struct {
	noLeader, learner bool
	alarms            []string
	localErr, readErr error // of serializable and linearizable reads
	hang              bool  // reads do not come back
	reads             atomic.Int32
	cluster, storage  string
	raft              string
}

func (f *fakeNode) Leader() (uint64, bool) { return 7, !f.noLeader }
func (f *fakeNode) IsLearner() bool        { return f.learner }
func (f *fakeNode) Alarms() []string       { return f.alarms }
func (f *fakeNode) RaftStatusJSON() string { return f.raft }
func (f *fakeNode) ClusterVersion() string { return f.cluster }
func (f *fakeNode) StorageVersion() string { return f.storage }

func (f *fakeNode) ReadCheck(ctx context.Context, serializable bool) error {
	f.reads.Add(1)
	if f.hang {
		select {} // Not even the context is looked at: a disk that hangs does not look either.
	}
	if serializable {
		return f.localErr
	}
	return f.readErr
}

func options(node *fakeNode) HandlerOptions {
	return HandlerOptions{Node: node, Metrics: metrics.New(), Log: slog.New(slog.DiscardHandler), Version: "3.7.3"}
}

// ask sends one request, given as "METHOD target", to a handler.
func ask(h http.Handler, request string, change ...func(*http.Request)) *http.Response {
	method, target, _ := strings.Cut(request, " ")
	r := httptest.NewRequest(method, target, nil)
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func bodyOf(t *testing.T, resp *http.Response) string {
	t.Helper()
	var b strings.Builder
	if err := resp.Write(&b); err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(b.String(), "\r\n\r\n")
	return body
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

const plain = "text/plain; charset=utf-8"

func TestAnswersAreEtcdsToTheByte(t *testing.T) {
	healthy := &fakeNode{cluster: "3.7.0", storage: "3.7.0"}
	range4 := errors.New("etcdserver: request timed out")
	const notAllowed = "Method Not Allowed\n"
	allReady := "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\n"
	for _, c := range []struct {
		node    *fakeNode
		request string
		status  int
		kind    string // content type
		nosniff string
		body    string
	}{
		{healthy, "GET /health", 200, plain, "", `{"health":"true","reason":""}`},
		{healthy, "GET /health?serializable=true", 200, plain, "", `{"health":"true","reason":""}`},
		{&fakeNode{alarms: []string{"NOSPACE"}}, "GET /health", 503, plain, "nosniff", `{"health":"false","reason":"ALARM NOSPACE"}` + "\n"},
		{&fakeNode{alarms: []string{"CORRUPT"}}, "GET /health", 503, plain, "nosniff", `{"health":"false","reason":"ALARM CORRUPT"}` + "\n"},
		{&fakeNode{alarms: []string{"NEW"}}, "GET /health", 503, plain, "nosniff", `{"health":"false","reason":"ALARM UNKNOWN"}` + "\n"},
		{&fakeNode{alarms: []string{"NOSPACE"}}, "GET /health?exclude=NOSPACE", 200, plain, "", `{"health":"true","reason":""}`},
		{&fakeNode{alarms: []string{"NOSPACE", "CORRUPT"}}, "GET /health?exclude=NOSPACE", 503, plain, "nosniff", `{"health":"false","reason":"ALARM CORRUPT"}` + "\n"},
		{&fakeNode{alarms: []string{"NOSPACE", "CORRUPT"}}, "GET /health?exclude=NOSPACE&exclude=CORRUPT", 200, plain, "", `{"health":"true","reason":""}`},
		{&fakeNode{noLeader: true}, "GET /health", 503, plain, "nosniff", `{"health":"false","reason":"RAFT NO LEADER"}` + "\n"},
		{&fakeNode{noLeader: true, readErr: range4}, "GET /health?serializable=true", 200, plain, "", `{"health":"true","reason":""}`},
		{&fakeNode{noLeader: true, alarms: []string{"NOSPACE"}}, "GET /health", 503, plain, "nosniff", `{"health":"false","reason":"ALARM NOSPACE"}` + "\n"},
		{&fakeNode{readErr: range4}, "GET /health", 503, plain, "nosniff", `{"health":"false","reason":"RANGE ERROR:etcdserver: request timed out"}` + "\n"},
		{&fakeNode{localErr: range4}, "GET /health?serializable=true", 503, plain, "nosniff", `{"health":"false","reason":"RANGE ERROR:etcdserver: request timed out"}` + "\n"},
		{healthy, "POST /health", 405, plain, "nosniff", notAllowed},
		{healthy, "HEAD /health", 405, plain, "nosniff", notAllowed},

		{healthy, "GET /livez", 200, plain, "nosniff", "ok\n"},
		{healthy, "GET /livez?verbose", 200, plain, "nosniff", "[+]serializable_read ok\nok\n"},
		{healthy, "GET /livez/serializable_read?verbose=", 200, plain, "nosniff", "[+]serializable_read ok\nok\n"},
		{&fakeNode{readErr: range4, noLeader: true, learner: true, alarms: []string{"CORRUPT"}}, "GET /livez", 200, plain, "nosniff", "ok\n"},
		{&fakeNode{localErr: range4}, "GET /livez", 503, plain, "nosniff", "[-]serializable_read failed: etcdserver: request timed out\n\n"},
		{&fakeNode{localErr: range4}, "GET /livez?exclude=serializable_read", 200, plain, "nosniff", "ok\n"},
		{&fakeNode{localErr: range4}, "GET /livez/serializable_read?exclude=serializable_read", 503, plain, "nosniff", "[-]serializable_read failed: etcdserver: request timed out\n\n"},
		{healthy, "PUT /livez", 405, plain, "nosniff", notAllowed},

		{healthy, "GET /readyz", 200, plain, "nosniff", "ok\n"},
		{healthy, "GET /readyz?verbose", 200, plain, "nosniff", allReady + "ok\n"},
		{healthy, "GET /readyz?verbose&exclude=linearizable_read&exclude=no_such_check", 200, plain, "nosniff", strings.Replace(allReady, "[+]linearizable_read ok\n", "", 1) + "ok\n"},
		{&fakeNode{alarms: []string{"CORRUPT"}}, "GET /readyz", 503, plain, "nosniff", strings.Replace(allReady, "[+]data_corruption ok", "[-]data_corruption failed: alarm activated: CORRUPT", 1) + "\n"},
		{&fakeNode{alarms: []string{"NOSPACE"}}, "GET /readyz", 200, plain, "nosniff", "ok\n"},
		{&fakeNode{learner: true}, "GET /readyz", 503, plain, "nosniff", strings.Replace(allReady, "[+]non_learner ok", "[-]non_learner failed: not supported for learner", 1) + "\n"},
		{&fakeNode{readErr: range4}, "GET /readyz", 503, plain, "nosniff", strings.Replace(allReady, "[+]linearizable_read ok", "[-]linearizable_read failed: etcdserver: request timed out", 1) + "\n"},
		{&fakeNode{readErr: range4}, "GET /readyz/linearizable_read", 503, plain, "nosniff", "[-]linearizable_read failed: etcdserver: request timed out\n\n"},
		{&fakeNode{readErr: range4}, "GET /readyz/non_learner", 200, plain, "nosniff", "ok\n"},
		{healthy, "DELETE /readyz/non_learner", 405, plain, "nosniff", notAllowed},

		{healthy, "GET /version", 200, "application/json", "", `{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}`},
		{&fakeNode{}, "GET /version", 200, "application/json", "", `{"etcdserver":"3.7.3","etcdcluster":"not_decided","storage":"unknown"}`},
		{healthy, "HEAD /version", 405, plain, "nosniff", notAllowed},
		{healthy, "POST /debug/vars", 405, plain, "nosniff", notAllowed},

		{healthy, "POST /v3/kv/range", 404, plain, "nosniff", "404 page not found\n"},
		{healthy, "POST /v3beta/kv/range", 404, plain, "nosniff", "404 page not found\n"},

		{healthy, "GET /", 404, plain, "nosniff", "404 page not found\n"},
		{healthy, "GET /v2/keys", 404, plain, "nosniff", "404 page not found\n"},
		{healthy, "GET /config/local/log", 404, plain, "nosniff", "404 page not found\n"},
		{healthy, "GET /livez/no_such_check", 404, plain, "nosniff", "404 page not found\n"},
		{healthy, "GET /livez/non_learner", 404, plain, "nosniff", "404 page not found\n"},
		{healthy, "GET /debug/pprof/", 404, plain, "nosniff", "404 page not found\n"},
		{healthy, "GET /members", 404, plain, "nosniff", "404 page not found\n"},
	} {
		resp := ask(NewHandler(options(c.node)), c.request)
		body := bodyOf(t, resp)
		if resp.StatusCode != c.status || body != c.body {
			t.Errorf("%s\n got %d %q\nwant %d %q", c.request, resp.StatusCode, body, c.status, c.body)
		}
		if kind, nosniff := resp.Header.Get("Content-Type"), resp.Header.Get("X-Content-Type-Options"); kind != c.kind || nosniff != c.nosniff {
			t.Errorf("%s is %q %q, want %q %q", c.request, kind, nosniff, c.kind, c.nosniff)
		}
		if allow := resp.Header.Get("Allow"); (c.status == 405) != (allow == "GET") {
			t.Errorf("%s: status %d with Allow %q", c.request, resp.StatusCode, allow)
		}
	}
}

func TestTheMetricsPortServesProbesAndMetricsOnly(t *testing.T) {
	o := options(&fakeNode{})
	o.HostWhitelist = []string{"only.this"}
	o.EnablePprof = true
	h := NewMetricsHandler(o)
	for request, status := range map[string]int{
		"GET /health": 200, "GET /livez": 200, "GET /readyz": 200, "GET /readyz/non_learner": 200, "GET /metrics": 200,
		"GET /version": 404, "GET /debug/vars": 404, "GET /debug/pprof/": 404, "POST /v3/kv/range": 404, "GET /": 404,
	} {
		resp := ask(h, request, host("another"))
		if resp.StatusCode != status {
			t.Errorf("%s is %d, want %d", request, resp.StatusCode, status)
		}
		if resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s speaks of origins", request)
		}
	}
}

func TestHostsAndOrigins(t *testing.T) {
	const all = "*"
	overTLS := func(r *http.Request) { r.TLS = &tls.ConnectionState{} }
	for _, c := range []struct {
		name    string
		hosts   string
		origins string
		request string
		change  []func(*http.Request)
		status  int
		origin  string // Access-Control-Allow-Origin
	}{
		{"everything is allowed", all, all, "GET /health", []func(*http.Request){host("evil")}, 200, all},
		{"an empty list allows everything", "", "", "GET /health", []func(*http.Request){host("evil")}, 200, all},
		{"a listed host with a port", "a.b,localhost", all, "GET /health", []func(*http.Request){host("localhost:2379")}, 200, all},
		{"hosts have no case", "localhost", all, "GET /health", []func(*http.Request){host("LocalHost")}, 200, all},
		{"another host", "localhost", all, "GET /health", []func(*http.Request){host("evil:2379")}, 421, ""},
		{"another host asks for options", "localhost", all, "OPTIONS /health", []func(*http.Request){host("evil")}, 421, ""},
		{"another host over TLS", "localhost", all, "GET /health", []func(*http.Request){host("evil"), overTLS}, 200, all},
		{"a star beside names", "localhost,*", all, "GET /health", []func(*http.Request){host("evil")}, 200, all},
		{"a listed origin", all, "http://a,http://b", "GET /health", []func(*http.Request){header("Origin", "http://b")}, 200, "http://b"},
		{"another origin", all, "http://a", "GET /health", []func(*http.Request){header("Origin", "http://c")}, 200, ""},
		{"no origin", all, "http://a", "GET /health", nil, 200, ""},
		{"options of anything", all, all, "OPTIONS /nowhere", nil, 200, all},
	} {
		o := options(&fakeNode{})
		o.HostWhitelist, o.CORS = strings.FieldsFunc(c.hosts, comma), strings.FieldsFunc(c.origins, comma)
		resp := ask(NewHandler(o), c.request, c.change...)
		if resp.StatusCode != c.status || resp.Header.Get("Access-Control-Allow-Origin") != c.origin {
			t.Errorf("%s: %d with origin %q, want %d with %q", c.name,
				resp.StatusCode, resp.Header.Get("Access-Control-Allow-Origin"), c.status, c.origin)
		}
		methods, headers := resp.Header.Get("Access-Control-Allow-Methods"), resp.Header.Get("Access-Control-Allow-Headers")
		if c.origin != "" && (methods != "POST, GET, OPTIONS, PUT, DELETE" || headers != "accept, content-type, authorization") {
			t.Errorf("%s: allows methods %q and headers %q", c.name, methods, headers)
		}
		body := bodyOf(t, resp)
		if c.status == 421 && !strings.HasPrefix(body, "\netcd received your request, but the Host header was unrecognized.") {
			t.Errorf("%s: says %q", c.name, body)
		}
		if strings.HasPrefix(c.request, "OPTIONS") && c.status == 200 && body != "" {
			t.Errorf("%s: has the body %q", c.name, body)
		}
	}
}

func comma(r rune) bool { return r == ',' }

func TestMetricsAreServedUnderNamesThatScrapersCannotChange(t *testing.T) {
	o := options(&fakeNode{})
	h := NewHandler(o)
	NewMetricsHandler(o) // A second handler on the same set must be possible.
	ask(h, "GET /health")
	for _, accept := range []string{"", "text/plain", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"} {
		resp := ask(h, "GET /metrics", header("Accept", accept))
		body := bodyOf(t, resp)
		if kind := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
			t.Errorf("accepting %q gives %d %q", accept, resp.StatusCode, kind)
		}
		for _, line := range []string{
			"\netcd_server_health_success 1\n",
			"\netcd_server_has_leader 0\n",
			"\netcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} 0\n",
			"\n# TYPE promhttp_metric_handler_requests_total counter\n",
			"\n# TYPE go_goroutines gauge\n",
		} {
			if !strings.Contains(body, line) {
				t.Errorf("accepting %q: no line %q", accept, line)
			}
		}
	}
	if resp := ask(h, "GET /metrics", header("Accept-Encoding", "gzip")); resp.Header.Get("Content-Encoding") != "gzip" {
		t.Error("the metrics are not compressed for a scraper that asks for it")
	}
}

func TestHealthChecksAreCounted(t *testing.T) {
	node := &fakeNode{}
	o := options(node)
	h := NewHandler(o)
	ask(h, "GET /health")
	ask(h, "GET /readyz")
	node.learner, node.alarms = true, []string{"CORRUPT"}
	ask(h, "GET /health")
	ask(h, "GET /readyz")
	body := bodyOf(t, ask(h, "GET /metrics"))
	for _, line := range []string{
		`etcd_server_health_success 1`,
		`etcd_server_health_failures 1`,
		`etcd_server_healthcheck{name="non_learner",type="readyz"} 0`,
		`etcd_server_healthcheck{name="serializable_read",type="readyz"} 1`,
		`etcd_server_healthchecks_total{name="non_learner",status="success",type="readyz"} 1`,
		`etcd_server_healthchecks_total{name="non_learner",status="error",type="readyz"} 1`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
}

func TestAReadThatHangsFailsTheProbeAndIsNotRepeated(t *testing.T) {
	node := &fakeNode{hang: true}
	// Outside the bubble: the goroutine that hangs for ever would keep a bubble from ending.
	read := newTestRead(func(ctx context.Context) error { return node.ReadCheck(ctx, true) })
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // A prober that gives up at once.
		if err := read.run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a probe that gave up gets %v", err)
		}
	}
	eventually(t, "the read is started", func() bool { return node.reads.Load() > 0 })
	if n := node.reads.Load(); n != 1 {
		t.Errorf("%d reads hang, want 1", n)
	}
}

func TestAProbeWaitsNoLongerThanItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stuck := newTestRead(func(context.Context) error { <-release; return nil })
		start := time.Now()
		if err := stuck.run(t.Context()); !errors.Is(err, errReadStuck) || time.Since(start) != checkTimeout {
			t.Errorf("a stuck read gives %v after %v", err, time.Since(start))
		}
		close(release)
		synctest.Wait()
		if err := stuck.run(t.Context()); err != nil {
			t.Errorf("after the disk came back the check says %v", err)
		}
		slow := newTestRead(func(ctx context.Context) error { <-ctx.Done(); return errors.New("request timed out") })
		start = time.Now()
		if err := slow.run(t.Context()); err == nil || err.Error() != "request timed out" || time.Since(start) != readTimeout {
			t.Errorf("a read that gives up in time gives %v after %v", err, time.Since(start))
		}
	})
}

func TestDebugVarsAreOneObject(t *testing.T) {
	const status = `{"id":"8e9e05c52164694d","term":2,"lead":"8e9e05c52164694d"}`
	for raft, want := range map[string]string{status: status, "": "null", "{broken": "null"} {
		resp := ask(NewHandler(options(&fakeNode{raft: raft})), "GET /debug/vars")
		var vars map[string]json.RawMessage
		if err := json.Unmarshal([]byte(bodyOf(t, resp)), &vars); err != nil {
			t.Fatalf("raft status %q: %v", raft, err)
		}
		if got := slices.Sorted(maps.Keys(vars)); !slices.Equal(got, []string{"cmdline", "file_descriptor_limit", "memstats", "raft.status"}) {
			t.Errorf("the variables are %q", got)
		}
		if string(vars["raft.status"]) != want {
			t.Errorf("raft.status is %s, want %s", vars["raft.status"], want)
		}
		if kind := resp.Header.Get("Content-Type"); kind != "application/json; charset=utf-8" {
			t.Errorf("the content type is %q", kind)
		}
	}
}

func TestProfilesAreServedWhenAsked(t *testing.T) {
	o := options(&fakeNode{})
	o.EnablePprof = true
	h := NewHandler(o)
	for _, path := range []string{"", "cmdline", "symbol", "heap", "goroutine", "threadcreate", "block", "mutex"} {
		if resp := ask(h, "GET /debug/pprof/"+path); resp.StatusCode != 200 {
			t.Errorf("/debug/pprof/%s is %d", path, resp.StatusCode)
		}
	}
}

func TestHeadersAreBounded(t *testing.T) {
	s := startSplit(t, nil, SplitOptions{})
	server := NewServer(NewHandler(options(&fakeNode{})), slog.New(slog.DiscardHandler))
	go server.Serve(s.HTTP())
	defer server.Close()
	for size, status := range map[int]int{1 << 10: 200, 2 * maxHeaderBytes: 431} {
		r, err := http.NewRequest(http.MethodGet, "http://"+s.addr+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Long", strings.Repeat("x", size))
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("a header of %d bytes is answered %d, want %d", size, resp.StatusCode, status)
		}
	}
}
