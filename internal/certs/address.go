package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// maxLookUp is how long name servers may take to tell whether somebody's certificate and address match.
const maxLookUp = 5 * time.Second

// Resolver asks name servers. net.Resolver is one.
type Resolver interface {
	// LookupAddr returns the names of an address.
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	// LookupHost returns the addresses of a name.
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// matchingAddress is a server's configuration for one connection, whose client's certificate must fit the address
// that it comes from. It is etcd's rule for members: a certificate that was stolen is of no use elsewhere.
func (k *Keeper) matchingAddress(c *tls.Config, hello *tls.ClientHelloInfo) *tls.Config {
	remote, err := netip.ParseAddrPort(hello.Conn.RemoteAddr().String())
	if err != nil {
		return c // a socket of this machine comes from no address
	}
	addr, verify := remote.Addr().Unmap().WithZone(""), c.VerifyConnection
	c = c.Clone()
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if err := verify(s); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(hello.Context(), maxLookUp)
		defer cancel()
		return matchAddress(ctx, k.resolver(), s.PeerCertificates[0], addr)
	}
	return c
}

func (k *Keeper) resolver() Resolver {
	if k.options.Resolver != nil {
		return k.options.Resolver
	}
	return net.DefaultResolver
}

// matchAddress refuses a certificate that carries names or addresses and none for this address. A certificate
// without any may come from anywhere.
func matchAddress(ctx context.Context, r Resolver, cert *x509.Certificate, addr netip.Addr) error {
	if len(cert.IPAddresses) > 0 {
		err := cert.VerifyHostname(addr.String())
		if err == nil || len(cert.DNSNames) == 0 {
			return err
		}
	}
	if len(cert.DNSNames) == 0 {
		return nil
	}
	found, err := belongs(ctx, r, addr, cert.DNSNames)
	switch {
	case found:
		return nil
	case err != nil:
		return fmt.Errorf("tls: %q does not match any of DNSNames %q (%w)", addr.String(), cert.DNSNames, err)
	}
	return fmt.Errorf("tls: %q does not match any of DNSNames %q", addr.String(), cert.DNSNames)
}

// belongs reports whether an address is that of one of the names: its own names are asked for first, because a
// pattern such as *.example has no addresses. The error is that of the last question that failed.
func belongs(ctx context.Context, r Resolver, addr netip.Addr, names []string) (bool, error) {
	own, err := r.LookupAddr(ctx, addr.String())
	for _, name := range own {
		name = strings.TrimSuffix(name, ".")
		for _, pattern := range names {
			ending, wild := strings.CutPrefix(pattern, "*")
			if pattern == name || wild && strings.HasPrefix(ending, ".") && strings.HasSuffix(name, ending) {
				return true, nil
			}
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, "*.") {
			continue
		}
		addrs, lookErr := r.LookupHost(ctx, name)
		if lookErr != nil {
			err = lookErr
		} else if slices.ContainsFunc(addrs, func(text string) bool { return sameAddress(text, addr) }) {
			return true, nil
		}
	}
	return false, err
}

func sameAddress(text string, addr netip.Addr) bool {
	other, err := netip.ParseAddr(text)
	return err == nil && other.Unmap().WithZone("") == addr
}
