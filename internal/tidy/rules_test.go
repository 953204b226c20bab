package tidy

import (
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestRulesNotice tells broken sources to the rules; testdata/rules.txt says what they must answer. A line
// "-- path --" begins a file, and the argument names the rule.
func TestRulesNotice(t *testing.T) {
	datadriven.RunTest(t, "testdata/rules.txt", func(t *testing.T, d *datadriven.TestData) string {
		i := slices.IndexFunc(rules(), func(r rule) bool { return strings.ReplaceAll(r.name, " ", "-") == d.Cmd })
		if i < 0 {
			d.Fatalf(t, "no rule is called %q", d.Cmd)
		}
		var files []*source
		for _, part := range strings.Split("\n"+d.Input, "\n-- ")[1:] {
			name, text, _ := strings.Cut(part, " --\n")
			s, err := parse(name, text)
			if err != nil {
				d.Fatalf(t, "parse %s: %v", name, err)
			}
			files = append(files, s)
		}
		findings := rules()[i].check(files)
		if len(findings) == 0 {
			return "fine\n"
		}
		slices.Sort(findings)
		return strings.Join(findings, "\n") + "\n"
	})
}
