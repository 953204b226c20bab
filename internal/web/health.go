package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/keelson-db/keelson/internal/metrics"
)

// checks answers /health, /livez and /readyz. Both read kinds are shared between them.
type checks struct {
	node         Node
	metrics      *metrics.Server
	log          *slog.Logger
	serializable *testRead
	linearizable *testRead
}

func newChecks(o HandlerOptions) *checks {
	return &checks{
		node:         o.Node,
		metrics:      o.Metrics.Server,
		log:          o.Log,
		serializable: newTestRead(func(ctx context.Context) error { return o.Node.ReadCheck(ctx, true) }),
		linearizable: newTestRead(func(ctx context.Context) error { return o.Node.ReadCheck(ctx, false) }),
	}
}

// health is the body of /health. That its truth is a string is part of the contract.
type health struct {
	Health string `json:"health"`
	Reason string `json:"reason"`
}

// serveHealth answers /health.
func (c *checks) serveHealth(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	reason := c.unhealthy(r.Context(), query["exclude"], query.Get("serializable") == "true")
	if reason == "" {
		c.metrics.HealthSuccess.Inc()
		// No content type is set: net/http finds text/plain, which is what clients of etcd see.
		fmt.Fprintf(w, "%s", asJSON(health{Health: "true"}))
		return
	}
	c.metrics.HealthFailures.Inc()
	c.log.Warn("health check failed", "path", "/health", "reason", reason)
	http.Error(w, string(asJSON(health{Health: "false", Reason: reason})), http.StatusServiceUnavailable)
}

// unhealthy is why the member is not healthy, or "". Alarms come first, then the leader, then a read, so
// that the reason is the cause and not its consequence.
func (c *checks) unhealthy(ctx context.Context, excluded []string, serializable bool) string {
	for _, alarm := range c.node.Alarms() {
		if slices.Contains(excluded, alarm) {
			continue
		}
		if alarm != "NOSPACE" && alarm != "CORRUPT" {
			alarm = "UNKNOWN"
		}
		return "ALARM " + alarm
	}
	read := c.serializable
	if !serializable {
		if _, ok := c.node.Leader(); !ok {
			return "RAFT NO LEADER"
		}
		read = c.linearizable
	}
	if err := read.run(ctx); err != nil {
		return "RANGE ERROR:" + err.Error()
	}
	return ""
}

// check is one named part of /livez or /readyz.
type check struct {
	name string
	run  func(context.Context) error
}

// install routes /livez, /readyz and a path below them for each of their checks.
func (c *checks) install(mux *http.ServeMux) {
	serializable := check{"serializable_read", c.serializable.run}
	for kind, list := range map[string][]check{
		"livez": {serializable},
		"readyz": {
			{"data_corruption", c.noCorruption},
			serializable,
			{"linearizable_read", c.linearizable.run},
			{"non_learner", c.notLearner},
		},
	} {
		mux.Handle("/"+kind, onlyGet(func(w http.ResponseWriter, r *http.Request) {
			excluded := r.URL.Query()["exclude"]
			c.serveChecks(w, r, kind, slices.DeleteFunc(slices.Clone(list), func(one check) bool {
				return slices.Contains(excluded, one.name)
			}))
		}))
		for _, one := range list {
			mux.Handle("/"+kind+"/"+one.name, onlyGet(func(w http.ResponseWriter, r *http.Request) {
				c.serveChecks(w, r, kind, []check{one})
			}))
		}
	}
}

// serveChecks runs all checks of the list, the ones after a failure too, and reports each by name.
func (c *checks) serveChecks(w http.ResponseWriter, r *http.Request, kind string, list []check) {
	var report strings.Builder
	healthy := true
	for _, one := range list {
		err := one.run(r.Context())
		c.count(kind, one.name, err)
		if err != nil {
			healthy = false
			fmt.Fprintf(&report, "[-]%s failed: %v\n", one.name, err)
			continue
		}
		fmt.Fprintf(&report, "[+]%s ok\n", one.name)
	}
	if !healthy {
		c.log.Error("health check failed", "path", r.URL.Path, "reason", report.String())
		http.Error(w, report.String(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.URL.Query().Has("verbose") {
		fmt.Fprint(w, report.String())
	}
	fmt.Fprint(w, "ok\n")
}

func (c *checks) count(kind, name string, err error) {
	value, status := 1.0, "success"
	if err != nil {
		value, status = 0, "error"
	}
	c.metrics.Healthcheck.WithLabelValues(kind, name).Set(value)
	c.metrics.Healthchecks.WithLabelValues(kind, name, status).Inc()
}

var (
	errCorrupt = errors.New("alarm activated: CORRUPT")
	errLearner = errors.New("not supported for learner")
)

func (c *checks) noCorruption(context.Context) error {
	if slices.Contains(c.node.Alarms(), "CORRUPT") {
		return errCorrupt
	}
	return nil
}

func (c *checks) notLearner(context.Context) error {
	if c.node.IsLearner() {
		return errLearner
	}
	return nil
}
