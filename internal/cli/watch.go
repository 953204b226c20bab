package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func watchCommand() *cobra.Command {
	var s span
	var rev int64
	var prev bool
	c := &cobra.Command{
		Use:     "watch KEY [END]",
		Short:   "Print changes as they happen, until interrupted",
		Example: "  keelson watch greeting\n  keelson watch /app/ --prefix --rev 1 -o json",
		Args:    arguments(1, 2),
	}
	s.flags(c)
	c.Flags().Int64Var(&rev, "rev", 0, "begin with this revision; 0 for what comes next")
	c.Flags().BoolVar(&prev, "prev-kv", false, "also print what was there before")
	return connected(c, func(ctx context.Context, x *connection, args []string) error {
		key, opts, err := s.options(args)
		if err != nil {
			return err
		}
		if rev < 0 {
			return misuse("--rev is not negative")
		}
		// A watch waits for ever for a server to appear; at a terminal it is better to say so.
		if err := x.unreachable(); err != nil {
			return err
		}
		opts = append(opts, clientv3.WithRev(rev))
		if prev {
			opts = append(opts, clientv3.WithPrevKV())
		}
		return x.watch(ctx, key, opts)
	})
}

func (x *connection) watch(ctx context.Context, key string, opts []clientv3.OpOption) error {
	for r := range x.client.Watch(ctx, key, opts...) {
		if err := r.Err(); err != nil {
			return watchEnd(r.CompactRevision, err)
		}
		if err := x.out.watch(&r); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil // the user asked for the end
	}
	return &failure{errors.New("the watch ended without a reason"), exitInterrupted}
}

func watchEnd(compacted int64, err error) error {
	if errors.Is(err, rpctypes.ErrCompacted) {
		err = fmt.Errorf("%w: changes before revision %d are gone; begin with --rev %d, or without --rev after a get",
			err, compacted, compacted)
	}
	return &failure{fmt.Errorf("the server ended the watch: %w", err), exitInterrupted}
}
