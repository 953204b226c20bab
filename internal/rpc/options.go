package rpc

import (
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/keelson-db/keelson/internal/wire"
)

const (
	// grpcOverheadBytes is how much longer a message may be than the command in it, in bytes: what lies
	// between the two limits is refused with an error that says so, and only beyond by the transport.
	grpcOverheadBytes = 512 << 10
	// maxSendBytes is the longest reply in bytes.
	maxSendBytes = math.MaxInt32
	// handshakeTime is how long a new connection may take to become an HTTP/2 connection.
	handshakeTime = 5 * time.Second
	// streamWorkers is how many goroutines wait for calls, instead of one being made for each: theirs have
	// grown their stacks already, which saves about 7 % of the processor time of a put. With 256 the
	// stacks no longer fit a core's cache and it costs 15 % instead. A long-lived stream keeps its worker;
	// when all are kept, calls get goroutines of their own as without workers.
	streamWorkers = 64
	// streamWindowBytes and connWindowBytes are how much a client may have sent that no call has read, in bytes. Left to
	// itself gRPC finds windows out, and sends a ping with every request for that: a write and a read more for each,
	// which with a connection per client is a tenth of the processor time of a put.
	streamWindowBytes = 1 << 20
	connWindowBytes   = 4 << 20
)

// ServerOptions are what a gRPC server for these services must be made with: the codec and the limits.
func ServerOptions(d Deps) []grpc.ServerOption {
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(wire.Codec{Received: d.Metrics.Network.ClientReceivedBytes, Sent: d.Metrics.Network.ClientSentBytes}),
		grpc.MaxRecvMsgSize(d.MaxRequestBytes + grpcOverheadBytes),
		grpc.MaxSendMsgSize(maxSendBytes),
		grpc.MaxConcurrentStreams(d.MaxConcurrentStreams),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.InitialWindowSize(streamWindowBytes),
		grpc.InitialConnWindowSize(connWindowBytes),
		grpc.ConnectionTimeout(handshakeTime),
	}
	if d.Stats != nil {
		opts = append(opts, grpc.StatsHandler(d.Stats))
	}
	if d.KeepAliveMinTime > 0 {
		opts = append(opts, grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: d.KeepAliveMinTime}))
	}
	if d.KeepAliveInterval > 0 && d.KeepAliveTimeout > 0 {
		opts = append(opts, grpc.KeepaliveParams(keepalive.ServerParameters{Time: d.KeepAliveInterval, Timeout: d.KeepAliveTimeout}))
	}
	return opts
}
