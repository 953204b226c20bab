package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func memberCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "member",
		Short: "List, add, promote, remove and move members of the cluster",
		Long:  "A MEMBER is named by its name or by its ID.",
		Args:  knownCommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(memberListCommand(), memberAddCommand(), memberPromoteCommand(), memberRemoveCommand(), memberUpdateCommand())
	return c
}

func memberListCommand() *cobra.Command {
	var stale bool
	c := &cobra.Command{
		Use:   "list",
		Short: "Print who is in the cluster",
		Args:  arguments(0, 0),
	}
	c.Flags().BoolVar(&stale, "stale", false, "ask any member for what it knows, also while there is no leader")
	return connected(c, func(ctx context.Context, x *connection, _ []string) error {
		list, err := x.members(ctx, stale)
		if err != nil {
			return err
		}
		return x.out.members(list)
	})
}

func memberAddCommand() *cobra.Command {
	var urls []string
	var learner bool
	c := &cobra.Command{
		Use:   "add NAME --peer-urls URL",
		Short: "Add a member that will be started with this name; \"keelson join\" does both at once",
		Args:  arguments(1, 1),
	}
	c.Flags().StringSliceVar(&urls, "peer-urls", nil, "where the other members will reach it, separated by commas")
	c.Flags().BoolVar(&learner, "learner", false, "add it without a vote, to be promoted when it has caught up")
	return connected(c, func(ctx context.Context, x *connection, args []string) error {
		if len(urls) == 0 {
			return misuse("--peer-urls is missing: a member is added with the addresses where the others will reach it")
		}
		ctx, cancel, err := x.request(ctx)
		if err != nil {
			return err
		}
		defer cancel()
		add := x.client.MemberAdd
		if learner {
			add = x.client.MemberAddAsLearner
		}
		r, err := add(ctx, urls)
		if err != nil {
			return err
		}
		return x.out.member(changedMember{verb: "added", member: r.Member, list: r.Members, name: args[0]})
	})
}

func memberPromoteCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "promote MEMBER",
		Short: "Give a learner a vote",
		Args:  arguments(1, 1),
	}
	return connected(c, func(ctx context.Context, x *connection, args []string) error {
		return x.changeMember(ctx, "promoted", args[0], func(ctx context.Context, id uint64) ([]*pb.Member, error) {
			r, err := x.client.MemberPromote(ctx, id)
			if err != nil {
				return nil, err
			}
			return r.Members, nil
		})
	})
}

func memberRemoveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "remove MEMBER",
		Short: "Remove a member for ever; it stops, and never comes back under its ID",
		Args:  arguments(1, 1),
	}
	return connected(c, func(ctx context.Context, x *connection, args []string) error {
		return x.changeMember(ctx, "removed", args[0], func(ctx context.Context, id uint64) ([]*pb.Member, error) {
			r, err := x.client.MemberRemove(ctx, id)
			if err != nil {
				return nil, err
			}
			return r.Members, nil
		})
	})
}

func memberUpdateCommand() *cobra.Command {
	var urls []string
	c := &cobra.Command{
		Use:   "update MEMBER --peer-urls URL",
		Short: "Tell the others where a member is reached from now on",
		Args:  arguments(1, 1),
	}
	c.Flags().StringSliceVar(&urls, "peer-urls", nil, "where the other members reach it, separated by commas")
	return connected(c, func(ctx context.Context, x *connection, args []string) error {
		if len(urls) == 0 {
			return misuse("--peer-urls is missing: it says where the member is reached from now on")
		}
		return x.changeMember(ctx, "updated", args[0], func(ctx context.Context, id uint64) ([]*pb.Member, error) {
			r, err := x.client.MemberUpdate(ctx, id, urls)
			if err != nil {
				return nil, err
			}
			return r.Members, nil
		})
	})
}

// changedMember is what became of a member.
type changedMember struct {
	verb   string
	member *pb.Member
	list   []*pb.Member // after it
	name   string       // that it will be started with, of one that was added
}

// changeMember finds out who is meant, and does something to that member.
func (x *connection) changeMember(ctx context.Context, verb, who string, change func(ctx context.Context, id uint64) ([]*pb.Member, error)) error {
	list, err := x.members(ctx, false)
	if err != nil {
		return err
	}
	m, err := findMember(list, who)
	if err != nil {
		return err
	}
	ctx, cancel, err := x.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	after, err := change(ctx, m.ID)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(after, func(one *pb.Member) bool { return one.ID == m.ID }); i >= 0 {
		m = after[i]
	}
	return x.out.member(changedMember{verb: verb, member: m, list: after})
}

// members asks who is in the cluster: the leader's word, or what any member knows.
func (x *connection) members(ctx context.Context, stale bool) ([]*pb.Member, error) {
	ctx, cancel, err := x.request(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	var opts []clientv3.OpOption
	if stale {
		opts = append(opts, clientv3.WithSerializable())
	}
	r, err := x.client.MemberList(ctx, opts...)
	if err != nil {
		return nil, err
	}
	return r.Members, nil
}

// findMember returns who is meant by a name or an ID.
func findMember(list []*pb.Member, who string) (*pb.Member, error) {
	var found []*pb.Member
	id, err := strconv.ParseUint(who, 16, 64)
	for _, m := range list {
		if err == nil && m.ID == id {
			return m, nil // an ID is nobody else's, whatever names there are
		}
		if m.Name == who {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, misuse("no member is called %q: those who are there are %s", who, memberNames(list))
	}
	return nil, misuse("%d members are called %q: name one by its ID, of %s", len(found), who, memberNames(list))
}

func memberNames(list []*pb.Member) string {
	var all []string
	for _, m := range list {
		all = append(all, fmt.Sprintf("%s (%x)", m.Name, m.ID))
	}
	return strings.Join(all, ", ")
}
