package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func moveLeaderCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "move-leader MEMBER",
		Short: "Let another member lead, named by its name or its ID",
		Args:  arguments(1, 1),
	}
	return connected(c, func(ctx context.Context, x *connection, args []string) error {
		list, err := x.members(ctx, false)
		if err != nil {
			return err
		}
		to, err := findMember(list, args[0])
		if err != nil {
			return err
		}
		from, err := x.leader(ctx, list)
		if err != nil {
			return err
		}
		if from.ID != to.ID {
			if err := x.moveLeader(ctx, from, to); err != nil {
				return err
			}
		}
		return x.out.moved(from, to)
	})
}

// leader asks the members that were named who leads.
func (x *connection) leader(ctx context.Context, list []*pb.Member) (*pb.Member, error) {
	var failed error
	for _, endpoint := range x.endpoints {
		s, err := x.statusOf(ctx, endpoint)
		if err != nil {
			failed = err
			continue
		}
		i := slices.IndexFunc(list, func(m *pb.Member) bool { return m.ID == s.Leader })
		if i >= 0 {
			return list[i], nil
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, errors.New("nobody leads at the moment: try again, and look at \"keelson status --cluster\" if it stays so")
}

// moveLeader asks the leader, who alone can do it, at the addresses that it has for clients.
func (x *connection) moveLeader(ctx context.Context, from, to *pb.Member) error {
	at := *x
	at.endpoints = from.ClientURLs
	if len(at.endpoints) == 0 {
		return fmt.Errorf("the leader %s (%x) has not told where clients reach it yet: try again", from.Name, from.ID)
	}
	var err error
	if at.client, err = at.dial(at.endpoints); err != nil {
		return err
	}
	defer at.client.Close()
	ctx, cancel, err := at.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if _, err := at.client.MoveLeader(ctx, to.ID); err != nil {
		return at.explain(err)
	}
	return nil
}

func (p *simplePrinter) moved(from, to *pb.Member) error {
	var b strings.Builder
	if from.ID == to.ID {
		fmt.Fprintf(&b, "%s (%x) leads already\n", to.Name, to.ID)
	} else {
		fmt.Fprintf(&b, "%s (%x) leads now, and %s (%x) did before\n", to.Name, to.ID, from.Name, from.ID)
	}
	return p.flush(&b)
}

func (p *jsonPrinter) moved(from, to *pb.Member) error {
	return p.print(struct {
		From string `json:"from"`
		To   string `json:"to"`
	}{hex(from.ID), hex(to.ID)})
}
