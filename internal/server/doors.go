package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/web"
)

// doors are the sockets and what answers on them.
type doors struct {
	both    []net.Listener // gRPC, and HTTP unless it has sockets of its own
	http    []net.Listener
	metrics []net.Listener

	splitters []*web.Splitter
	grpc      *grpc.Server
	web       *http.Server
	probes    *http.Server
}

// openDoors opens every socket that the configuration names.
func openDoors(ctx context.Context, c *config.Config, env Env) (_ *doors, err error) {
	d := new(doors)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	open := func(urls []url.URL) (list []net.Listener, err error) {
		for _, u := range urls {
			l, err := env.listen(ctx, u)
			if err != nil {
				return list, err
			}
			list = append(list, l)
		}
		return list, nil
	}
	if d.both, err = open(c.ListenClientURLs); err != nil {
		return nil, err
	}
	if d.http, err = open(c.ListenClientHTTPURLs); err != nil {
		return nil, err
	}
	if d.metrics, err = open(c.ListenMetricsURLs); err != nil {
		return nil, err
	}
	return d, nil
}

// build puts the services behind the sockets.
func (d *doors) build(s *Server) {
	c := s.config
	o := web.HandlerOptions{
		Node: node{s}, Metrics: s.metrics, Log: s.log, Version: config.APIVersion(),
		CORS: c.CORS, HostWhitelist: c.HostWhitelist, EnablePprof: c.EnablePprof || c.LogLevel == "debug",
	}
	d.grpc = s.grpc
	d.web = web.NewServer(web.NewHandler(o), s.log)
	d.probes = web.NewServer(web.NewMetricsHandler(o), s.log)
	if len(d.http) > 0 {
		return // gRPC has the client sockets to itself
	}
	for _, l := range d.both {
		d.splitters = append(d.splitters, web.NewSplitter(l, web.SplitOptions{Log: s.log, Metrics: s.metrics.Web}))
	}
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
	for _, s := range d.splitters {
		add(func() error { return s.Run(ctx) })
		add(func() error { return d.grpc.Serve(s.GRPC()) })
		add(func() error { return d.web.Serve(s.HTTP()) })
	}
	if len(d.splitters) == 0 {
		for _, l := range d.both {
			add(func() error { return d.grpc.Serve(l) })
		}
	}
	for _, l := range d.http {
		add(func() error { return d.web.Serve(l) })
	}
	for _, l := range d.metrics {
		add(func() error { return d.probes.Serve(l) })
	}
	return runs
}

// drain lets requests under way end, for a while, and then ends them. It returns at the latest when the
// patience is over twice: a request that is stuck in a failed disk never ends.
func (d *doors) drain(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
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
	for _, l := range slices.Concat(d.both, d.http, d.metrics) {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
