package certs

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// ErrOtherCertificate refuses a server that shows another certificate than the one that was expected.
var ErrOtherCertificate = errors.New("the server shows another certificate than the one that was named")

func (k *Keeper) buildClient(c *tls.Config, g guard) *tls.Config {
	c.ServerName = k.options.ServerName
	shown := k.pair
	if k.clientPair != nil {
		shown = k.clientPair
	}
	if shown != nil {
		// Given like this it is shown whatever authorities the server names, as etcd does it; with a list to choose
		// from, a certificate whose root the server forgot to name would be kept back.
		pair := shown.value
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	if k.options.TrustAnyServer {
		c.InsecureSkipVerify = true
		return c
	}
	c.VerifyConnection = g.verify
	if k.authorities != nil {
		c.RootCAs = k.authorities.value.pool
	}
	return c
}

// Client is the configuration for one dial to a host, with the newest files that were read: ask again for
// each dial. The host counts unless the options name one.
func (k *Keeper) Client(host string) *tls.Config {
	c := k.current.Load().client.Clone()
	if c.ServerName == "" {
		c.ServerName = host
	}
	return c
}

// Fingerprint names a certificate for ever: it is the SHA-256 sum of its DER form.
func Fingerprint(cert *x509.Certificate) [sha256.Size]byte { return sha256.Sum256(cert.Raw) }

// Fingerprint is that of the certificate which is shown to those who connect.
func (k *Keeper) Fingerprint() [sha256.Size]byte {
	return Fingerprint(k.current.Load().server.Certificates[0].Leaf)
}

// Pinned is base with one change: it takes the server whose certificate has the fingerprint, and nobody else.
// Names, dates and authorities do not count; who was told the fingerprint knows more than they say.
func Pinned(base *tls.Config, fingerprint [sha256.Size]byte) *tls.Config {
	c := base.Clone()
	c.InsecureSkipVerify = true // instead of its checks there is a stricter one
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return ErrOtherCertificate
		}
		if shown := Fingerprint(s.PeerCertificates[0]); subtle.ConstantTimeCompare(shown[:], fingerprint[:]) != 1 {
			return ErrOtherCertificate
		}
		return nil
	}
	return c
}
