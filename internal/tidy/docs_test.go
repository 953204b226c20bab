package tidy

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/metrics"
)

// page is a Markdown file.
type page struct{ name, text string }

func readPages(t *testing.T) map[string]page {
	t.Helper()
	pages := map[string]page{}
	err := walk(func(name, text string) error {
		if path.Ext(name) == ".md" {
			pages[name] = page{name, text}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) == 0 {
		t.Fatal("there are no pages")
	}
	return pages
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	fence   = regexp.MustCompile("(?ms)^```.*?^```")
	noise   = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the names by which links reach the headings of a page.
func anchors(p page) []string {
	var list []string
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(p.text, ""), -1) {
		list = append(list, strings.ReplaceAll(noise.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return list
}

// deadLinks returns a finding for every link of a page that leads nowhere inside the repository.
func deadLinks(p page, pages map[string]page, exists func(string) bool) []string {
	var findings []string
	for i, line := range strings.Split(p.text, "\n") {
		for _, m := range link.FindAllStringSubmatch(line, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			target := p.name
			if file != "" {
				target = path.Join(path.Dir(p.name), file)
			}
			switch {
			case !exists(target):
				findings = append(findings, fmt.Sprintf("%s:%d: the link %s leads nowhere: mend it or write the page", p.name, i+1, m[1]))
			case anchor != "" && !slices.Contains(anchors(pages[target]), anchor):
				findings = append(findings, fmt.Sprintf("%s:%d: %s has no heading for #%s", p.name, i+1, target, anchor))
			}
		}
	}
	return findings
}

// TestLinksLeadSomewhere follows every link from page to page.
func TestLinksLeadSomewhere(t *testing.T) {
	pages := readPages(t)
	exists := func(name string) bool {
		_, err := os.Stat(root + "/" + name)
		return err == nil
	}
	for _, p := range pages {
		report(t, deadLinks(p, pages, exists))
	}
}

// TestDeadLinksAreNoticed follows links of pages that are made up.
func TestDeadLinksAreNoticed(t *testing.T) {
	pages := map[string]page{"a.md": {"a.md", "[x](docs/b.md#the-end) [y](docs/c.md) [z](docs/b.md#no) [w](https://x.example/)"},
		"docs/b.md": {"docs/b.md", "# The end!\n```\n# no\n```\n"}}
	got := deadLinks(pages["a.md"], pages, func(n string) bool { _, ok := pages[n]; return ok })
	want := []string{"a.md:1: the link docs/c.md leads nowhere: mend it or write the page", "a.md:1: docs/b.md has no heading for #no"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestTheReadmeIsShort keeps the first page one that people read.
func TestTheReadmeIsShort(t *testing.T) {
	const wall = 150 // lines
	if lines := strings.Count(readPages(t)["README.md"].text, "\n"); lines > wall {
		t.Errorf("README.md: %d lines, the wall is %d: move the rest into docs/", lines, wall)
	}
}

// TestNamedTargetsExist wants every `make x` that a page names to be in the Makefile.
func TestNamedTargetsExist(t *testing.T) {
	text, err := os.ReadFile(root + "/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)")
	for _, p := range readPages(t) {
		for _, m := range named.FindAllStringSubmatch(p.text, -1) {
			if !strings.Contains(string(text), "\n"+m[1]+":") {
				t.Errorf("%s: `make %s` is not in the Makefile", p.name, m[1])
			}
		}
	}
}

var flagName = regexp.MustCompile(`(?m)(?:^|[\s` + "`" + `(])--([a-z][a-z0-9-]+)`)

// TestNamedFlagsExist wants every server flag that README and operations.md name to be one that the server
// or its client commands know.
func TestNamedFlagsExist(t *testing.T) {
	pages, known := readPages(t), config.FlagsText()
	var client strings.Builder
	err := walk(func(name, text string) error {
		if strings.HasPrefix(name, "internal/cli/") {
			client.WriteString(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "docs/operations.md"} {
		for _, m := range flagName.FindAllStringSubmatch(pages[name].text, -1) {
			if !strings.Contains(known, "--"+m[1]) && !strings.Contains(client.String(), `"`+m[1]+`"`) {
				t.Errorf("%s: nobody knows the flag --%s", name, m[1])
			}
		}
	}
}

// compatFlags are the sections of docs/compat.md in which a flag may stand, by the mark that the usage text
// gives it.
var compatFlags = map[string]string{"": "### Used", "[no effect]": "### Taken without effect", "[not built]": "### Refused when switched on"}

// TestCompatTellsEveryFlag wants every flag of etcd in the table of docs/compat.md that is true for it.
func TestCompatTellsEveryFlag(t *testing.T) {
	text := readPages(t)["docs/compat.md"].text
	section := func(title string) string {
		_, rest, ok := strings.Cut(text, title+"\n")
		if !ok {
			t.Fatalf("docs/compat.md has no section %q", title)
		}
		body, _, _ := strings.Cut(rest, "\n##")
		return body
	}
	flags := regexp.MustCompile(`(?m)^  --([a-z0-9-]+) .*\n.*?(\[no effect\]|\[not built\])?$`).FindAllStringSubmatch(config.FlagsText(), -1)
	if len(flags) < 100 {
		t.Fatalf("found only %d flags: the pattern no longer reads the usage text", len(flags))
	}
	for _, m := range flags {
		for mark, title := range compatFlags {
			if there := strings.Contains(section(title), "`"+m[1]+"`"); there != (mark == m[2]) {
				t.Errorf("docs/compat.md: the flag `%s` belongs under %q and nowhere else", m[1], compatFlags[m[2]])
			}
		}
	}
}

// TestCompatTellsEveryCall wants docs/compat.md to name every call of etcd's services.
func TestCompatTellsEveryCall(t *testing.T) {
	text := readPages(t)["docs/compat.md"].text
	for _, service := range []grpc.ServiceDesc{
		pb.KV_ServiceDesc, pb.Watch_ServiceDesc, pb.Lease_ServiceDesc,
		pb.Cluster_ServiceDesc, pb.Maintenance_ServiceDesc, pb.Auth_ServiceDesc,
	} {
		var calls []string
		for _, m := range service.Methods {
			calls = append(calls, m.MethodName)
		}
		for _, s := range service.Streams {
			calls = append(calls, s.StreamName)
		}
		for _, call := range calls {
			if !regexp.MustCompile(`\b` + call + `\b`).MatchString(text) {
				t.Errorf("docs/compat.md says nothing about the call %s.%s", service.ServiceName, call)
			}
		}
	}
}

// TestCompatTellsEveryMetric wants docs/compat.md to name every metric that a server has, apart from those
// that come with Go and Prometheus.
func TestCompatTellsEveryMetric(t *testing.T) {
	text := readPages(t)["docs/compat.md"].text
	descriptions := make(chan *prometheus.Desc)
	go func() {
		defer close(descriptions)
		metrics.New().Registry.Describe(descriptions)
	}()
	named := regexp.MustCompile(`fqName: "((?:etcd|grpc|os|keelson)_[^"]+)"`)
	count := 0
	for d := range descriptions {
		if m := named.FindStringSubmatch(d.String()); m != nil {
			count++
			if !strings.Contains(text, "`"+m[1]+"`") {
				t.Errorf("docs/compat.md says nothing about the metric %s", m[1])
			}
		}
	}
	if count < 80 {
		t.Errorf("found only %d metrics: the pattern no longer reads descriptions", count)
	}
}
