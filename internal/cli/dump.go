package cli

import (
	"errors"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"github.com/keelson-db/keelson/internal/dump"
)

// Where a server keeps what, below its data directory.
const (
	defaultDataDir = "default.keelson"
	logDir         = "log"
	stateDir       = "state"
)

func dumpCommand() *cobra.Command {
	var dataDir, walDir string
	d := dump.Dump{FS: vfs.Default}
	c := &cobra.Command{
		Use:       "dump [log|state]",
		Short:     "Print what a server's files hold: the raft log, the tables of the state, or both",
		Example:   "  keelson dump --data-dir default.keelson log",
		ValidArgs: []string{"log", "state"},
		Args:      arguments(0, 1),
	}
	c.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "the server's data directory")
	c.Flags().StringVar(&walDir, "wal-dir", "", "the server's directory for the raft log, if it has one of its own")
	c.Flags().BoolVar(&d.Full, "full", false, "print keys and values whole")
	c.RunE = func(c *cobra.Command, args []string) error {
		d.W = c.OutOrStdout()
		if walDir == "" {
			walDir = filepath.Join(dataDir, logDir)
		}
		what := ""
		if len(args) == 1 {
			what = args[0]
		}
		return runDump(&d, what, dataDir, walDir)
	}
	return c
}

func runDump(d *dump.Dump, what, dataDir, walDir string) error {
	state := filepath.Join(dataDir, stateDir)
	var err error
	switch what {
	case "log":
		err = d.Log(walDir)
	case "state":
		err = d.State(state)
	case "":
		// The state of a running server cannot be read, its log can: what can be shown is shown.
		err = errors.Join(d.Log(walDir), d.State(state))
	default:
		return misuse("dump %q: it is log or state, or nothing for both", what)
	}
	if errors.Is(err, dump.ErrNothing) {
		return misuse("%w (it is %s by default)", err, defaultDataDir)
	}
	return err
}
