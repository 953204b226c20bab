package config

import (
	"errors"
	"fmt"
	"slices"

	"github.com/keelson-db/keelson/internal/certs"
)

// readPeerTLS fills what TLS between members is made of. Versions and suites are the same as for clients.
func (c *Config) readPeerTLS(all settings) {
	c.PeerAutoTLS = all.bool("peer-auto-tls")
	c.PeerTLS = certs.Options{
		CertFile: all.text("peer-cert-file"), KeyFile: all.text("peer-key-file"),
		ClientCertFile: all.text("peer-client-cert-file"), ClientKeyFile: all.text("peer-client-key-file"),
		TrustedCAFile: all.text("peer-trusted-ca-file"), CRLFile: all.text("peer-crl-file"),
		ClientCertAuth:   all.bool("peer-client-cert-auth"),
		AllowedCNs:       words(all.text("peer-cert-allowed-cn")),
		AllowedHostnames: words(all.text("peer-cert-allowed-hostname")),
		MatchAddress:     !all.bool("peer-skip-client-san-verification"),
		TrustAnyServer:   c.PeerAutoTLS,
		Protocols:        []string{"http/1.1"}, // members take connections over, which HTTP/2 does not let them
		CipherSuites:     c.ClientTLS.CipherSuites, MinVersion: c.ClientTLS.MinVersion, MaxVersion: c.ClientTLS.MaxVersion,
	}
	if c.PeerTLS.TrustedCAFile == "" {
		// The records that were looked up name hosts; only the domain was named by the operator.
		c.PeerTLS.ServerName = c.DiscoverySRV
	}
}

// validatePeerTLS demands a certificate for every peer URL that asks for TLS, and refuses a certificate that nobody
// vouches for where others are to be vouched for.
func (c *Config) validatePeerTLS() error {
	o := &c.PeerTLS
	if c.PeerAutoTLS && !o.Empty() {
		c.PeerAutoTLS, o.TrustAnyServer = false, false
		c.warnf("--peer-auto-tls has no effect: --peer-cert-file and --peer-key-file are given.")
	}
	if c.PeerAutoTLS && (o.DemandsCertificates() || o.ClientCertFile != "") {
		return errors.New("--peer-auto-tls encrypts and proves nothing, because every member signs its own certificate: " +
			"leave out --peer-trusted-ca-file, --peer-client-cert-auth and --peer-client-cert-file, or give --peer-cert-file and --peer-key-file")
	}
	if c.PeerAutoTLS && c.SelfSignedCertValidity == 0 {
		return certs.ErrValidity
	}
	for i := range c.ListenPeerURLs {
		u := &c.ListenPeerURLs[i]
		switch {
		case Secure(u) && o.Empty() && !c.PeerAutoTLS:
			return fmt.Errorf("cannot listen on TLS for %s: KeyFile and CertFile are not presented", u.Host)
		case Secure(u):
		case o.ClientCertAuth:
			c.warnf("%s is served without asking for other members' certificates although --peer-client-cert-auth is on; https:// asks for them.", u.String())
		case !o.Empty() || c.PeerAutoTLS:
			c.warnf("%s is served to other members in plain text although there is a certificate; https:// asks for TLS.", u.String())
		}
	}
	if err := o.Check(); err != nil {
		return err
	}
	if !o.DemandsCertificates() && (o.CRLFile != "" || len(o.AllowedCNs)+len(o.AllowedHostnames) > 0) {
		c.warnf("--peer-crl-file and the allowed names of members' certificates do not keep anybody out: " +
			"nobody who connects is asked for a certificate; --peer-client-cert-auth and --peer-trusted-ca-file ask for one.")
	}
	return nil
}

// PeersUseTLS reports whether anything is given that concerns TLS between members, be it only towards others.
func (c *Config) PeersUseTLS() bool {
	o := &c.PeerTLS
	return c.PeerAutoTLS || !o.Empty() || o.TrustedCAFile != "" || o.ClientCertFile != ""
}

// PeerHosts are the names and addresses that a certificate made for other members carries.
func (c *Config) PeerHosts() []string {
	var hosts []string
	for i := range c.ListenPeerURLs {
		hosts = append(hosts, c.ListenPeerURLs[i].Hostname())
	}
	return slices.Compact(hosts)
}
