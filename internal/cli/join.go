package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// joinWord is the command that the server answers: it takes the server's flags.
const joinWord = "join"

func joinCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "join ADDRESS... [server flags]",
		Short: "Start a server that joins a running cluster, asking the members at these peer addresses",
		Long: "Start a server that joins a running cluster. With an empty data directory it asks one of the members at these peer\n" +
			"addresses to take it in, fetches a copy of the state, and has a vote once it has caught up. With data it just starts.\n" +
			"All flags are the server's: \"keelson --help\" lists them. Over TLS it needs a token, which \"keelson join-token\" prints.",
		Example: "  keelson join 10.0.0.1:2380 --name n2 --listen-peer-urls http://10.0.0.2:2380 --initial-advertise-peer-urls http://10.0.0.2:2380",
		// The flags are not this package's, and the binary starts the server before it comes here.
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 || slices.Contains(args, "-h") || slices.Contains(args, "--help") {
				return c.Help()
			}
			return misuse("\"keelson join\" takes the ADDRESS of a member first, and flags after it\nSee \"keelson join --help\"")
		},
	}
}

// Joins tells whether a command line is one of "keelson join", and returns the server's flags that it stands for. It is
// help that is asked for where there are no addresses.
func Joins(args []string) (flags []string, ok bool) {
	if len(args) < 2 || args[0] != joinWord || strings.HasPrefix(args[1], "-") {
		return nil, false
	}
	end := 2 // of the addresses
	for end < len(args) && !strings.HasPrefix(args[end], "-") {
		end++
	}
	return append([]string{"--join=" + strings.Join(args[1:end], ",")}, args[end:]...), true
}
