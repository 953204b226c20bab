package cli

import (
	"context"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func delCommand() *cobra.Command {
	var s span
	var prev bool
	c := &cobra.Command{
		Use:     "del KEY [END]",
		Short:   "Delete keys and print how many there were",
		Example: "  keelson del greeting\n  keelson del /app/ --prefix --prev-kv",
		Args:    arguments(1, 2),
	}
	s.flags(c)
	c.Flags().BoolVar(&prev, "prev-kv", false, "also print what was deleted")
	return connected(c, func(ctx context.Context, x *connection, args []string) error {
		key, opts, err := s.options(args)
		if err != nil {
			return err
		}
		if prev {
			opts = append(opts, clientv3.WithPrevKV())
		}
		ctx, cancel, err := x.request(ctx)
		if err != nil {
			return err
		}
		defer cancel()
		r, err := x.client.Delete(ctx, key, opts...)
		if err != nil {
			return err
		}
		return x.out.del(r)
	})
}
