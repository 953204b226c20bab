package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/keelson-db/keelson/internal/invariant"
)

// lookInterval is the pause between two looks at the files.
const lookInterval = time.Second

// Options name the files of one side and what it demands of others.
type Options struct {
	// CertFile and KeyFile hold the certificate chain that is shown to those who connect, and its key, in PEM.
	CertFile, KeyFile string
	// ClientCertFile and ClientKeyFile are shown to those who are dialled; without them CertFile and KeyFile are.
	ClientCertFile, ClientKeyFile string
	// TrustedCAFile holds the authorities of other certificates, in PEM. Naming it demands a certificate of
	// everybody who connects. Without it those who are dialled need one of the system's authorities.
	TrustedCAFile string
	// CRLFile holds lists of revoked certificates, in PEM or one in DER.
	CRLFile string
	// ClientCertAuth demands a certificate of everybody who connects; without TrustedCAFile one that the system's
	// authorities signed.
	ClientCertAuth bool
	// AllowedCNs, if any, are the common names that other certificates may carry.
	AllowedCNs []string
	// AllowedHostnames, if any, are names or addresses of which another certificate must carry one.
	AllowedHostnames []string
	// MatchAddress demands that a certificate with names or addresses comes from one of them.
	MatchAddress bool
	// Resolver answers for MatchAddress; nil stands for the system's.
	Resolver Resolver

	// ServerName, if any, is what the certificate of who is dialled must carry, whatever host was dialled.
	ServerName string
	// TrustAnyServer takes every certificate of who is dialled: the connection is encrypted and nothing is proven.
	TrustAnyServer bool

	// Protocols are offered by ALPN; none stands for HTTP/2 and HTTP/1.1.
	Protocols []string
	// CipherSuites restrict TLS 1.2; empty leaves the choice to Go.
	CipherSuites []uint16
	// MinVersion and MaxVersion bound the TLS version; 0 means TLS 1.2 and the highest there is.
	MinVersion, MaxVersion uint16
}

// Empty reports whether no certificate is named.
func (o *Options) Empty() bool { return o.CertFile == "" && o.KeyFile == "" }

// DemandsCertificates reports whether who connects must show a certificate.
func (o *Options) DemandsCertificates() bool { return o.ClientCertAuth || o.TrustedCAFile != "" }

// Check says what is wrong with the options themselves, before any file is read.
func (o *Options) Check() error {
	if (o.CertFile == "") != (o.KeyFile == "") {
		return fmt.Errorf("KeyFile and CertFile must both be present[key: %v, cert: %v]", o.KeyFile, o.CertFile)
	}
	if (o.ClientKeyFile == "") != (o.ClientCertFile == "") {
		return fmt.Errorf("ClientKeyFile and ClientCertFile must both be present or both absent: key: %v, cert: %v]", o.ClientKeyFile, o.ClientCertFile)
	}
	if len(o.AllowedCNs) > 0 && len(o.AllowedHostnames) > 0 {
		return fmt.Errorf("AllowedCNs and AllowedHostnames are mutually exclusive (cns=%q, hostnames=%q)", o.AllowedCNs, o.AllowedHostnames)
	}
	return nil
}

// Keeper holds the files of one side. Handshakes, of those who connect and with those who are dialled, read one
// atomic pointer; Run is the only one that looks at the disk and swaps it.
type Keeper struct {
	options Options
	log     *slog.Logger

	current atomic.Pointer[sides]

	// The parts belong to Open, and then to Run. Those that are not named are nil and not among all.
	all         []source
	pair        *part[tls.Certificate]
	clientPair  *part[tls.Certificate]
	authorities *part[authorities]
	revoked     *part[*revocations]
	warned      map[*x509.RevocationList]bool // lists that were called old already
}

// source is a part of any kind.
type source interface {
	open() error
	look(log *slog.Logger) (changed bool)
}

// sides are the configurations of the next handshakes. Neither they nor what they refer to is changed again.
type sides struct{ server, client *tls.Config }

// authorities are the certificates of a bundle.
type authorities struct {
	list []*x509.Certificate
	pool *x509.CertPool
}

// Open reads all files. Whatever is wrong with them is an error here and only a complaint later. Without CertFile
// the Keeper serves those who dial and not those who listen.
func Open(o Options, log *slog.Logger) (*Keeper, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	k := &Keeper{options: o, log: log, warned: map[*x509.RevocationList]bool{}}
	if o.CertFile != "" {
		k.pair = pairPart("certificate", o.CertFile, o.KeyFile)
		k.all = append(k.all, k.pair)
	}
	if o.ClientCertFile != "" {
		k.clientPair = pairPart("client certificate", o.ClientCertFile, o.ClientKeyFile)
		k.all = append(k.all, k.clientPair)
	}
	if o.TrustedCAFile != "" {
		k.authorities = &part[authorities]{name: "trusted authorities", paths: []string{o.TrustedCAFile}, parse: parseAuthorities,
			hint: "put a PEM file with at least one certificate in its place"}
		k.all = append(k.all, k.authorities)
	}
	if o.CRLFile != "" { // after the authorities, which lists are checked against
		k.revoked = &part[*revocations]{name: "list of revoked certificates", paths: []string{o.CRLFile}, parse: k.parseRevoked,
			hint: "put a complete list, signed by its authority, in its place"}
		k.all = append(k.all, k.revoked)
	}
	for _, p := range k.all {
		if err := p.open(); err != nil {
			return nil, err
		}
	}
	k.current.Store(k.build())
	return k, nil
}

func pairPart(name, certFile, keyFile string) *part[tls.Certificate] {
	return &part[tls.Certificate]{name: name, paths: []string{certFile, keyFile}, parse: parsePair,
		hint: "write a certificate and the key that belongs to it"}
}

func parsePair(contents [][]byte) (tls.Certificate, error) {
	return tls.X509KeyPair(contents[0], contents[1])
}

func parseAuthorities(contents [][]byte) (authorities, error) {
	found := authorities{pool: x509.NewCertPool()}
	for rest := contents[0]; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return authorities{}, err
		}
		found.list = append(found.list, cert)
		found.pool.AddCert(cert)
	}
	if len(found.list) == 0 {
		return authorities{}, errors.New("the file holds no certificate in PEM form")
	}
	return found, nil
}

func (k *Keeper) trusted() []*x509.Certificate {
	if k.authorities == nil {
		return nil
	}
	return k.authorities.value.list
}

func (k *Keeper) parseRevoked(contents [][]byte) (*revocations, error) {
	return parseRevocations(contents[0], k.trusted())
}

// build makes the configurations of the next handshakes.
func (k *Keeper) build() *sides {
	o := &k.options
	common := &tls.Config{
		NextProtos:   o.Protocols,
		CipherSuites: o.CipherSuites,
		MinVersion:   max(o.MinVersion, tls.VersionTLS12),
		MaxVersion:   o.MaxVersion,
		// A resumed session would show a certificate that was verified against the files of another day.
		SessionTicketsDisabled: true,
	}
	if len(o.Protocols) == 0 {
		common.NextProtos = []string{"h2", "http/1.1"}
	}
	g := guard{cns: o.AllowedCNs, hostnames: o.AllowedHostnames, trusted: k.trusted(), revoked: k.lists()}
	s := &sides{client: k.buildClient(common.Clone(), g)}
	if k.pair != nil {
		s.server = k.buildServer(common, g)
	}
	return s
}

func (k *Keeper) buildServer(c *tls.Config, g guard) *tls.Config {
	c.Certificates = []tls.Certificate{k.pair.value}
	if !k.options.DemandsCertificates() {
		return c
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.VerifyConnection = g.verify
	if k.authorities != nil {
		c.ClientCAs = k.authorities.value.pool
	}
	return c
}

// ServerConfig is the configuration for a listener. It is good for ever: each handshake asks it for the
// newest files that were read.
func (k *Keeper) ServerConfig() *tls.Config {
	invariant.Check(k.pair != nil, "who listens has a certificate")
	c := k.current.Load().server.Clone()
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c := k.current.Load().server
		if k.options.MatchAddress && c.VerifyConnection != nil {
			c = k.matchingAddress(c, hello)
		}
		return c, nil
	}
	return c
}

// Run looks at the files every second and takes up what changed, until the context is done.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		k.warnOfAge(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			k.look()
		}
	}
}

// look takes up what changed, in the order in which it was opened.
func (k *Keeper) look() {
	before, changed := k.lists(), false
	for _, p := range k.all {
		changed = p.look(k.log) || changed
	}
	if !changed {
		return
	}
	if k.lists() != before {
		clear(k.warned)
	}
	k.current.Store(k.build())
}

func (k *Keeper) lists() *revocations {
	if k.revoked == nil {
		return nil
	}
	return k.revoked.value
}

// warnOfAge says once for each list that a newer one should have come. The old one stays in force.
func (k *Keeper) warnOfAge(now time.Time) {
	if k.revoked == nil {
		return
	}
	for _, list := range k.revoked.value.lists {
		if next := list.NextUpdate; !next.IsZero() && now.After(next) && !k.warned[list] {
			k.warned[list] = true
			k.log.Warn("the list of revoked certificates is out of date; what it revokes stays revoked, and what was revoked since is not known",
				"file", k.options.CRLFile, "issuer", list.Issuer.String(), "next-update", next, "hint", "fetch a new list from the authority")
		}
	}
}
