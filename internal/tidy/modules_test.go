package tidy

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var requirement = regexp.MustCompile(`(?m)^(?:require )?\t?([a-z0-9.-]+\.[a-z]+/\S+) v\S+( // indirect)?$`)

// directRequirements returns the modules that the text of a go.mod requires for the product's own imports.
func directRequirements(gomod string) []string {
	var direct []string
	for _, m := range requirement.FindAllStringSubmatch(gomod, -1) {
		if m[2] == "" {
			direct = append(direct, m[1])
		}
	}
	return direct
}

// TestEveryDependencyHasAReason holds go.mod to the table in the decision record.
func TestEveryDependencyHasAReason(t *testing.T) {
	gomod, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	const record = "docs/adr/0006-dependencies.md"
	reasons, err := os.ReadFile(root + "/" + record)
	if err != nil {
		t.Fatal(err)
	}
	direct := directRequirements(string(gomod))
	if len(direct) < 5 {
		t.Fatalf("found only %v: the pattern no longer reads go.mod", direct)
	}
	for _, m := range direct {
		if !strings.Contains(string(reasons), "| `"+m+"` |") {
			t.Errorf("go.mod: %s has no row in %s: give the reason in one line, or do without the module", m, record)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(reasons), -1) {
		if strings.Contains(m[1], ".") && !strings.Contains(string(gomod), m[1]+" ") {
			t.Errorf("%s: %s is not in go.mod any more: take the row out", record, m[1])
		}
	}
}

// TestTheProductDoesNotContainEtcdsServer keeps etcd's server and tools where they belong, in test/go.mod.
func TestTheProductDoesNotContainEtcdsServer(t *testing.T) {
	gomod, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"go.etcd.io/etcd/server/", "go.etcd.io/etcd/etcdctl/", "go.etcd.io/etcd/etcdutl/", "go.etcd.io/etcd/v3"} {
		if strings.Contains(string(gomod), m) {
			t.Errorf("go.mod: %s came into the product's requirements: what needs a real etcd lives in test/", m)
		}
	}
}
