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
)

// lookInterval is the pause between two looks at the files.
const lookInterval = time.Second

// Options name the files of one side and what it demands of those who connect.
type Options struct {
	// CertFile and KeyFile hold the server's certificate chain and key, in PEM.
	CertFile, KeyFile string
	// ClientCertFile and ClientKeyFile are checked at the start; the server makes no calls that need them.
	ClientCertFile, ClientKeyFile string
	// TrustedCAFile holds the authorities of the clients' certificates, in PEM. Naming it demands a
	// certificate of every client.
	TrustedCAFile string
	// CRLFile holds lists of revoked certificates, in PEM or one in DER.
	CRLFile string
	// ClientCertAuth demands a certificate of every client; without TrustedCAFile one that the system's
	// authorities signed.
	ClientCertAuth bool
	// AllowedCNs, if any, are the common names that client certificates may carry.
	AllowedCNs []string
	// AllowedHostnames, if any, are names or addresses of which a client certificate must carry one.
	AllowedHostnames []string

	// CipherSuites restrict TLS 1.2; empty leaves the choice to Go.
	CipherSuites []uint16
	// MinVersion and MaxVersion bound the TLS version; 0 means TLS 1.2 and the highest there is.
	MinVersion, MaxVersion uint16
}

// Empty reports whether no certificate is named.
func (o *Options) Empty() bool { return o.CertFile == "" && o.KeyFile == "" }

// DemandsCertificates reports whether clients must show a certificate.
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

// Keeper holds the files of one side. Handshakes read one atomic pointer; Run is the only one that looks at
// the disk and swaps it.
type Keeper struct {
	options Options
	log     *slog.Logger

	current atomic.Pointer[tls.Config]

	// The parts belong to Open, and then to Run.
	pair        *part[tls.Certificate]
	authorities *part[authorities]            // nil when none are named
	revoked     *part[*revocations]           // nil when none are named
	warned      map[*x509.RevocationList]bool // lists that were called old already
}

// authorities are the certificates of a bundle.
type authorities struct {
	list []*x509.Certificate
	pool *x509.CertPool
}

// Open reads all files. Whatever is wrong with them is an error here and only a complaint later.
func Open(o Options, log *slog.Logger) (*Keeper, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	k := &Keeper{options: o, log: log, pair: pairPart("certificate", o.CertFile, o.KeyFile)}
	if err := k.pair.open(); err != nil {
		return nil, err
	}
	if o.ClientCertFile != "" {
		if err := pairPart("client certificate", o.ClientCertFile, o.ClientKeyFile).open(); err != nil {
			return nil, err
		}
	}
	if o.TrustedCAFile != "" {
		k.authorities = &part[authorities]{name: "trusted authorities", paths: []string{o.TrustedCAFile}, parse: parseAuthorities,
			hint: "put a PEM file with at least one certificate in its place"}
		if err := k.authorities.open(); err != nil {
			return nil, err
		}
	}
	if o.CRLFile != "" {
		k.revoked = &part[*revocations]{name: "list of revoked certificates", paths: []string{o.CRLFile}, parse: k.parseRevoked,
			hint: "put a complete list, signed by its authority, in its place"}
		if err := k.revoked.open(); err != nil {
			return nil, err
		}
		k.warned = map[*x509.RevocationList]bool{}
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

// build makes the configuration of the next handshakes. What it refers to is never changed again.
func (k *Keeper) build() *tls.Config {
	o := &k.options
	c := &tls.Config{
		Certificates: []tls.Certificate{k.pair.value},
		NextProtos:   []string{"h2", "http/1.1"},
		CipherSuites: o.CipherSuites,
		MinVersion:   max(o.MinVersion, tls.VersionTLS12),
		MaxVersion:   o.MaxVersion,
		// A resumed session would show a certificate that was verified against the files of another day.
		SessionTicketsDisabled: true,
	}
	if !o.DemandsCertificates() {
		return c
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	if k.authorities != nil {
		c.ClientCAs = k.authorities.value.pool
	}
	g := guard{cns: o.AllowedCNs, hostnames: o.AllowedHostnames, trusted: k.trusted()}
	if k.revoked != nil {
		g.revoked = k.revoked.value
	}
	c.VerifyConnection = g.verify
	return c
}

// ServerConfig is the configuration for a listener. It is good for ever: each handshake asks it for the
// newest files that were read.
func (k *Keeper) ServerConfig() *tls.Config {
	c := k.current.Load().Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return k.current.Load(), nil }
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

// look takes up what changed. The authorities come before the lists, which are checked against them.
func (k *Keeper) look() {
	changed := k.pair.look(k.log)
	if k.authorities != nil && k.authorities.look(k.log) {
		changed = true
	}
	if k.revoked != nil && k.revoked.look(k.log) {
		changed = true
		clear(k.warned)
	}
	if changed {
		k.current.Store(k.build())
	}
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
