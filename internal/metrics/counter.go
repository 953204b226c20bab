package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// cacheLine is the distance in bytes at which two counters no longer slow each other down.
const cacheLine = 64

// Counter is a number that only grows, for the hottest paths: adding is one atomic instruction and no
// interface call. Counters that lie side by side are padded apart, because the puts of one core would
// otherwise steal the cache line that the ranges of another are counted in.
type Counter struct {
	n atomic.Uint64
	_ [cacheLine - 8]byte
}

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Value is the sum so far.
func (c *Counter) Value() uint64 { return c.n.Load() }

// hotCounters shows Counters to the registry. It reads them only when somebody scrapes.
type hotCounters struct {
	series []hotSeries
}

type hotSeries struct {
	desc    *prometheus.Desc
	kind    prometheus.ValueType
	counter *Counter
}

// hotCounter makes a Counter that is scraped under name.
func (b *builder) hotCounter(name, help string) *Counter {
	return b.hotSeries(name, help, prometheus.CounterValue)
}

// hotGauge makes a Counter that is scraped as a gauge: some of etcd's sums are gauges by type, and a
// recording rule may depend on it.
func (b *builder) hotGauge(name, help string) *Counter {
	return b.hotSeries(name, help, prometheus.GaugeValue)
}

func (b *builder) hotSeries(name, help string, kind prometheus.ValueType) *Counter {
	s := hotSeries{desc: prometheus.NewDesc(name, help, nil, nil), kind: kind, counter: new(Counter)}
	b.hot.series = append(b.hot.series, s)
	return s.counter
}

// Describe implements prometheus.Collector.
func (h *hotCounters) Describe(ch chan<- *prometheus.Desc) {
	for _, s := range h.series {
		ch <- s.desc
	}
}

// Collect implements prometheus.Collector.
func (h *hotCounters) Collect(ch chan<- prometheus.Metric) {
	for _, s := range h.series {
		ch <- prometheus.MustNewConstMetric(s.desc, s.kind, float64(s.counter.Value()))
	}
}
