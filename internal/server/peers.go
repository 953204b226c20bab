package server

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/keelson-db/keelson/internal/certs"
	"github.com/keelson-db/keelson/internal/config"
)

const (
	// peerTLSDir is where in the data directory a certificate lies that the server made for other members.
	peerTLSDir = "fixtures/peer"
	// peerHeaderTime is how long another member may take to say what it wants, with its handshake.
	peerHeaderTime = 10 * time.Second
	// peerDialTime is how long a dial to another member may take.
	peerDialTime = 3 * time.Second
	// peerIdleTime is how long a connection for single requests is kept.
	peerIdleTime = 30 * time.Second
)

// peerDoors are the sockets for other members, and the way to theirs.
type peerDoors struct {
	listeners []net.Listener
	urls      []url.URL
	tls       *certs.Keeper // nil where nothing is given that concerns TLS
	client    *http.Client
	// pinned is such a client that takes only a server with a certificate of this fingerprint.
	pinned func(fingerprint [sha256.Size]byte) *http.Client
	server *http.Server
}

// openPeerDoors opens every socket for other members that the configuration names.
func openPeerDoors(ctx context.Context, c *config.Config, env Env) (_ *peerDoors, err error) {
	d := new(peerDoors)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	for _, u := range c.ListenPeerURLs {
		if slices.ContainsFunc(d.urls, func(other url.URL) bool { return addressOf(&other) == addressOf(&u) }) {
			continue
		}
		l, err := env.listen(ctx, u, "--listen-peer-urls")
		if err != nil {
			return nil, err
		}
		d.listeners, d.urls = append(d.listeners, l), append(d.urls, u)
	}
	if !c.PeerAutoTLS {
		// Wrong files are found before any data is touched; files of our own lie among the data.
		err = d.openTLS(c, c.PeerTLS, env)
	}
	return d, err
}

func (d *peerDoors) openTLS(c *config.Config, o certs.Options, env Env) (err error) {
	if c.PeersUseTLS() {
		if d.tls, err = certs.Open(o, env.Log); err != nil {
			return fmt.Errorf("open TLS for other members: %w", err)
		}
	}
	d.client = &http.Client{Transport: d.transport(c, d.clientTLS)}
	d.pinned = func(fingerprint [sha256.Size]byte) *http.Client {
		return &http.Client{Transport: d.transport(c, func(host string) (*tls.Config, error) {
			base := new(tls.Config)
			if d.tls != nil {
				base = d.tls.Client(host)
			}
			return certs.Pinned(base, fingerprint), nil
		})}
	}
	return nil
}

// clientTLS is what a dial to another member's host is secured with.
func (d *peerDoors) clientTLS(host string) (*tls.Config, error) {
	if d.tls == nil {
		return nil, errors.New("the URL asks for TLS and this member has no certificates for other members: give it --peer-cert-file and --peer-key-file")
	}
	return d.tls.Client(host), nil
}

// openAutoTLS finds or makes the server's own certificate for other members.
func (d *peerDoors) openAutoTLS(c *config.Config, env Env) (err error) {
	if !c.PeerAutoTLS {
		return nil
	}
	o := c.PeerTLS
	o.CertFile, o.KeyFile, err = certs.SelfSigned(filepath.Join(c.DataDir, peerTLSDir), c.PeerHosts(), c.SelfSignedCertValidity, env.Log)
	if err != nil {
		return fmt.Errorf("open TLS for other members: %w", err)
	}
	return d.openTLS(c, o, env)
}

// secure reports whether members are served over TLS.
func (d *peerDoors) secure() bool {
	return d.tls != nil && slices.ContainsFunc(d.urls, func(u url.URL) bool { return config.Secure(&u) })
}

// peerDialer dials other members, from the address that the configuration names.
func peerDialer(c *config.Config) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: peerDialTime}
	if c.PeerLocalAddress.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: c.PeerLocalAddress.AsSlice()}
	}
	return d.DialContext
}

// transport is for single requests to other members, secured as said.
func (d *peerDoors) transport(c *config.Config, secure func(host string) (*tls.Config, error)) *http.Transport {
	dial := peerDialer(c)
	t := &http.Transport{DialContext: dial, IdleConnTimeout: peerIdleTime, DisableCompression: true}
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		o, err := secure(host)
		if err != nil {
			return nil, err
		}
		plain, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		conn := tls.Client(plain, o)
		if err := conn.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, plain.Close())
		}
		return conn, nil
	}
	return t
}

// build puts what members ask for behind the sockets.
func (d *peerDoors) build(handler http.Handler, env Env) {
	d.server = &http.Server{
		Handler: handler, ReadHeaderTimeout: peerHeaderTime, IdleTimeout: peerIdleTime,
		ErrorLog: slog.NewLogLogger(env.Log.Handler(), slog.LevelWarn), Protocols: new(http.Protocols),
	}
	d.server.Protocols.SetHTTP1(true)
}

// runs are the goroutines of the sockets. They end when ctx does, without an error.
func (d *peerDoors) runs(ctx context.Context) (runs []func() error) {
	if d.tls != nil {
		runs = append(runs, func() error { return d.tls.Run(ctx) })
	}
	for i, l := range d.listeners {
		if config.Secure(&d.urls[i]) {
			l = tls.NewListener(l, d.tls.ServerConfig())
		}
		runs = append(runs, func() error {
			defer context.AfterFunc(ctx, func() { _ = d.server.Close() })()
			err := d.server.Serve(l)
			if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return fmt.Errorf("serve other members on %s: %w", d.urls[i].String(), err)
		})
	}
	return runs
}

// close closes the sockets.
func (d *peerDoors) close() error {
	var errs []error
	for _, l := range d.listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if d.client != nil {
		d.client.CloseIdleConnections()
	}
	return errors.Join(errs...)
}
