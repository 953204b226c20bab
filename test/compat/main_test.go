// Package compat proves that Keelson answers as etcd does: stories whose answers a real etcd wrote, and random
// histories played to both. Goroutines: one per open stream of a story. The server under test is Keelson;
// KEELSON_TEST_SERVER=etcd puts the real etcd to the same test. `make compat` does both.
package compat

import (
	"fmt"
	"os"
	"testing"

	"github.com/keelson-db/keelson/test/harness"
)

func TestMain(m *testing.M) {
	// A binary that does not build is reported once, not by every story.
	if _, err := harness.Build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
