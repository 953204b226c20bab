package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/keelson-db/keelson/internal/certs"
	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/web"
)

// autoTLSDir is where in the data directory a certificate lies that the server made for its clients.
const autoTLSDir = "fixtures/client"

// door is one socket and what is spoken on it.
type door struct {
	url           url.URL // the first one that names the socket
	plain, secure bool
	grpc, http    bool
	probes        bool // HTTP is that of a metrics port
	listener      net.Listener
	splitter      *web.Splitter
}

// doors are the sockets and what answers on them.
type doors struct {
	all  []*door
	tls  *certs.Keeper // nil where nobody asks for TLS
	grpc grpcServer
	// inside is where the server is its own client.
	inside *inside

	web, probes *http.Server
}

// planDoors finds the sockets that the configuration names. One socket may be named twice, with and without
// TLS, and then speaks both.
func planDoors(c *config.Config) []*door {
	var all []*door
	add := func(urls []url.URL, kind door) {
		for _, u := range urls {
			i := slices.IndexFunc(all, func(d *door) bool { return d.probes == kind.probes && addressOf(&d.url) == addressOf(&u) })
			if i < 0 {
				d := kind
				d.url = u
				all = append(all, &d)
				i = len(all) - 1
			}
			all[i].secure = all[i].secure || config.Secure(&u)
			all[i].plain = all[i].plain || !config.Secure(&u)
		}
	}
	add(c.ListenClientURLs, door{grpc: true, http: len(c.ListenClientHTTPURLs) == 0})
	add(c.ListenClientHTTPURLs, door{http: true})
	add(c.ListenMetricsURLs, door{http: true, probes: true})
	return all
}

// openDoors opens every socket that the configuration names.
func openDoors(ctx context.Context, c *config.Config, env Env) (_ *doors, err error) {
	d := &doors{all: planDoors(c)}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	for _, one := range d.all {
		if one.listener, err = env.listen(ctx, one.url, "--listen-client-urls"); err != nil {
			return nil, err
		}
	}
	if !c.AutoTLS {
		// Wrong files are found before any data is touched; files of our own lie among the data.
		err = d.openTLS(c.ClientTLS, env)
	}
	return d, err
}

func (d *doors) secure() bool {
	return slices.ContainsFunc(d.all, func(one *door) bool { return one.secure })
}

func (d *doors) openTLS(o certs.Options, env Env) (err error) {
	if !d.secure() {
		return nil
	}
	if d.tls, err = certs.Open(o, env.Log); err != nil {
		return fmt.Errorf("open TLS for clients: %w", err)
	}
	return nil
}

// openAutoTLS finds or makes the server's own certificate.
func (d *doors) openAutoTLS(c *config.Config, env Env) (err error) {
	if !c.AutoTLS || !d.secure() {
		return nil
	}
	var hosts []string
	for _, u := range slices.Concat(c.ListenClientURLs, c.ListenClientHTTPURLs) {
		hosts = append(hosts, u.Hostname())
	}
	o := c.ClientTLS
	o.CertFile, o.KeyFile, err = certs.SelfSigned(filepath.Join(c.DataDir, autoTLSDir), hosts, c.SelfSignedCertValidity, env.Log)
	if err != nil {
		return fmt.Errorf("open TLS for clients: %w", err)
	}
	return d.openTLS(o, env)
}

// build puts the services behind the sockets.
func (d *doors) build(s *Server) error {
	c := s.config
	if err := d.openAutoTLS(c, s.env); err != nil {
		return err
	}
	o := web.HandlerOptions{
		Node: node{s}, Metrics: s.metrics, Log: s.log, Version: config.APIVersion(),
		CORS: c.CORS, HostWhitelist: c.HostWhitelist, EnablePprof: c.EnablePprof || c.LogLevel == "debug",
	}
	o.Gateway = http.NotFoundHandler()
	if c.EnableGRPCGateway {
		var err error
		if o.Gateway, err = s.gateway(); err != nil {
			return err
		}
	}
	o.JoinToken = http.HandlerFunc(s.giveToken)
	d.grpc, d.inside = s.grpc, s.inside
	d.web = web.NewServer(web.NewHandler(o), s.log)
	d.web.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: int(min(c.MaxConcurrentStreams, math.MaxInt32))}
	d.probes = web.NewServer(web.NewMetricsHandler(o), s.log)
	clients, probes, err := slots()
	if err != nil {
		return err
	}
	for _, one := range d.all {
		split := web.SplitOptions{Log: s.log, Metrics: s.metrics.Web, NoGRPC: !one.grpc, NoHTTP: !one.http, Slots: clients}
		if one.probes {
			split.Slots = probes
		}
		if one.secure {
			split.TLS, split.TLSOnly = d.tls.ServerConfig(), !one.plain
		}
		one.splitter = web.NewSplitter(one.listener, split)
	}
	return nil
}

// slots bound the connections of clients and of those who probe, where it is known how many files there may be.
func slots() (clients, probes *web.Slots, err error) {
	files, err := shareFiles(metrics.DescriptorLimit())
	if err != nil || files.connections == 0 {
		return nil, nil, err
	}
	return web.NewSlots(files.connections), web.NewSlots(probeConnections), nil
}

// runs are the goroutines of the doors. They end when ctx does, without an error.
func (d *doors) runs(ctx context.Context) (runs []func() error) {
	add := func(serve func() error) {
		runs = append(runs, func() error {
			err := serve()
			if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) || errors.Is(err, grpc.ErrServerStopped) || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		})
	}
	add(d.inside.serve)
	if d.tls != nil {
		add(func() error { return d.tls.Run(ctx) })
	}
	for _, one := range d.all {
		add(func() error { return one.splitter.Run(ctx) })
		if one.grpc {
			add(func() error { return d.grpc.Serve(one.splitter.GRPC()) })
		}
		if one.http {
			server := d.web
			if one.probes {
				server = d.probes
			}
			add(func() error { return server.Serve(one.splitter.HTTP()) })
		}
	}
	return runs
}

// drain lets requests under way end, for a while, and then ends them. It returns at the latest when the
// patience is over twice: a request that is stuck in a failed disk never ends.
func (d *doors) drain(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer d.inside.stop() // last, because those who are being answered may still have to ask there
	// Watches never end by themselves: after the patience they are cut, and clients open them elsewhere.
	stop := context.AfterFunc(ctx, d.grpc.Stop)
	defer stop()
	var closing sync.WaitGroup
	for _, s := range []*http.Server{d.web, d.probes} {
		closing.Go(func() {
			if s.Shutdown(ctx) != nil {
				_ = s.Close() // it took too long: what is left is cut, and there is nobody to tell
			}
		})
	}
	closing.Go(d.grpc.GracefulStop)
	done := make(chan struct{})
	go func() { closing.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * patience):
	}
}

// close closes the sockets of doors that never ran.
func (d *doors) close() error {
	var errs []error
	for _, one := range d.all {
		if one.listener != nil {
			errs = append(errs, one.listener.Close())
		}
	}
	return errors.Join(errs...)
}
