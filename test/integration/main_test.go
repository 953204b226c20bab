// Package integration drives a started server binary with stock clients and bare sockets, as its users and its
// enemies do. It starts no goroutine outside tests. The server under test is Keelson; with
// KEELSON_TEST_SERVER=etcd the same tests run against a real etcd, which proves that they describe etcd. Where the
// right answer is Keelson's own, the test says so.
package integration

import (
	"fmt"
	"os"
	"testing"

	"github.com/keelson-db/keelson/test/harness"
)

func TestMain(m *testing.M) {
	// A binary that does not build is reported once, not by every test.
	if _, err := harness.Build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// onKeelson says whether the server under test is the product of this repository.
func onKeelson() bool { return harness.Target() == harness.Keelson }

// keelsonOnly skips tests whose expectation is Keelson's own.
func keelsonOnly(t *testing.T, why string) {
	t.Helper()
	if !onKeelson() {
		t.Skip("only Keelson answers so: " + why)
	}
}
