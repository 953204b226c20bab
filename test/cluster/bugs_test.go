package cluster

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryBugHasItsGuard wants every test and story that docs/bugs.md names to exist.
func TestEveryBugHasItsGuard(t *testing.T) {
	page, err := os.ReadFile("../../docs/bugs.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (\w+)\(`)
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			tests[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Check)\\w+)`").FindAllStringSubmatch(string(page), -1)
	for _, m := range named {
		if !tests[m[1]] {
			t.Errorf("docs/bugs.md names %s, which is not there", m[1])
		}
	}
	stories := regexp.MustCompile("stories((?:,? `[a-z_]+`)+)").FindAllStringSubmatch(string(page), -1)
	for _, m := range stories {
		for name := range strings.FieldsSeq(strings.NewReplacer("`", " ", ",", " ").Replace(m[1])) {
			if _, err := os.Stat("../compat/testdata/" + name + ".txt"); err != nil {
				t.Errorf("docs/bugs.md names the stories %s: %v", name, err)
			}
		}
	}
	if rows := strings.Count(string(page), "\n| #"); rows < 20 || len(named) < 30 || len(stories) < 3 {
		t.Errorf("only %d rows, %d tests and %d stories were read", rows, len(named), len(stories))
	}
}
