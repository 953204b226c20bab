package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// PKI is an authority made for one test, and one certificate that every member and client of the test shows.
type PKI struct {
	CA, Cert, Key string // files in PEM
	pool          *x509.CertPool
	pair          tls.Certificate
}

// NewPKI makes an authority and a certificate for the loopback addresses and the given ones.
func NewPKI(t testing.TB, ips ...net.IP) *PKI {
	t.Helper()
	dir := t.TempDir()
	p := &PKI{CA: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "member.crt"), Key: filepath.Join(dir, "member.key")}
	from, until := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	member := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "member"}, NotBefore: from, NotAfter: until,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: append([]net.IP{net.IPv4(127, 0, 0, 1)}, ips...),
	}
	authorityKey, memberKey := newKey(t), newKey(t)
	authorityDER := sign(t, authority, authority, authorityKey, authorityKey)
	memberDER := sign(t, member, authority, memberKey, authorityKey)
	keyDER, err := x509.MarshalPKCS8PrivateKey(memberKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, p.CA, "CERTIFICATE", authorityDER)
	writePEM(t, p.Cert, "CERTIFICATE", memberDER)
	writePEM(t, p.Key, "PRIVATE KEY", keyDER)
	root, err := x509.ParseCertificate(authorityDER)
	if err != nil {
		t.Fatal(err)
	}
	p.pool = x509.NewCertPool()
	p.pool.AddCert(root)
	p.pair = tls.Certificate{Certificate: [][]byte{memberDER}, PrivateKey: memberKey}
	return p
}

// Client is what a client of the members needs.
func (p *PKI) Client() *tls.Config {
	return &tls.Config{RootCAs: p.pool, Certificates: []tls.Certificate{p.pair}, MinVersion: tls.VersionTLS12}
}

// Args make a member ask for certificates on both of its sides and show its own.
func (p *PKI) Args() []string {
	return []string{
		"--cert-file", p.Cert, "--key-file", p.Key, "--trusted-ca-file", p.CA, "--client-cert-auth",
		"--peer-cert-file", p.Cert, "--peer-key-file", p.Key, "--peer-trusted-ca-file", p.CA, "--peer-client-cert-auth",
	}
}

// CtlArgs make etcdctl show the certificate.
func (p *PKI) CtlArgs() []string { return []string{"--cacert", p.CA, "--cert", p.Cert, "--key", p.Key} }

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, child, parent *x509.Certificate, key, by *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, child, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
