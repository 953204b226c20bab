package metrics

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
)

// MethodType is the shape of a gRPC method as the label grpc_type spells it.
type MethodType string

// The four shapes of a gRPC method.
const (
	Unary        MethodType = "unary"
	ClientStream MethodType = "client_stream"
	ServerStream MethodType = "server_stream"
	BidiStream   MethodType = "bidi_stream"
)

// TypeOf is the shape of a method by who may send more than one message.
func TypeOf(clientStreams, serverStreams bool) MethodType {
	switch {
	case clientStreams && serverStreams:
		return BidiStream
	case clientStreams:
		return ClientStream
	case serverStreams:
		return ServerStream
	default:
		return Unary
	}
}

// MethodInfo names one gRPC method, for example {"etcdserverpb.KV", "Range", Unary}.
type MethodInfo struct {
	Service, Method string
	Type            MethodType
}

// codeCount is how many status codes gRPC defines; a code past them counts as Unknown.
const codeCount = int(codes.Unauthenticated) + 1

// GRPC is what the gRPC server has to tell, under the names of the well-known Prometheus middleware. The
// middleware itself hashes four labels for every message; here a method is looked up once per call at
// most, and counting is one atomic add.
type GRPC struct {
	started, handled, received, sent *prometheus.Desc

	registry *prometheus.Registry
	methods  atomic.Pointer[map[string]*Method] // by full name; replaced by Register, never written to
	register sync.Mutex                         // held by the one who replaces methods or handling
	handling *prometheus.HistogramVec           // nil until somebody asks for extensive metrics
}

func newGRPC(b *builder) *GRPC {
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	g := &GRPC{
		registry: b.registry,
		started:  prometheus.NewDesc("grpc_server_started_total", "Calls started.", labels, nil),
		handled:  prometheus.NewDesc("grpc_server_handled_total", "Calls ended, by code.", append(labels[:3:3], "grpc_code"), nil),
		received: prometheus.NewDesc("grpc_server_msg_received_total", "Messages received from clients.", labels, nil),
		sent:     prometheus.NewDesc("grpc_server_msg_sent_total", "Messages sent to clients.", labels, nil),
	}
	g.methods.Store(&map[string]*Method{})
	return made(b, g)
}

// Register adds methods, each with all its series at 0 from now on, so that a rate over the first failure
// is not missed. With extensive, how long calls take is recorded too. A method that is already known
// keeps its counts.
func (g *GRPC) Register(methods []MethodInfo, extensive bool) {
	g.register.Lock()
	defer g.register.Unlock()
	if extensive && g.handling == nil {
		g.handling = prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "grpc_server_handling_seconds", Help: "Time from the start of a call to its end.",
			Buckets: prometheus.DefBuckets,
		}, []string{"grpc_type", "grpc_service", "grpc_method"})
		g.registry.MustRegister(g.handling)
	}
	next := maps.Clone(*g.methods.Load())
	for _, info := range methods {
		full := "/" + info.Service + "/" + info.Method
		if next[full] != nil {
			continue
		}
		m := &Method{info: info}
		if extensive {
			m.handling = g.handling.WithLabelValues(string(info.Type), info.Service, info.Method)
		}
		next[full] = m
	}
	g.methods.Store(&next)
}

// Method is the counters of a method by its full name, such as "/etcdserverpb.KV/Range". For a method that
// was never registered it is nil, which counts nothing: names come from clients and must not make series.
func (g *GRPC) Method(full string) *Method { return (*g.methods.Load())[full] }

// Method counts the calls of one gRPC method. A nil *Method counts nothing.
type Method struct {
	// What every unary call touches stands together: started, both messages and OK are one cache line.
	started, received, sent atomic.Uint64
	handled                 [codeCount]atomic.Uint64

	info     MethodInfo
	handling prometheus.Observer // nil unless extensive
	_        [cacheLine]byte     // keeps the next method's counters off our lines
}

// Started counts a call that begins.
func (m *Method) Started() {
	if m != nil {
		m.started.Add(1)
	}
}

// Handled counts a call that has ended with this code.
func (m *Method) Handled(code codes.Code) {
	if m == nil {
		return
	}
	if uint64(code) >= uint64(codeCount) {
		code = codes.Unknown
	}
	m.handled[code].Add(1)
}

// MsgReceived counts a message from the client.
func (m *Method) MsgReceived() {
	if m != nil {
		m.received.Add(1)
	}
}

// MsgSent counts a message to the client.
func (m *Method) MsgSent() {
	if m != nil {
		m.sent.Add(1)
	}
}

// Timed says whether anybody wants to know how long calls take, so that the clock is read only then.
func (m *Method) Timed() bool { return m != nil && m.handling != nil }

// Took records how long a call lasted. It does nothing unless Timed.
func (m *Method) Took(d time.Duration) {
	if m.Timed() {
		m.handling.Observe(d.Seconds())
	}
}

// Describe implements prometheus.Collector.
func (g *GRPC) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.started
	ch <- g.handled
	ch <- g.received
	ch <- g.sent
}

// Collect implements prometheus.Collector.
func (g *GRPC) Collect(ch chan<- prometheus.Metric) {
	for _, m := range *g.methods.Load() {
		count := func(desc *prometheus.Desc, n *atomic.Uint64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n.Load()), labels...)
		}
		kind, service, method := string(m.info.Type), m.info.Service, m.info.Method
		// Ends are read before starts: a call that starts and ends in between would otherwise make
		// "started minus handled", which dashboards show as open streams, negative.
		for code := range m.handled {
			count(g.handled, &m.handled[code], kind, service, method, codes.Code(code).String())
		}
		count(g.started, &m.started, kind, service, method)
		count(g.received, &m.received, kind, service, method)
		count(g.sent, &m.sent, kind, service, method)
	}
}
