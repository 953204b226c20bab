package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// endpointStatus is what one server says of itself, or why it says nothing.
type endpointStatus struct {
	endpoint string
	status   *clientv3.StatusResponse
	err      error
}

func statusCommand() *cobra.Command {
	var cluster bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Print how the servers are",
		Args:  arguments(0, 0),
	}
	c.Flags().BoolVar(&cluster, "cluster", false, "all members of the cluster, at the addresses that they have for clients")
	return connected(c, func(ctx context.Context, x *connection, _ []string) error {
		if cluster {
			if err := x.spread(ctx); err != nil {
				return err
			}
		}
		list := make([]endpointStatus, len(x.endpoints))
		var errs []error
		for i, endpoint := range x.endpoints {
			one := &list[i]
			one.endpoint = endpoint
			one.status, one.err = x.statusOf(ctx, endpoint)
			errs = append(errs, one.err)
		}
		if len(list) == 1 && list[0].err != nil {
			return list[0].err
		}
		if err := x.out.status(list); err != nil {
			return err
		}
		if errors.Join(errs...) != nil {
			return &failure{errors.New("not all servers answered"), exitError}
		}
		return nil
	})
}

// spread goes on with the addresses of all members.
func (x *connection) spread(ctx context.Context) error {
	list, err := x.members(ctx, true)
	if err != nil {
		return err
	}
	var all []string
	for _, m := range list {
		all = append(all, m.ClientURLs...)
	}
	if len(all) == 0 {
		return errors.New("no member has told yet where clients reach it: leave out --cluster and name addresses with --endpoints")
	}
	x.endpoints = all
	return nil
}

func (x *connection) statusOf(ctx context.Context, endpoint string) (*clientv3.StatusResponse, error) {
	alone := connection{endpoints: []string{endpoint}, timeout: x.timeout}
	ctx, cancel, err := alone.request(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	r, err := x.client.Status(ctx, endpoint)
	return r, alone.explain(err)
}
