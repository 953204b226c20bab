package rpc

import (
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/keelson-db/keelson/internal/transport"
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
	// streamWorkers is how many goroutines of gRPC's server wait for calls, instead of one being made for each: theirs have
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

// TransportOptions are what our own transport must be made with for these services. It tells nobody of its calls: where
// Deps.Stats are set, gRPC's server must be used, with ServerOptions.
func TransportOptions(d Deps) transport.Options {
	o := transport.Options{
		Codec:                d.codec(),
		MaxRecvBytes:         d.MaxRequestBytes + grpcOverheadBytes,
		MaxSendBytes:         maxSendBytes,
		MaxConcurrentStreams: d.MaxConcurrentStreams,
		HandshakeTimeout:     handshakeTime,
		Enforcement:          keepalive.EnforcementPolicy{MinTime: d.KeepAliveMinTime},
	}
	if d.KeepAliveInterval > 0 && d.KeepAliveTimeout > 0 {
		o.Keepalive = keepalive.ServerParameters{Time: d.KeepAliveInterval, Timeout: d.KeepAliveTimeout}
	}
	return o
}

func (d Deps) codec() wire.Codec {
	return wire.Codec{Received: d.Metrics.Network.ClientReceivedBytes, Sent: d.Metrics.Network.ClientSentBytes}
}

// ServerOptions are what gRPC's own server must be made with for these services: the codec and the limits. It carries
// what the server asks itself, and clients where it was chosen or calls are traced.
func ServerOptions(d Deps) []grpc.ServerOption {
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(d.codec()),
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
