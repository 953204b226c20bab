package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// defaultEndpoint is where a server listens that was told nothing else.
	defaultEndpoint = "127.0.0.1:2379"
	// defaultTimeout is how long one request may take.
	defaultTimeout = 5 * time.Second
	// dialTimeout is how long it may take to find out whether anybody listens.
	dialTimeout = time.Second
	// maxRetries bounds how often a read is sent again, in tries: a person wants to know soon.
	maxRetries = 3
	// retryPause is the time between two of them.
	retryPause = 100 * time.Millisecond
)

// connection is what the client commands have in common: their flags, and the client made from them.
type connection struct {
	endpoints []string
	timeout   time.Duration
	format    string
	secure    secure

	client *clientv3.Client
	out    printer
}

// connected makes a command of one that needs a server.
func connected(c *cobra.Command, act func(ctx context.Context, x *connection, args []string) error) *cobra.Command {
	x := new(connection)
	x.flags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := x.open(c); err != nil {
			return err
		}
		defer x.client.Close() // nothing is lost with a connection
		return x.explain(act(c.Context(), x, args))
	}
	return c
}

func (x *connection) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&x.endpoints, "endpoints", nil, "addresses of servers, separated by commas (default "+defaultEndpoint+
		"; also from KEELSON_ENDPOINTS or ETCDCTL_ENDPOINTS)")
	f.DurationVar(&x.timeout, "timeout", defaultTimeout, "how long one request may take")
	f.StringVarP(&x.format, "output", "o", "simple", "format of the output: simple or json")
	x.secure.flags(c)
}

func (x *connection) open(c *cobra.Command) (err error) {
	if err := x.read(c); err != nil {
		return err
	}
	x.client, err = x.dial(x.endpoints)
	return err
}

// read checks the flags.
func (x *connection) read(c *cobra.Command) error {
	switch x.format {
	case "simple":
		x.out = &simplePrinter{w: c.OutOrStdout()}
	case "json":
		x.out = newJSONPrinter(c.OutOrStdout())
	default:
		return misuse("unknown output format %q: it is simple or json", x.format)
	}
	if x.timeout <= 0 {
		return misuse("--timeout must be longer than nothing, such as 5s")
	}
	if err := fromEnvironment(c, os.Getenv); err != nil {
		return err
	}
	if len(x.endpoints) == 0 && !c.Flags().Changed("endpoints") {
		x.endpoints = []string{defaultEndpoint}
	}
	if len(x.endpoints) == 0 {
		return misuse("--endpoints names no address")
	}
	return nil
}

// dial makes a client of addresses. With a user it logs in, so that the servers are asked already.
func (x *connection) dial(endpoints []string) (*clientv3.Client, error) {
	security, err := x.secure.config()
	if err != nil {
		return nil, err
	}
	name, password, err := x.secure.login()
	if err != nil {
		return nil, err
	}
	if name != "" {
		if err := x.unreachable(); err != nil {
			return nil, err
		}
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:          endpoints,
		DialTimeout:        x.timeout,
		TLS:                security,
		Username:           name,
		Password:           password,
		Logger:             zap.NewNop(), // what went wrong is said once, by us
		MaxUnaryRetries:    maxRetries,
		BackoffWaitBetween: retryPause,
	})
	if err != nil && name != "" {
		return nil, x.explain(fmt.Errorf("log in as %s: %w", name, err))
	}
	if err != nil {
		return nil, misuse("cannot use --endpoints %s: %w", strings.Join(endpoints, ","), err)
	}
	return client, nil
}

// request returns the context of one request. The client would try until that ends when nobody listens, so
// it is looked whether somebody does: the user hears at once.
func (x *connection) request(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := x.unreachable(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	return ctx, cancel, nil
}

// explain adds to an error what the user can do about it.
func (x *connection) explain(err error) error {
	var own *failure
	if err == nil || errors.As(err, &own) {
		return err
	}
	code := status.Code(err)
	known, answered := errors.AsType[rpctypes.EtcdError](err)
	if answered {
		code = known.Code()
	}
	late := code == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded)
	if late || code == codes.Unavailable {
		if reason := x.unreachable(); reason != nil {
			return reason
		}
	}
	if late {
		// A handshake that fails is tried again until there is no time left, and nobody hears why.
		if reason := x.handshake(); reason != nil {
			return reason
		}
		return &failure{fmt.Errorf("no answer from %s within %v: a server is there but does not answer in time; look at its log, "+
			"or wait longer with --timeout", strings.Join(x.endpoints, ", "), x.timeout), exitConnection}
	}
	if errors.Is(err, rpctypes.ErrUnhealthy) {
		return fmt.Errorf("%w; the leader has not been connected to enough voters for five seconds: try again, and look at \"keelson status --cluster\" if it stays so", err)
	}
	if answered && code == codes.Unavailable {
		return fmt.Errorf("%w; \"keelson status --cluster\" shows which members are there: more than half of the voters are needed", err)
	}
	if code == codes.Unavailable {
		return &failure{fmt.Errorf("cannot talk to %s: %w%s", strings.Join(x.endpoints, ", "), err, hintTLS(err)), exitConnection}
	}
	return err
}

// unreachable explains why no server can be reached; nil when at least one address takes connections.
func (x *connection) unreachable() error {
	var reasons []string
	for _, e := range x.endpoints {
		network, addr := address(e)
		// Its time limit is its own: it is asked after the caller's has passed, too.
		c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(context.Background(), network, addr)
		if err == nil {
			_ = c.Close()
			return nil
		}
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		reasons = append(reasons, fmt.Sprintf("%s (%v)", e, err))
	}
	return &failure{fmt.Errorf("nothing answers at %s\n"+
		"Start a node with \"keelson\", or say where one is with --endpoints HOST:PORT", strings.Join(reasons, ", ")), exitConnection}
}

// address returns what to dial for an endpoint, which may be a URL.
func address(endpoint string) (network, addr string) {
	for _, scheme := range []string{"unix://", "unixs://", "unix:", "unixs:"} {
		if path, ok := strings.CutPrefix(endpoint, scheme); ok {
			return "unix", path
		}
	}
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		endpoint = u.Host
	}
	return "tcp", endpoint
}
