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
	c := &cobra.Command{
		Use:   "status",
		Short: "Print how the servers are",
		Args:  arguments(0, 0),
	}
	return connected(c, func(ctx context.Context, x *connection, _ []string) error {
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
