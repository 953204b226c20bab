// Package web is the door for HTTP: health, readiness, version, metrics and debugging, on the same port as
// gRPC and, where asked, on a metrics port of their own.
//
// Splitter parts one listener, plain text, TLS or both: gRPC gets its own transport, HTTP/1 and what else speaks
// HTTP/2 go to net/http. Credentials tells gRPC whom a connection belongs to. NewHandler answers on the client port, NewMetricsHandler on a metrics
// port, NewServer wraps either in an http.Server with this package's limits. Paths, bodies and headers are
// etcd's, because probes and scripts compare them. NewGateway is the JSON form of the gRPC services, as their
// client; a WebSocket carries one of its requests.
//
// Goroutines: Splitter.Run accepts, with one short-lived goroutine per connection that has not said yet
// what it speaks, or is in its TLS handshake, or speaks HTTP/2 under TLS and has asked nothing; net/http has its own per connection; a health check's test read runs in a goroutine of
// which there is at most one per handler and kind; a conversation in JSON has one that reads what the client
// says, and a WebSocket one that reads its messages; both end with their request.
//
// Invariants: a connection that a branch's Accept has returned belongs to its server alone and reads
// exactly the bytes the client sent; a probe is answered within checkTimeout per check even if the read
// behind it hangs; nothing is registered globally, so many servers can live in one process.
//
// Limits: firstBytesTimeout, maxUndecided, handshakeTimeout, maxHandshakes, maxOpeningBytes, maxPreludeBytes, the Slots, checkTimeout, maxScrapes, maxHeaderBytes, readHeaderTimeout,
// idleTimeout, jsonPerByte, jsonSlackBytes, bodyTimeout and goodbyeTimeout, each at its declaration.
package web

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/keelson-db/keelson/internal/metrics"
)

const (
	// readHeaderTimeout is how long a client may take to send a request's header.
	readHeaderTimeout = 5 * time.Minute

	// idleTimeout is how long a connection is kept between two requests.
	idleTimeout = 5 * time.Minute

	// maxHeaderBytes is the largest request header, in bytes.
	maxHeaderBytes = 64 << 10

	// maxScrapes is how many scrapes may run at once; a further one is answered 503.
	maxScrapes = 16
)

// Node is what this door needs to know of the server behind it. Every method may be called from many
// goroutines at once; only ReadCheck may block.
type Node interface {
	// Leader is the member that leads, as far as this one knows.
	Leader() (id uint64, ok bool)
	// IsLearner says whether this member does not vote yet.
	IsLearner() bool
	// Alarms names the raised alarms: "NOSPACE", "CORRUPT".
	Alarms() []string
	// ReadCheck reads one key, on this member's state alone or behind a barrier that needs a quorum. It
	// acts as root where users are enabled.
	ReadCheck(ctx context.Context, serializable bool) error
	// RaftStatusJSON is the status of raft as one JSON object.
	RaftStatusJSON() string
	// ClusterVersion is the version the cluster has agreed on, such as "3.7.0", or "" before it has.
	ClusterVersion() string
	// StorageVersion is the version of the data on disk, such as "3.7.0", or "" before it is known.
	StorageVersion() string
}

// HandlerOptions is what a handler is built from.
type HandlerOptions struct {
	Node    Node
	Metrics *metrics.Set
	Log     *slog.Logger

	// Version is the server's version as etcd's clients parse it, such as "3.7.3".
	Version string
	// CORS lists the origins that browsers may call from; empty or "*" allows all.
	CORS []string
	// HostWhitelist lists the hosts that plain-text requests may name; empty or "*" allows all.
	HostWhitelist []string
	// EnablePprof serves /debug/pprof.
	EnablePprof bool
	// Gateway serves /v3/, the JSON form of the gRPC API; nil serves nothing there.
	Gateway http.Handler
	// JoinToken serves /keelson/join-token, which gives out what another server needs to join; nil serves nothing there.
	JoinToken http.Handler
}

// NewHandler is everything that is served on the client port over HTTP.
func NewHandler(o HandlerOptions) http.Handler {
	mux := newProbeMux(o)
	mux.Handle("/version", onlyGet(version{node: o.Node, server: o.Version}.serve))
	mux.Handle("/debug/vars", onlyGet(debugVars{node: o.Node}.serve))
	if o.EnablePprof {
		handlePprof(mux)
	}
	if o.Gateway != nil {
		mux.Handle("/v3/", o.Gateway)
	}
	if o.JoinToken != nil {
		mux.Handle("/keelson/join-token", o.JoinToken)
	}
	return newGate(o, mux)
}

// NewMetricsHandler is what is served on a port of --listen-metrics-urls: metrics and probes, nothing
// else, and no check of hosts and origins.
func NewMetricsHandler(o HandlerOptions) http.Handler { return newProbeMux(o) }

// NewServer is an http.Server for a handler of this package, with its limits set and its complaints sent
// to the log. The caller serves and closes it.
//
// It serves HTTP/2 too, on connections that a Splitter has secured and looked into; they reach it in a form that
// net/http calls unencrypted although it is not.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Protocols:         protocols,
		Handler:           secured(refuseGRPC(h)),
		ConnContext:       keepState,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// newProbeMux routes what both ports serve. What no path matches is 404, as ServeMux answers it.
func newProbeMux(o HandlerOptions) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/metrics", metricsHandler(o))
	c := newChecks(o)
	mux.Handle("/health", onlyGet(c.serveHealth))
	c.install(mux)
	return mux
}

// metricsHandler serves the Prometheus formats. OpenMetrics is not among them although scrapers ask for
// it first: it demands that a counter's name end in _total, so names that alerts read, such as
// etcd_server_health_success, would change for exactly those scrapers.
func metricsHandler(o HandlerOptions) http.Handler {
	registry := o.Metrics.Registry
	return promhttp.InstrumentMetricHandler(registry, promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
	}))
}

// onlyGet answers every method but GET, HEAD included, as etcd does.
func onlyGet(serve http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		serve(w, r)
	})
}
