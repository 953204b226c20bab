package server

import (
	"net"

	"google.golang.org/grpc"

	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/rpc"
	"github.com/keelson-db/keelson/internal/transport"
	"github.com/keelson-db/keelson/internal/web"
)

// grpcServer is what carries gRPC to clients: our own transport or gRPC's server.
type grpcServer interface {
	grpc.ServiceRegistrar
	Serve(net.Listener) error
	GracefulStop()
	Stop()
}

// newGRPC makes the one that the configuration names. Traces are told by gRPC's server alone.
func newGRPC(c *config.Config, deps rpc.Deps) grpcServer {
	if c.GRPCTransport == config.TransportGRPC || deps.Stats != nil {
		return grpc.NewServer(append(rpc.ServerOptions(deps), grpc.Creds(web.Credentials()))...)
	}
	o := rpc.TransportOptions(deps)
	o.Credentials = web.Credentials()
	return transport.NewServer(o)
}
