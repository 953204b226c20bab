package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
)

// ErrNameNotAllowed refuses a certificate that carries none of the allowed names.
var ErrNameNotAllowed = errors.New("client certificate authentication failed")

// guard decides about somebody, client or server, whose certificate chains have been verified.
type guard struct {
	cns, hostnames []string
	trusted        []*x509.Certificate
	revoked        *revocations
}

// verify is called at the end of every handshake, full or resumed, and so cannot be stepped around.
func (g guard) verify(s tls.ConnectionState) error {
	if len(s.VerifiedChains) == 0 {
		return errors.New("the certificate was not verified")
	}
	if g.revoked != nil {
		if err := g.revoked.check(s.VerifiedChains, g.trusted); err != nil {
			return err
		}
	}
	return g.checkNames(s.VerifiedChains[0][0])
}

func (g guard) checkNames(leaf *x509.Certificate) error {
	switch {
	case len(g.cns) > 0 && !slices.Contains(g.cns, leaf.Subject.CommonName):
		return ErrNameNotAllowed
	case len(g.hostnames) > 0 && !slices.ContainsFunc(g.hostnames, func(name string) bool { return leaf.VerifyHostname(name) == nil }):
		return ErrNameNotAllowed
	}
	return nil
}
