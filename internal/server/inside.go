package server

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/keelson-db/keelson/internal/rpc"
	"github.com/keelson-db/keelson/internal/web"
)

// insideBytes is how much is on its way at once between the server and itself, in bytes each way.
const insideBytes = 256 << 10

// inside is a way from the server to its own gRPC services that needs no socket: the JSON gateway and the
// lock service are clients like any other, with the rights of those who called them.
//
// The services stand there on a transport of their own. On the clients' one a limit of streams holds for every
// connection, and here one connection is everybody's: those who wait for a lock would keep its holder from
// giving it back.
type inside struct {
	listener *bufconn.Listener
	grpc     *grpc.Server // nil until register
	conn     *grpc.ClientConn
	ctx      context.Context // ends with the connection
	end      context.CancelFunc
}

func openInside() (*inside, error) {
	in := &inside{listener: bufconn.Listen(insideBytes)}
	in.ctx, in.end = context.WithCancel(context.Background())
	conn, err := grpc.NewClient("passthrough:///inside",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return in.listener.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to ourselves: %w", err)
	}
	in.conn = conn
	return in, nil
}

// register puts the services there.
func (in *inside) register(services *rpc.Services, deps rpc.Deps) {
	in.grpc = grpc.NewServer(append(rpc.ServerOptions(deps), grpc.MaxConcurrentStreams(math.MaxUint32))...)
	services.Register(in.grpc)
}

// serve answers what is asked inside until stop.
func (in *inside) serve() error { return in.grpc.Serve(in.listener) }

// stop ends what is being asked inside.
func (in *inside) stop() { in.grpc.Stop() }

// close ends the connection; what is still being asked over it fails.
func (in *inside) close() error {
	in.end()
	if err := in.conn.Close(); err != nil {
		return fmt.Errorf("end the connection to ourselves: %w", err)
	}
	return in.listener.Close()
}

// gateway is the JSON form of the services. It does not ask in the name that a client's certificate carries,
// and says so to clients who might expect it.
func (s *Server) gateway() (http.Handler, error) {
	return web.NewGateway(s.inside.ctx, s.inside.conn, web.GatewayOptions{
		Log: s.log, MaxRequestBytes: int(s.config.MaxRequestBytes),
		RefuseNamed: func() bool {
			return s.config.ClientTLS.ClientCertAuth && s.data.machine.Auth().View().Enabled()
		},
	})
}
