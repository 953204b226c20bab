package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// getFlags are the flags of get.
type getFlags struct {
	span
	limit, rev      int64
	keysOnly, count bool
	sortBy, order   string
	consistency     string
	valuesOnly      bool
}

func getCommand() *cobra.Command {
	var g getFlags
	c := &cobra.Command{
		Use:     "get KEY [END]",
		Short:   "Print keys and values",
		Example: "  keelson get greeting\n  keelson get /app/ --prefix --keys-only\n  keelson get \"\" --prefix --count-only",
		Args:    arguments(1, 2),
	}
	g.flags(c)
	f := c.Flags()
	f.Int64Var(&g.limit, "limit", 0, "print at most so many keys; 0 for all")
	f.Int64Var(&g.rev, "rev", 0, "as of this revision; 0 for now")
	f.BoolVar(&g.keysOnly, "keys-only", false, "print no values")
	f.BoolVar(&g.count, "count-only", false, "print only how many keys there are")
	f.BoolVar(&g.valuesOnly, "print-value-only", false, "print no keys (simple format)")
	f.StringVar(&g.sortBy, "sort-by", "", "order by key, version, create, modify or value")
	f.StringVar(&g.order, "order", "", "ascend or descend")
	f.StringVar(&g.consistency, "consistency", "l", "l reads the newest there is, s what the asked server has")
	return connected(c, func(ctx context.Context, x *connection, args []string) error {
		key, opts, err := g.options(args)
		if err != nil {
			return err
		}
		ctx, cancel, err := x.request(ctx)
		if err != nil {
			return err
		}
		defer cancel()
		r, err := x.client.Get(ctx, key, opts...)
		if err != nil {
			return err
		}
		return x.out.get(r, shown{count: g.count, keys: g.keysOnly, values: g.valuesOnly})
	})
}

func (g *getFlags) options(args []string) (key string, opts []clientv3.OpOption, err error) {
	if key, opts, err = g.span.options(args); err != nil {
		return "", nil, err
	}
	if g.limit < 0 || g.rev < 0 {
		return "", nil, misuse("--limit and --rev are not negative")
	}
	if g.count && g.keysOnly || g.valuesOnly && (g.count || g.keysOnly) {
		return "", nil, misuse("--keys-only, --count-only and --print-value-only do not go together")
	}
	opts = append(opts, clientv3.WithLimit(g.limit), clientv3.WithRev(g.rev))
	if g.keysOnly {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	if g.count {
		opts = append(opts, clientv3.WithCountOnly())
	}
	switch g.consistency {
	case "l":
	case "s":
		opts = append(opts, clientv3.WithSerializable())
	default:
		return "", nil, misuse("--consistency %q: it is l or s", g.consistency)
	}
	target, order, err := g.sorting()
	if err != nil {
		return "", nil, err
	}
	return key, append(opts, clientv3.WithSort(target, order)), nil
}

func (g *getFlags) sorting() (target clientv3.SortTarget, order clientv3.SortOrder, err error) {
	switch strings.ToLower(g.sortBy) {
	case "", "key":
	case "version":
		target = clientv3.SortByVersion
	case "create":
		target = clientv3.SortByCreateRevision
	case "modify":
		target = clientv3.SortByModRevision
	case "value":
		target = clientv3.SortByValue
	default:
		return 0, 0, misuse("--sort-by %q: it is key, version, create, modify or value", g.sortBy)
	}
	switch strings.ToLower(g.order) {
	case "":
		if target != clientv3.SortByKey {
			order = clientv3.SortAscend
		}
	case "ascend":
		order = clientv3.SortAscend
	case "descend":
		order = clientv3.SortDescend
	default:
		return 0, 0, misuse("--order %q: it is ascend or descend", g.order)
	}
	return target, order, nil
}
