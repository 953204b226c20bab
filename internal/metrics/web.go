package metrics

import "github.com/prometheus/client_golang/prometheus"

// Web is what the shared client port has to tell. etcd has no names for it.
type Web struct {
	// SilentClosed counts connections that said nothing for too long.
	SilentClosed prometheus.Counter
	// CrowdedClosed counts connections that were closed while they had said nothing, to make room.
	CrowdedClosed prometheus.Counter
	// TLSClosed counts connections that spoke TLS to a plain-text port.
	TLSClosed prometheus.Counter
	// HandshakeFailed counts connections whose TLS handshake failed, for whatever reason.
	HandshakeFailed prometheus.Counter
	// AcceptFailures counts attempts to accept a connection that the system refused.
	AcceptFailures prometheus.Counter
}

func newWeb(b *builder) *Web {
	closed := b.counterVec("keelson_web_undecided_closed_total",
		"Connections closed before it was known what they speak, by reason.", "reason")
	return &Web{
		SilentClosed:    closed.WithLabelValues("silent"),
		CrowdedClosed:   closed.WithLabelValues("crowded"),
		TLSClosed:       closed.WithLabelValues("tls"),
		HandshakeFailed: closed.WithLabelValues("handshake"),
		AcceptFailures:  b.counter("keelson_web_accept_failures_total", "Connections that could not be accepted."),
	}
}
