package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/keelson-db/keelson/internal/certs"
)

// ErrMissingClientTLSInfoForMetricsURL refuses a secure metrics URL without a certificate.
var ErrMissingClientTLSInfoForMetricsURL = errors.New("client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url")

// Secure reports whether a URL asks for TLS.
func Secure(u *url.URL) bool { return u.Scheme == "https" || u.Scheme == "unixs" }

// readTLS fills what TLS for clients and for other members is made of.
func (c *Config) readTLS(all settings) (err error) {
	c.ClientTLS = certs.Options{
		CertFile: all.text("cert-file"), KeyFile: all.text("key-file"),
		ClientCertFile: all.text("client-cert-file"), ClientKeyFile: all.text("client-key-file"),
		TrustedCAFile: all.text("trusted-ca-file"), CRLFile: all.text("client-crl-file"),
		ClientCertAuth:   all.bool("client-cert-auth"),
		AllowedCNs:       words(all.text("client-transport-security.allowed-cn")),
		AllowedHostnames: words(all.text("client-cert-allowed-hostname")),
	}
	c.AutoTLS = all.bool("auto-tls")
	c.SelfSignedCertValidity = all.count("self-signed-cert-validity")
	if c.ConfigFile != "" && c.SelfSignedCertValidity == 0 {
		c.SelfSignedCertValidity = 1
	}
	if c.ClientTLS.MinVersion, err = certs.Version(all.text("tls-min-version")); err != nil {
		return err
	}
	if c.ClientTLS.MaxVersion, err = certs.Version(all.text("tls-max-version")); err != nil {
		return err
	}
	suites := words(all.text("cipher-suites"))
	if err := checkVersions(&c.ClientTLS, all, suites); err != nil {
		return err
	}
	ids, insecure, err := certs.CipherSuites(suites)
	if err != nil {
		return err
	}
	c.ClientTLS.CipherSuites = ids
	if len(insecure) > 0 {
		c.warnf("--cipher-suites has %v, which are known to be weak.", insecure)
	}
	c.readPeerTLS(all)
	return nil
}

func checkVersions(o *certs.Options, all settings, suites []string) error {
	if o.MaxVersion != 0 && o.MinVersion > o.MaxVersion {
		return fmt.Errorf("min version (%s) is greater than max version (%s)", all.text("tls-min-version"), all.text("tls-max-version"))
	}
	if all.text("tls-min-version") == tls13 && len(suites) > 0 {
		return errors.New("cipher suites cannot be configured when only TLS1.3 is enabled")
	}
	return nil
}

// validateTLS demands a certificate for every URL that asks for TLS, and warns of settings that promise more
// than they hold.
func (c *Config) validateTLS() error {
	if c.AutoTLS && !c.ClientTLS.Empty() {
		c.AutoTLS = false
		c.warnf("--auto-tls has no effect: --cert-file and --key-file are given.")
	}
	clients := slices.Concat(c.ListenClientURLs, c.ListenClientHTTPURLs)
	secure := false
	for i := range clients {
		u := &clients[i]
		switch {
		case Secure(u) && c.ClientTLS.Empty() && !c.AutoTLS:
			return fmt.Errorf("TLS key/cert (--cert-file, --key-file) must be provided for client url %s with HTTPS scheme", u.String())
		case Secure(u):
			secure = true
		default:
			c.warnOfPlain(u)
		}
	}
	if err := c.checkSharedAddresses(); err != nil {
		return err
	}
	for i := range c.ListenMetricsURLs {
		if Secure(&c.ListenMetricsURLs[i]) {
			if secure = true; c.ClientTLS.Empty() && !c.AutoTLS {
				return ErrMissingClientTLSInfoForMetricsURL
			}
		}
	}
	return c.checkTLSUse(secure)
}

// warnOfPlain tells of settings for TLS beside a URL without it.
func (c *Config) warnOfPlain(u *url.URL) {
	if !c.ClientTLS.Empty() || c.AutoTLS {
		c.warnf("%s is served in plain text although there is a certificate; https:// asks for TLS.", u.String())
	}
	if c.ClientTLS.ClientCertAuth {
		c.warnf("%s is served without asking for client certificates although --client-cert-auth is on; https:// asks for them.", u.String())
	}
}

// checkSharedAddresses lets one address be served with and without TLS, and not for HTTP alone and for gRPC.
func (c *Config) checkSharedAddresses() error {
	for i := range c.ListenClientHTTPURLs {
		u := &c.ListenClientHTTPURLs[i]
		if slices.ContainsFunc(c.ListenClientURLs, func(other url.URL) bool { return sameAddress(u, &other) }) {
			return fmt.Errorf("cannot bind both --listen-client-urls and --listen-client-http-urls on the same url %s", u.String())
		}
	}
	return nil
}

func sameAddress(a, b *url.URL) bool {
	return isSocket(a) == isSocket(b) && a.Host+a.Path == b.Host+b.Path
}

func (c *Config) checkTLSUse(secure bool) error {
	if !secure {
		return nil
	}
	o := &c.ClientTLS
	if c.AutoTLS {
		if c.SelfSignedCertValidity == 0 {
			return fmt.Errorf("--auto-tls: %w", certs.ErrValidity)
		}
		made := *o
		made.CertFile, made.KeyFile = "cert.pem", "key.pem"
		o = &made
	}
	if err := o.Check(); err != nil {
		return err
	}
	switch {
	case !o.DemandsCertificates() && (o.CRLFile != "" || len(o.AllowedCNs)+len(o.AllowedHostnames) > 0):
		c.warnf("--client-crl-file and the allowed names of client certificates have no effect: " +
			"no client is asked for a certificate; --client-cert-auth and --trusted-ca-file ask for one.")
	case o.ClientCertAuth && o.TrustedCAFile == "":
		c.warnf("--client-cert-auth without --trusted-ca-file takes certificates of every authority that this machine trusts.")
	}
	return nil
}
