package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"
)

// Where a server keeps what, below its data directory.
const (
	defaultDataDir = "default.keelson"
	logDir         = "log"
	stateDir       = "state"
)

// shownBytes is how much of a key or value a dump shows unless all is asked for, in bytes.
const shownBytes = 60

// dump prints what a server wrote, for a person who wants to know.
type dump struct {
	fs   vfs.FS
	w    io.Writer
	full bool
}

func dumpCommand() *cobra.Command {
	var dataDir, walDir string
	d := dump{fs: vfs.Default}
	c := &cobra.Command{
		Use:       "dump [log|state]",
		Short:     "Print what a server's files hold: the raft log, the tables of the state, or both",
		Example:   "  keelson dump --data-dir default.keelson log",
		ValidArgs: []string{"log", "state"},
		Args:      arguments(0, 1),
	}
	c.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "the server's data directory")
	c.Flags().StringVar(&walDir, "wal-dir", "", "the server's directory for the raft log, if it has one of its own")
	c.Flags().BoolVar(&d.full, "full", false, "print keys and values whole")
	c.RunE = func(c *cobra.Command, args []string) error {
		d.w = c.OutOrStdout()
		if walDir == "" {
			walDir = filepath.Join(dataDir, logDir)
		}
		what := ""
		if len(args) == 1 {
			what = args[0]
		}
		return d.run(what, dataDir, walDir)
	}
	return c
}

func (d *dump) run(what, dataDir, walDir string) error {
	switch what {
	case "log":
		return d.log(walDir)
	case "state":
		return d.state(dataDir)
	case "":
		// The state of a running server cannot be read, its log can: what can be shown is shown.
		return errors.Join(d.log(walDir), d.state(dataDir))
	}
	return misuse("dump %q: it is log or state, or nothing for both", what)
}

// exists explains a directory that is not there.
func (d *dump) exists(dir, what string) error {
	_, err := d.fs.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return misuse("there is no %s in %s: say where the server keeps its data with --data-dir (it is %s by default)", what, dir, defaultDataDir)
	}
	if err != nil {
		return fmt.Errorf("look for the %s: %w", what, err)
	}
	return nil
}

func (d *dump) printf(format string, args ...any) error {
	if _, err := fmt.Fprintf(d.w, format, args...); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// text quotes bytes and cuts what is long.
func (d *dump) text(b []byte) string {
	if d.full || len(b) <= shownBytes {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%q... (%d bytes)", b[:shownBytes], len(b))
}
