package web

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
)

// gate stands before every request on the client port: it maps the old beta prefix, refuses hosts that are
// not on the list, tells browsers which origins may call, and answers OPTIONS.
type gate struct {
	next    http.Handler
	origins []string // nil allows all
	hosts   []string // nil allows all
}

func newGate(o HandlerOptions, next http.Handler) *gate {
	return &gate{next: next, origins: unlessAll(o.CORS), hosts: unlessAll(o.HostWhitelist)}
}

// unlessAll is the list, or nil when it allows everything.
func unlessAll(list []string) []string {
	if len(list) == 0 || slices.Contains(list, "*") {
		return nil
	}
	return list
}

// ServeHTTP implements http.Handler. The order of the steps is part of the contract: a wrong host gets
// neither CORS headers nor an answer to OPTIONS.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if rest, ok := strings.CutPrefix(r.URL.Path, "/v3beta/"); ok {
		r.URL.Path = "/v3/" + rest
	}
	if host := hostname(r); r.TLS == nil && !g.hostAllowed(host) {
		http.Error(w, unknownHost(host), http.StatusMisdirectedRequest)
		return
	}
	if origin := g.allowedOrigin(r); origin != "" {
		w.Header().Set("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE")
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Allow-Headers", "accept, content-type, authorization")
	}
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusOK)
		return
	}
	g.next.ServeHTTP(w, r)
}

func (g *gate) hostAllowed(host string) bool {
	return g.hosts == nil || slices.ContainsFunc(g.hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// allowedOrigin is what Access-Control-Allow-Origin shall say, or "" to say nothing.
func (g *gate) allowedOrigin(r *http.Request) string {
	if g.origins == nil {
		return "*"
	}
	if origin := r.Header.Get("Origin"); slices.Contains(g.origins, origin) {
		return origin
	}
	return ""
}

// hostname is the request's host without its port.
func hostname(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	return r.Host
}

// unknownHost explains the refusal. Scripts know etcd's first line, so it stays.
func unknownHost(host string) string {
	return fmt.Sprintf(`
etcd received your request, but the Host header was unrecognized.

A plain-text request must name a host that the server was told to answer to. Otherwise a web page could
reach this server from inside your network under a name of its own (DNS rebinding).

What to do: add the name to the list when you start the server, for example --host-whitelist=%q,
or serve clients over TLS.
`, host)
}
