package tidy

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"testing"
)

// word is something that no file of the repository may say.
type word struct {
	pattern *regexp.Regexp
	advice  string
}

// words are written in pieces, so that this file does not say them either.
func words() []word {
	return []word{
		{regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`),
			"marks unfinished work: finish it, or open an issue and take the mark out"},
		{regexp.MustCompile(`(^|[\s"'(=:` + "`" + `])/(wo` + `rk|ro` + `ot|ho` + `me/\w+|tmp/kee` + `lson)/`),
			"names a path of one machine: nobody else has it"},
		{regexp.MustCompile(`(?i)\b(LL` + `M|chat` + `gpt|clau` + `de|copi` + `lot|language mo` + `del|sub` + `agent|AI[- ]?(gener` + `ated|ass` + `istant|ag` + `ent)s?)\b`),
			"talks about how the text came to be: the repository speaks of the product alone"},
	}
}

// checkWords returns a finding for every line that says what it may not.
func checkWords(name, text string) []string {
	var findings []string
	for _, w := range words() {
		if !w.pattern.MatchString(text) {
			continue
		}
		for i, line := range strings.Split(text, "\n") {
			if said := w.pattern.FindString(line); said != "" {
				findings = append(findings, fmt.Sprintf("%s:%d: %q %s", name, i+1, strings.TrimSpace(said), w.advice))
			}
		}
	}
	return findings
}

// TestEveryFileSpeaksOfTheProduct reads all text of the repository, code, docs and test data.
func TestEveryFileSpeaksOfTheProduct(t *testing.T) {
	var findings []string
	err := walk(func(name, text string) error {
		// Checksums say anything, and so does what a fuzzer found.
		if path.Base(name) != "go.sum" && !strings.Contains(name, "testdata/fuzz/") {
			findings = append(findings, checkWords(name, text)...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	report(t, findings)
}

// TestWordsNotice says every forbidden kind of word once, and some that only look like one.
func TestWordsNotice(t *testing.T) {
	for _, line := range []string{"// TO" + "DO: later", `path := "/wo` + `rk/x"`, "see /ro" + "ot/x", "an AI ag" + "ent"} {
		if got := checkWords("a.go", line); len(got) != 1 {
			t.Errorf("%q gives %d findings, want 1", line, len(got))
		}
	}
	for _, line := range []string{"a session of clientv3", "prompts for the password", "/registry/work/x", "https://a.example/work/"} {
		if got := checkWords("a.go", line); len(got) != 0 {
			t.Errorf("%q gives %v, want nothing", line, got)
		}
	}
}
