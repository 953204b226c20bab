package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/keelson-db/keelson/test/harness"
)

// answer is what an HTTP request brought.
type answer struct {
	code   int
	body   string
	header http.Header
}

func ask(t *testing.T, method, url string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(harness.Ctx(t), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read the answer of %s: %v", url, err)
	}
	return answer{resp.StatusCode, string(body), resp.Header}
}

// sortedLines makes the order of checks, which is random, comparable.
func sortedLines(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "|")
}

const (
	healthy = `{"health":"true","reason":""}`
	text    = "text/plain; charset=utf-8"
)

// TestHTTPEndpoints asks what probes and dashboards ask, on the client port and on a metrics port.
func TestHTTPEndpoints(t *testing.T) {
	t.Parallel()
	metrics := harness.FreeAddr(t)
	n := harness.Start(t, harness.Options{Args: []string{"--listen-metrics-urls", "http://" + metrics}})
	ready := "[+]data_corruption ok|[+]linearizable_read ok|[+]non_learner ok|[+]serializable_read ok|ok"
	cases := []struct {
		method, path string
		code         int
		body, kind   string
		both         bool // served on the metrics port too
	}{
		{"GET", "/health", 200, healthy, text, true},
		{"GET", "/health?serializable=true", 200, healthy, text, true},
		{"GET", "/health?exclude=NOSPACE", 200, healthy, text, true},
		{"GET", "/health?exclude=NOSPACE&exclude=CORRUPT&exclude=nonsense", 200, healthy, text, true},
		{"POST", "/health", 405, "Method Not Allowed", text, true},
		{"HEAD", "/health", 405, "", text, true},
		{"GET", "/livez", 200, "ok", text, true},
		{"GET", "/livez?verbose", 200, "[+]serializable_read ok|ok", text, true},
		{"GET", "/livez/serializable_read", 200, "ok", text, true},
		{"GET", "/livez?verbose&exclude=serializable_read", 200, "ok", text, true},
		{"GET", "/livez?exclude=nonsense", 200, "ok", text, true},
		{"POST", "/livez", 405, "Method Not Allowed", text, true},
		{"GET", "/readyz", 200, "ok", text, true},
		{"GET", "/readyz?verbose", 200, ready, text, true},
		{"GET", "/readyz?verbose=true&exclude=non_learner", 200, strings.Replace(ready, "[+]non_learner ok|", "", 1), text, true},
		{"GET", "/readyz/data_corruption", 200, "ok", text, true},
		{"GET", "/readyz/serializable_read", 200, "ok", text, true},
		{"GET", "/readyz/linearizable_read?verbose", 200, "[+]linearizable_read ok|ok", text, true},
		{"GET", "/readyz/non_learner", 200, "ok", text, true},
		{"GET", "/readyz/nonsense", 404, "404 page not found", text, true},
		{"GET", "/livez/linearizable_read", 404, "404 page not found", text, true},
		{"DELETE", "/readyz", 405, "Method Not Allowed", text, true},
		{"GET", "/", 404, "404 page not found", text, true},
		{"GET", "/nothing", 404, "404 page not found", text, true},
		{"GET", "/v2/keys", 404, "404 page not found", text, true},
		{"GET", "/v2/keys/foo?recursive=true", 404, "404 page not found", text, true},
		{"POST", "/version", 405, "Method Not Allowed", text, false},
		{"HEAD", "/version", 405, "", text, false},
		{"OPTIONS", "/health", 200, "", "", false},
	}
	for _, c := range cases {
		for _, base := range []string{n.URL(), "http://" + metrics} {
			if base != n.URL() && !c.both {
				continue
			}
			t.Run(fmt.Sprintf("%s %s on %v", c.method, c.path, base == n.URL()), func(t *testing.T) {
				got := ask(t, c.method, base+c.path)
				if got.code != c.code || sortedLines(got.body) != c.body {
					t.Errorf("got %d %q, want %d %q", got.code, got.body, c.code, c.body)
				}
				if kind := got.header.Get("Content-Type"); kind != c.kind {
					t.Errorf("the content type is %q, want %q", kind, c.kind)
				}
				if allow := got.header.Get("Allow"); c.code == 405 && allow != "GET" {
					t.Errorf("Allow is %q", allow)
				}
			})
		}
	}
	t.Run("details", func(t *testing.T) { httpDetails(t, n, metrics) })
}

func httpDetails(t *testing.T, n *harness.Node, metrics string) {
	if got := ask(t, "GET", n.URL()+"/health"); strings.HasSuffix(got.body, "\n") {
		t.Error("the health answer ends with a newline")
	}
	if got := ask(t, "GET", n.URL()+"/readyz"); got.body != "ok\n" || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("readyz: %q, headers %v", got.body, got.header)
	}
	version := ask(t, "GET", n.URL()+"/version")
	var v map[string]string
	if err := json.Unmarshal([]byte(version.body), &v); err != nil {
		t.Fatalf("version %q: %v", version.body, err)
	}
	plain := regexp.MustCompile(`^3\.7\.\d+$`)
	for _, key := range []string{"etcdserver", "etcdcluster", "storage"} {
		// Kubernetes parses these; a suffix of ours would break it.
		if !plain.MatchString(v[key]) {
			t.Errorf("version %s is %q, want a plain 3.7", key, v[key])
		}
	}
	if kind := version.header.Get("Content-Type"); kind != "application/json" || len(v) != 3 {
		t.Errorf("version is %q with %v", kind, v)
	}
	if got := ask(t, "GET", "http://"+metrics+"/version"); got.code != 404 {
		t.Errorf("the metrics port answers /version with %d", got.code)
	}
	cors := ask(t, "GET", n.URL()+"/health", "Origin", "http://example.com")
	if got := cors.header.Get("Access-Control-Allow-Origin"); got != "*" {
		t.Errorf("Access-Control-Allow-Origin is %q", got)
	}
	if got := cors.header.Get("Access-Control-Allow-Methods"); got != "POST, GET, OPTIONS, PUT, DELETE" {
		t.Errorf("Access-Control-Allow-Methods is %q", got)
	}
	if got := cors.header.Get("Access-Control-Allow-Headers"); got != "accept, content-type, authorization" {
		t.Errorf("Access-Control-Allow-Headers is %q", got)
	}
	vars := ask(t, "GET", n.URL()+"/debug/vars")
	var expvar map[string]any
	if err := json.Unmarshal([]byte(vars.body), &expvar); vars.code != 200 || err != nil || expvar["raft.status"] == nil || expvar["memstats"] == nil {
		t.Errorf("debug/vars: %d, %v, %d fields", vars.code, err, len(expvar))
	}
	if got := ask(t, "GET", n.URL()+"/debug/pprof/cmdline"); got.code != 404 {
		t.Errorf("profiles are served without being asked for: %d", got.code)
	}
}

// TestHTTPHostsAndPortsCanBeRestricted checks --host-whitelist, --cors, --listen-client-http-urls and --enable-pprof.
func TestHTTPHostsAndPortsCanBeRestricted(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{Args: []string{"--host-whitelist", "good.example,127.0.0.1", "--cors", "http://good.example:80", "--enable-pprof"}})
	if got := ask(t, "GET", n.URL()+"/health", "Host", "good.example"); got.code != 200 {
		t.Errorf("a listed host: %d", got.code)
	}
	bad := ask(t, "GET", n.URL()+"/health", "Host", "evil.example")
	if bad.code != http.StatusMisdirectedRequest || !strings.HasPrefix(bad.body, "\netcd received your request, but the Host header was unrecognized.") {
		t.Errorf("another host: %d %q", bad.code, bad.body)
	}
	if got := ask(t, "GET", n.URL()+"/health", "Origin", "http://good.example:80").header.Get("Access-Control-Allow-Origin"); got != "http://good.example:80" {
		t.Errorf("a listed origin gets %q", got)
	}
	if got := ask(t, "GET", n.URL()+"/health", "Origin", "http://evil.example").header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("another origin gets %q", got)
	}
	if got := ask(t, "GET", n.URL()+"/debug/pprof/cmdline"); got.code != 200 || !strings.Contains(got.body, "enable-pprof") {
		t.Errorf("profiles: %d %q", got.code, got.body)
	}
}

// TestHTTPAndGRPCShareThePort talks both protocols to one port at the same time.
func TestHTTPAndGRPCShareThePort(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client(t)
	ctx := harness.Ctx(t)
	var group sync.WaitGroup
	group.Go(func() {
		for i := range 200 {
			if _, err := c.Put(ctx, fmt.Sprintf("k%d", i), "v"); err != nil {
				t.Errorf("put: %v", err)
				return
			}
		}
	})
	group.Go(func() {
		client := http.Client{Timeout: 10 * time.Second}
		for range 200 {
			resp, err := client.Get(n.URL() + "/health")
			if err != nil {
				t.Errorf("health: %v", err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("health: %d", resp.StatusCode)
			}
		}
	})
	group.Wait()
	if r := must(c.Get(ctx, "k", clientv3.WithPrefix(), clientv3.WithCountOnly()))(t); r.Count != 200 {
		t.Errorf("%d keys", r.Count)
	}
	// A path of gRPC asked in HTTP/1 is just an unknown path.
	if got := ask(t, "POST", n.URL()+"/etcdserverpb.KV/Range", "Content-Type", "application/grpc"); got.code != 404 {
		t.Errorf("a gRPC path over HTTP/1: %d %q", got.code, got.body)
	}
}
