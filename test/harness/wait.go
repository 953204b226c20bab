package harness

import (
	"fmt"
	"testing"
	"time"
)

// pollEvery is the pause between two looks at a condition.
const pollEvery = 10 * time.Millisecond

// Eventually looks at a condition until it holds, and fails the test with the last reason when the limit passes.
func Eventually(t testing.TB, limit time.Duration, what string, look func() error) {
	t.Helper()
	if err := Poll(limit, look); err != nil {
		t.Fatalf("%s: not within %v: %v", what, limit, err)
	}
}

// Poll is Eventually for callers that handle the failure themselves.
func Poll(limit time.Duration, look func() error) error {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := look()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("last seen: %w", err)
		}
		<-tick.C
	}
}
