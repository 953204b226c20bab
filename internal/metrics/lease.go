package metrics

import "github.com/prometheus/client_golang/prometheus"

// Lease is what the lease table and the lease clock have to tell.
type Lease struct {
	// Granted counts leases granted.
	Granted prometheus.Counter
	// Revoked counts leases revoked, expired ones included.
	Revoked prometheus.Counter
	// Renewed counts keepalives that the leader answered. It is hot: every keepalive of every client.
	Renewed *Counter
	// Expired counts leases that were revoked because their time had passed.
	Expired prometheus.Counter
	// TTL is the time to live in seconds that clients asked for.
	TTL prometheus.Histogram
}

func newLease(b *builder) *Lease {
	return &Lease{
		Granted: b.counter("etcd_debugging_lease_granted_total", "Leases granted."),
		Revoked: b.counter("etcd_debugging_lease_revoked_total", "Leases revoked."),
		Renewed: b.hotCounter("etcd_debugging_lease_renewed_total", "Lease renewals answered by the leader."),
		Expired: b.counter("etcd_debugging_server_lease_expired_total", "Leases whose time had passed."),
		TTL:     b.histogram("etcd_debugging_lease_ttl_total", "Time to live of granted leases in seconds.", exponential(1, 24)),
	}
}
