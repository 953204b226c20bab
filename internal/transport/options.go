package transport

import (
	"math"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/keepalive"
)

// What holds where Options say nothing; it is the same as with gRPC's server.
const (
	defaultRecvBytes        = 4 << 20
	defaultSendBytes        = math.MaxInt32
	defaultHandshakeTimeout = 120 * time.Second
	defaultKeepaliveTime    = 2 * time.Hour
	defaultKeepaliveTimeout = 20 * time.Second
	defaultPingMinTime      = 5 * time.Minute
)

// Options are what a Server is made with.
type Options struct {
	// Codec encodes and decodes every message, whatever content-subtype a client names.
	Codec encoding.CodecV2
	// Credentials make the handshake of a connection; nil for none.
	Credentials credentials.TransportCredentials
	// MaxRecvBytes and MaxSendBytes bound messages in bytes.
	MaxRecvBytes, MaxSendBytes int
	// MaxConcurrentStreams is how many calls may be under way on a connection; 0 is no limit.
	MaxConcurrentStreams uint32
	// HandshakeTimeout is how long a connection may take until it has said its settings.
	HandshakeTimeout time.Duration
	// Keepalive says when a silent client is pinged. Only Time and Timeout are looked at.
	Keepalive keepalive.ServerParameters
	// Enforcement says how often a client may ping.
	Enforcement keepalive.EnforcementPolicy
}

// complete returns the options with everything filled in.
func (o Options) complete() Options {
	fill(&o.MaxRecvBytes, defaultRecvBytes)
	fill(&o.MaxSendBytes, defaultSendBytes)
	fill(&o.MaxConcurrentStreams, math.MaxUint32)
	fill(&o.HandshakeTimeout, defaultHandshakeTimeout)
	fill(&o.Keepalive.Time, defaultKeepaliveTime)
	fill(&o.Keepalive.Timeout, defaultKeepaliveTimeout)
	fill(&o.Enforcement.MinTime, defaultPingMinTime)
	return o
}

func fill[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}
