package invariant

import (
	"strings"
	"testing"
)

func TestCheckPassesWhileThePromiseHolds(t *testing.T) {
	Check(true, "this is never printed")
}

func TestCheckPanicsWithItsSentence(t *testing.T) {
	defer func() {
		got, ok := recover().(string)
		if !ok || !strings.Contains(got, "the tail only grows") {
			t.Fatalf("recovered %q, want a string that holds the sentence", got)
		}
	}()
	Check(false, "the tail only grows")
}
