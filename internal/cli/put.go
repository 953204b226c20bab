package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/term"
)

// maxValueBytes bounds a value read from standard input, in bytes. A server takes far less; the bound is
// there so that a wrong pipe does not fill the memory.
const maxValueBytes = 256 << 20

func putCommand() *cobra.Command {
	var prev bool
	var leaseID string
	c := &cobra.Command{
		Use:     "put KEY [VALUE]",
		Short:   "Store a value; without VALUE, or with -, it is read from standard input",
		Example: "  keelson put greeting hello\n  keelson put config - < config.yaml",
		Args:    arguments(1, 2),
	}
	c.Flags().BoolVar(&prev, "prev-kv", false, "also print what was there before")
	c.Flags().StringVar(&leaseID, "lease", "0", "lease to attach the key to, in hexadecimal")
	return connected(c, func(ctx context.Context, x *connection, args []string) error {
		if args[0] == "" {
			return misuse("an empty KEY")
		}
		id, err := strconv.ParseInt(leaseID, 16, 64)
		if err != nil {
			return misuse("--lease %q is no hexadecimal number", leaseID)
		}
		value, err := valueOf(args, c.InOrStdin(), c.ErrOrStderr())
		if err != nil {
			return err
		}
		opts := []clientv3.OpOption{clientv3.WithLease(clientv3.LeaseID(id))}
		if prev {
			opts = append(opts, clientv3.WithPrevKV())
		}
		ctx, cancel, err := x.request(ctx)
		if err != nil {
			return err
		}
		defer cancel()
		r, err := x.client.Put(ctx, args[0], value, opts...)
		if err != nil {
			return err
		}
		return x.out.put(r)
	})
}

func valueOf(args []string, stdin io.Reader, stderr io.Writer) (string, error) {
	if len(args) == 2 && args[1] != "-" {
		return args[1], nil
	}
	if f, ok := stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintln(stderr, "Type the value; Ctrl-D on an empty line ends it.")
	}
	b, err := io.ReadAll(io.LimitReader(stdin, maxValueBytes+1))
	if err != nil {
		return "", fmt.Errorf("read the value from standard input: %w", err)
	}
	if len(b) > maxValueBytes {
		return "", errors.New("read the value from standard input: it is larger than any server takes")
	}
	return string(b), nil
}
