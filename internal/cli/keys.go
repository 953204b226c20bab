package cli

import (
	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// span is which keys a command is about.
type span struct {
	prefix, fromKey bool
}

func (s *span) flags(c *cobra.Command) {
	c.Flags().BoolVar(&s.prefix, "prefix", false, "all keys that begin with KEY")
	c.Flags().BoolVar(&s.fromKey, "from-key", false, "all keys at or after KEY")
}

// options returns the first key and what says where the keys end. The arguments are KEY and possibly END. An
// empty KEY is no key, but everything begins with it and comes after it.
func (s *span) options(args []string) (key string, opts []clientv3.OpOption, err error) {
	key = args[0]
	if s.prefix && s.fromKey {
		return "", nil, misuse("--prefix and --from-key do not go together")
	}
	if len(args) == 2 {
		if s.prefix || s.fromKey {
			return "", nil, misuse("a range END does not go together with --prefix or --from-key")
		}
		return key, []clientv3.OpOption{clientv3.WithRange(args[1])}, nil
	}
	switch {
	case key == "" && (s.prefix || s.fromKey):
		return "\x00", []clientv3.OpOption{clientv3.WithFromKey()}, nil
	case key == "":
		return "", nil, misuse("an empty KEY: every key is \"\" --prefix")
	case s.prefix:
		return key, []clientv3.OpOption{clientv3.WithPrefix()}, nil
	case s.fromKey:
		return key, []clientv3.OpOption{clientv3.WithFromKey()}, nil
	}
	return key, nil, nil
}
