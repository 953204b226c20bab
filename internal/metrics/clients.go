package metrics

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxClientVersions is how many different client API versions get a series of their own, per request
	// type. The version is whatever a client writes into its metadata, so without a limit one client could
	// fill the memory of the server and of the Prometheus that scrapes it.
	maxClientVersions = 64

	// maxClientVersionBytes is the longest client API version, in bytes, that is used as a label; a longer
	// one is cut.
	maxClientVersionBytes = 64

	unknownClientVersion = "unknown" // the client named no version
	otherClientVersion   = "other"   // a version past maxClientVersions
)

// ClientRequests counts requests by type and by the API version that the client says it speaks.
// Looking up a version that was seen before takes no lock and allocates nothing.
type ClientRequests struct {
	desc   *prometheus.Desc
	unary  versionCounters
	stream versionCounters
}

func newClientRequests(b *builder) *ClientRequests {
	return made(b, &ClientRequests{desc: prometheus.NewDesc("etcd_server_client_requests_total",
		"Requests by type and by the API version the client speaks.",
		[]string{"type", "client_api_version"}, nil)})
}

// Unary is the counter of unary requests from clients of this version; "" is an unknown version.
func (c *ClientRequests) Unary(version string) *Counter { return c.unary.counter(version) }

// Stream is the counter of streams opened by clients of this version; "" is an unknown version.
func (c *ClientRequests) Stream(version string) *Counter { return c.stream.counter(version) }

// Describe implements prometheus.Collector.
func (c *ClientRequests) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *ClientRequests) Collect(ch chan<- prometheus.Metric) {
	c.unary.collect(ch, c.desc, "unary")
	c.stream.collect(ch, c.desc, "stream")
}

// versionCounters is a map that is copied when it grows, which happens at most maxClientVersions times,
// and is otherwise read without a lock.
type versionCounters struct {
	known atomic.Pointer[map[string]*Counter]
	grow  sync.Mutex // held by the one who replaces known
}

func (v *versionCounters) counter(version string) *Counter {
	version = label(version)
	if m := v.known.Load(); m != nil {
		if c := (*m)[version]; c != nil {
			return c
		}
		if c := (*m)[otherClientVersion]; c != nil {
			return c // there is no room for another
		}
	}
	return v.add(version)
}

// add finds or makes the counter of a version that is fit to be a label.
func (v *versionCounters) add(version string) *Counter {
	v.grow.Lock()
	defer v.grow.Unlock()
	next := map[string]*Counter{}
	if m := v.known.Load(); m != nil {
		next = maps.Clone(*m)
	}
	if c := next[version]; c != nil {
		return c
	}
	if len(next) >= maxClientVersions {
		version = otherClientVersion
		if c := next[version]; c != nil {
			return c
		}
	}
	c := new(Counter)
	next[version] = c
	v.known.Store(&next)
	return c
}

func (v *versionCounters) collect(ch chan<- prometheus.Metric, desc *prometheus.Desc, kind string) {
	m := v.known.Load()
	if m == nil {
		return
	}
	for version, c := range *m {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(c.Value()), kind, version)
	}
}

// label makes what a client wrote fit to be a label value: short, and UTF-8 as Prometheus demands.
func label(version string) string {
	if version == "" {
		return unknownClientVersion
	}
	if len(version) > maxClientVersionBytes {
		version = version[:maxClientVersionBytes]
	}
	return strings.ToValidUTF8(version, "?")
}
