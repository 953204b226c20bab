// Package cluster breaks clusters of started server processes in every way that is known to break them, while clients
// and watchers work on them and remember what they hear. It starts no goroutine outside tests. The server under test is
// Keelson; with KEELSON_TEST_SERVER=etcd the same scenarios run on a real etcd, which proves that they ask for what a sound
// cluster can do.
package cluster

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/keelson-db/keelson/test/harness"
)

// long makes the scenarios long: more rounds, more data. `make cluster` sets it.
var long = flag.Bool("long", false, "more rounds and more data")

func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		// Scenarios wait for elections most of the time, so more of them run at once than there are cores.
		_ = flag.Set("test.parallel", "5")
	}
	// A binary that does not build is reported once, not by every test.
	if _, err := harness.Build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// onKeelson says whether the server under test is the product of this repository.
func onKeelson() bool { return harness.Target() == harness.Keelson }

// rounds is a number for the everyday run and one for the long run.
func rounds(everyday, many int) int {
	if *long {
		return many
	}
	return everyday
}

// quick are flags with which members miss each other soon, so that a scenario takes seconds.
func quick() []string { return []string{"--heartbeat-interval", "50", "--election-timeout", "500"} }

// leaseTTL is the time to live of leases, in seconds; the servers make it at least 1.5 election timeouts.
const leaseTTL = 2
