package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/keelson-db/keelson/internal/config"
)

// Exit codes, those of etcdctl where it has one for the case.
const (
	exitOK          = 0
	exitError       = 1
	exitConnection  = 2   // no server could be reached
	exitInterrupted = 5   // a watch ended before anybody asked
	exitArguments   = 128 // the command line makes no sense
)

// failure is an error with the exit code that belongs to it.
type failure struct {
	err  error
	code int
}

// Error returns the line to show.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns the error alone.
func (f *failure) Unwrap() error { return f.err }

// misuse is an error in the command line.
func misuse(format string, args ...any) error {
	return &failure{fmt.Errorf(format, args...), exitArguments}
}

// Knows reports whether a word on the command line is one of this package's commands, so that the binary can
// tell them from a server's flags.
func Knows(word string) bool {
	if word == "help" || word == "completion" {
		return true
	}
	for _, c := range newRoot(nil, nil, nil).Commands() {
		if c.Name() == word || c.HasAlias(word) {
			return true
		}
	}
	return false
}

// Main runs the command that args name, without the program's own name, and returns the exit code. An
// interrupt or a request to terminate ends it.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, args, stdin, stdout, stderr)
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot(stdin, stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "Error: %v\n", err)
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	return exitError
}

func newRoot(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "keelson",
		Short:         "Keelson is a key-value store that speaks etcd's v3 API",
		Long:          "Without a command keelson starts a server; \"keelson --help\" lists its flags. The commands:",
		SilenceErrors: true,
		SilenceUsage:  true,

		SuggestionsMinimumDistance: 2, // letters wrong at most
		Args:                       knownCommand,
		RunE:                       func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return misuse("%w\nSee \"%s --help\"", err, c.CommandPath())
	})
	root.AddCommand(putCommand(), getCommand(), delCommand(), watchCommand(), statusCommand(),
		memberCommand(), moveLeaderCommand(), joinCommand(), joinTokenCommand(), recoverCommand(), dumpCommand(), versionCommand())
	return root
}

// knownCommand is asked about words that are no command.
func knownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return misuse("there is no command %q%s\nSee \"keelson help\"", args[0], hint)
}

// arguments checks how many arguments a command was given, and says which it takes.
func arguments(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return misuse("wrong number of arguments: %q takes %s\nSee \"%s --help\"", c.Name(), c.Use, c.CommandPath())
		}
		return nil
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "keelson version: %s\nAPI version: %s (etcd)\n",
				config.ProductVersion(), config.APIVersion())
			return err
		},
	}
}
