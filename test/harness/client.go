package harness

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// CallLimit bounds one ordinary call of a test.
const CallLimit = 10 * time.Second

// Client opens etcd's client library on the node; it closes with the test.
func (n *Node) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{n.ClientAddr}, DialTimeout: CallLimit, Logger: zap.NewNop(), TLS: n.tls(),
	})
	if err != nil {
		t.Fatalf("open a client: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Conn opens a bare gRPC connection to the node, for what the client library hides; it closes with the test.
func (n *Node) Conn(t testing.TB) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+n.ClientAddr,
		grpc.WithTransportCredentials(n.credentials()),
		// A test that restarts its server should not wait out a second of backoff.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: CallLimit,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)))
	if err != nil {
		t.Fatalf("open a connection: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// credentials are those of a bare connection.
func (n *Node) credentials() credentials.TransportCredentials {
	if config := n.tls(); config != nil {
		return credentials.NewTLS(config)
	}
	return insecure.NewCredentials()
}

// Ctx returns a context that ends after the ordinary limit of a call, or with the test.
func Ctx(t testing.TB) context.Context {
	t.Helper()
	return CtxFor(t, CallLimit)
}

// CtxFor returns a context that ends after the given time, or with the test.
func CtxFor(t testing.TB, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}
