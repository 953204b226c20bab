package compat

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/grpc"

	"github.com/keelson-db/keelson/test/harness"
)

const (
	// quietFor is how long nothing may arrive for it to count as nothing; etcd's catch-up pass is 100 ms.
	quietFor = 250 * time.Millisecond
	// settleLimit bounds the repetitions of an `eventually`.
	settleLimit = 15 * time.Second
	// settleForRewrite is how long an `eventually` waits for the old answer before a rewrite takes the new one.
	settleForRewrite = 5 * time.Second
)

// TestStories plays the scripts in testdata, each against a fresh server of its own, and compares every answer.
// docs/testing.md says how a story is written. A real etcd writes the answers:
//
//	KEELSON_TEST_SERVER=etcd go test ./compat -run Stories/NAME -rewrite
//
// A step with only=etcd or only=keelson is played to that server alone; next to it stands why. Keelson writes the
// answers of its own such steps, and no others.
func TestStories(t *testing.T) {
	for _, path := range storyPaths(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			play(t, path)
		})
	}
}

func storyPaths(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	return paths
}

func play(t *testing.T, path string) {
	t.Helper()
	s := newTeller(t)
	datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
		t.Helper()
		return s.step(t, d)
	})
	if len(s.differences) > 0 {
		t.Errorf("%d steps differ:\n\n%s", len(s.differences), strings.Join(s.differences, "\n"))
	}
}

// teller plays one story.
type teller struct {
	dir     string // files of the story
	flags   []string
	node    *harness.Node
	conn    *grpc.ClientConn
	ids     *strings.Replacer // what the story calls by name, from text to name
	names   *strings.Replacer // the other way round
	watches map[string]*harness.WatchStream
	talks   map[string]*talk
	tokens  map[string]string

	differences []string
}

func newTeller(t *testing.T) *teller {
	t.Helper()
	return &teller{
		dir: t.TempDir(), watches: map[string]*harness.WatchStream{}, talks: map[string]*talk{}, tokens: map[string]string{},
	}
}

// step plays one step. A wrong answer is noted and the story goes on: one run shows all differences.
func (s *teller) step(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var only string
	if d.MaybeScanArgs(t, "only", &only) && only != string(harness.Target()) {
		return d.Expected
	}
	got := s.tell(t, d)
	if got != "" && !strings.HasSuffix(got, "\n") {
		got += "\n"
	}
	if got == d.Expected || d.Rewrite && (harness.Target() == harness.Etcd || only == string(harness.Keelson)) {
		return got
	}
	s.differences = append(s.differences, difference(d, got))
	return d.Expected
}

// difference shows a step and the lines of its answer that are not as expected, beside the requests that brought them.
func difference(d *datadriven.TestData, got string) string {
	want, have, asked := lines(d.Expected), lines(got), lines(d.Input)
	var out strings.Builder
	fmt.Fprintf(&out, "%s: %s\n", d.Pos, d.FullCmd())
	for i := range max(len(want), len(have)) {
		w, h := at(want, i), at(have, i)
		if w == h {
			continue
		}
		if len(asked) == max(len(want), len(have)) {
			fmt.Fprintf(&out, "    %s\n", asked[i])
		}
		fmt.Fprintf(&out, "      etcd  %s\n      here  %s\n", w, h)
	}
	return out.String()
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "(nothing)"
}

func (s *teller) tell(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	switch d.Cmd {
	case "file":
		return s.file(t, d)
	case "server":
		s.flags = strings.Fields(strings.ReplaceAll(d.Input, "$dir", s.dir))
		s.start(t)
		return ""
	case "jwt":
		return s.jwt(t, d)
	}
	if s.node == nil {
		s.start(t)
	}
	switch d.Cmd {
	case "do":
		return s.do(t, d)
	case "eventually":
		return s.eventually(t, d)
	case "login":
		return s.login(t, d)
	case "watch", "recv", "events", "quiet":
		return s.tellWatch(t, d)
	case "keepalive":
		return s.keepAlive(t, d)
	case "begin", "say", "hear", "silent", "hangup":
		return s.tellTalk(t, d)
	case "snapshot":
		return s.snapshot(t, d)
	case "json":
		return s.json(t, d)
	case "http":
		return s.http(t, d)
	case "fill":
		return s.fill(t, d)
	case "big":
		return s.big(t, d)
	case "wait":
		var ms int
		d.ScanArgs(t, "ms", &ms)
		<-time.After(time.Duration(ms) * time.Millisecond)
		return ""
	case "second":
		now := time.Now()
		<-time.After(now.Truncate(time.Second).Add(time.Second).Sub(now))
		return ""
	case "restart":
		s.restart(t)
		return ""
	default:
		t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
		return ""
	}
}

// eventually repeats a `do` or, with json, a `json` until the answers are the expected ones.
func (s *teller) eventually(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	ask := s.do
	if d.HasArg("json") {
		ask = s.json
	}
	limit := settleLimit
	if d.Rewrite {
		limit = settleForRewrite
	}
	var got string
	_ = harness.Poll(limit, func() error {
		if got = ask(t, d); got != d.Expected {
			return fmt.Errorf("other answers")
		}
		return nil
	})
	return got
}

func (s *teller) file(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var name string
	d.ScanArgs(t, "name", &name)
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(d.Input+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return ""
}

func (s *teller) start(t *testing.T) {
	t.Helper()
	if s.node != nil {
		t.Fatal("a story has one server, started by its first step")
	}
	s.node = harness.Start(t, harness.Options{Args: s.flags, QuietLog: true})
	s.conn = s.node.Conn(t)
	s.learnNames(t)
}

func (s *teller) restart(t *testing.T) {
	t.Helper()
	s.watches = map[string]*harness.WatchStream{}
	s.node.Kill9(t)
	s.node.Launch(t)
	// An alarm that outlived the restart makes the health false for good, so the node is ready when it knows its leader.
	harness.Eventually(t, settleLimit, "the node is back", func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.node.URL()+"/health", nil)
		if err != nil {
			return err
		}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK && !strings.Contains(string(body), "ALARM") {
			return fmt.Errorf("%s", body)
		}
		return err
	})
}
