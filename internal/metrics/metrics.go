// Package metrics holds the numbers a node shows to Prometheus, under the names, types, labels and
// buckets that etcd's dashboards and alerts already read. What etcd has no name for starts with keelson_.
//
// One Set belongs to one server and owns its own registry, so that many servers can live in one process.
// A Set has one struct per room of the house. Three kinds of numbers live in it:
//
//   - ready-made collectors for what happens seldom (leader changes, health checks) or once per batch
//     (histograms of disk syncs); they are used directly;
//   - Counter, a padded atomic, for what happens on every request; it has no labels to look up;
//   - values that some other room already keeps (revision, database size, watchers); they are read when
//     somebody scrapes, through the functions of Sources, so that they cost nothing in between.
//
// Goroutines: none. Every method may be called from any goroutine.
//
// Invariants: every name that a dashboard reads exists from New on, with the value 0 until a room speaks;
// a series never changes its labels; no label value comes from a client without a limit on how many
// there can be (see ClientRequests).
package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Set is every metric of one server. Its fields are set by New and never change.
type Set struct {
	// Registry is what a scrape gathers from. It is the Set's own: nothing is registered globally.
	Registry *prometheus.Registry

	Server  *Server
	Disk    *Disk
	MVCC    *MVCC
	Lease   *Lease
	Network *Network
	Watch   *Watch
	GRPC    *GRPC
	Web     *Web

	sources atomic.Pointer[Sources]
}

// New builds the metrics of one server on a fresh registry, the Go runtime's and the process's included.
func New() *Set {
	s := &Set{Registry: prometheus.NewRegistry()}
	s.sources.Store(&Sources{})
	b := &builder{registry: s.Registry}

	s.Server = newServer(b)
	s.Disk = newDisk(b)
	s.MVCC = newMVCC(b)
	s.Lease = newLease(b)
	s.Network = newNetwork(b)
	s.Watch = newWatch(b)
	s.GRPC = newGRPC(b)
	s.Web = newWeb(b)
	b.observe(&s.sources)
	b.alarms(&s.sources)
	b.clusterVersion(&s.sources)
	b.descriptors()

	b.registry.MustRegister(&b.hot)
	b.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return s
}

// builder makes collectors and registers them in one step. A name registered twice is a mistake in this
// package that no input can cause, so registering panics, and every test that calls New would show it.
type builder struct {
	registry *prometheus.Registry
	hot      hotCounters
}

// made registers a collector and hands it back, so that a field can be filled in one line.
func made[C prometheus.Collector](b *builder, c C) C {
	b.registry.MustRegister(c)
	return c
}

func (b *builder) counter(name, help string) prometheus.Counter {
	return made(b, prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}))
}

func (b *builder) counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return made(b, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
}

func (b *builder) gauge(name, help string) prometheus.Gauge {
	return made(b, prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help}))
}

func (b *builder) gaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	return made(b, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))
}

func (b *builder) histogram(name, help string, buckets []float64) prometheus.Histogram {
	return made(b, prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}))
}

func (b *builder) histogramVec(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return made(b, prometheus.NewHistogramVec(
		prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels))
}

// exponential is n bucket bounds, the first at start, each twice the one before.
func exponential(start float64, n int) []float64 {
	return prometheus.ExponentialBuckets(start, 2, n)
}
