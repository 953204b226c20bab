package compat

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/keelson-db/keelson/test/harness"
)

// json posts each line, a path and a body, to the JSON gateway and writes the status and the answer's content.
// Clients must not match bytes: the gateway puts spaces at random, so an answer is compared by what it says.
func (s *teller) json(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(d.Input) {
		path, body, _ := strings.Cut(strings.TrimSpace(line), " ")
		code, _, text := s.ask(t, d, http.MethodPost, path, s.names.Replace(body))
		fmt.Fprintf(&out, "%d %s\n", code, plainJSON(text))
	}
	return s.named(out.String())
}

// http makes each request, a method and a path, and writes status, content type and body.
func (s *teller) http(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(d.Input) {
		method, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		path, body, _ := strings.Cut(rest, " ")
		code, header, text := s.ask(t, d, method, path, body)
		fmt.Fprintf(&out, "%d %s", code, header.Get("Content-Type"))
		var show []string
		d.MaybeScanArgs(t, "show", &show)
		for _, name := range show {
			fmt.Fprintf(&out, " [%s: %s]", name, header.Get(name))
		}
		rows := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		switch {
		case strings.HasPrefix(path, "/livez"), strings.HasPrefix(path, "/readyz"):
			// The checks come in random order.
			slices.Sort(rows)
		case strings.HasPrefix(path, "/v3"):
			rows = []string{plainJSON(text)}
		}
		if d.HasArg("status") {
			rows = strings.SplitN(strings.TrimSpace(text), "\n", 2)[:1]
		}
		out.WriteString(" | " + strings.Join(rows, " | ") + "\n")
	}
	return s.named(out.String())
}

func (s *teller) ask(t *testing.T, d *datadriven.TestData, method, path, body string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(harness.Ctx(t), method, s.node.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	s.headers(t, d, req)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read the answer of %s: %v", path, err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// headers sets what a step says: token=NAME as Authorization, header=Name:value for one more, with _ for a space.
func (s *teller) headers(t *testing.T, d *datadriven.TestData, req *http.Request) {
	t.Helper()
	var token, pair string
	if d.MaybeScanArgs(t, "token", &token) {
		req.Header.Set("Authorization", s.token(token))
	}
	if d.MaybeScanArgs(t, "bearer", &token) {
		req.Header.Set("Authorization", "Bearer "+s.token(token))
	}
	if d.MaybeScanArgs(t, "header", &pair) {
		name, value, _ := strings.Cut(pair, ":")
		value = strings.ReplaceAll(value, "_", " ")
		req.Header.Set(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
}

// plainJSON writes JSON in one line, sorted, without what differs from run to run; other text stays as it is.
func plainJSON(text string) string {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil || dec.More() {
		return strings.TrimSpace(strings.ReplaceAll(text, "\u00a0", " "))
	}
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(plain("", v)); err != nil {
		return text
	}
	return strings.TrimSpace(out.String())
}

// varyingJSON names the fields of which an answer shows only the kind.
var varyingJSON = map[string]bool{
	"raft_term": true, "dbSize": true, "dbSizeInUse": true, "raftIndex": true, "raftTerm": true, "raftAppliedIndex": true,
	"storageVersion": true, "token": true,
}

func plain(name string, v any) any {
	if varyingJSON[name] {
		return fmt.Sprintf("<%T>", v)
	}
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			v[k] = plain(k, inner)
		}
		if v["hash"] != nil && v["hash_revision"] == nil {
			v["hash"] = fmt.Sprintf("<%T>", v["hash"])
		}
		if granted, ok := v["grantedTTL"].(string); ok && v["TTL"] != nil && granted != "0" {
			v["TTL"] = fmt.Sprintf("<%T>", v["TTL"])
		}
		return v
	case []any:
		for i := range v {
			v[i] = plain(name, v[i])
		}
		if name == "alarms" || name == "keys" || name == "errors" {
			slices.SortFunc(v, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
		return v
	case string:
		// protojson puts a no-break space into its messages at random.
		return strings.ReplaceAll(strings.ReplaceAll(v, "\u00a0", " "), "  ", " ")
	default:
		return v
	}
}
