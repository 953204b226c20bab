package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// identity is a certificate with its key: an authority, a server or a client.
type identity struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	by   *identity // who signed it; nil for a root
}

// issue makes an identity. What differs from a client's usual certificate is changed in the template.
func issue(t testing.TB, by *identity, serial int64, change func(*x509.Certificate)) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	change(template)
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &identity{t: t, cert: cert, key: key, by: by}
}

// authority changes a template into that of an authority.
func authority(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject.CommonName, c.IsCA, c.ExtKeyUsage = name, true, nil
		c.KeyUsage = x509.KeyUsageCertSign // kubeadm's authorities are not marked as signers of lists either
	}
}

func asIs(*x509.Certificate) {}

func newRoot(t testing.TB, name string) *identity { return issue(t, nil, 1, authority(name)) }

// newServer is a certificate for a server on loopback.
func newServer(t testing.TB, by *identity, serial int64) *identity {
	return issue(t, by, serial, func(c *x509.Certificate) {
		c.Subject.CommonName, c.ExtKeyUsage, c.IPAddresses = "server", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
}

func (id *identity) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.cert.Raw})
}

func (id *identity) keyPEM() []byte {
	der, err := x509.MarshalECPrivateKey(id.key)
	if err != nil {
		id.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// pair is what a client shows: its certificate and those of the authorities below the root.
func (id *identity) pair() *tls.Certificate {
	c := &tls.Certificate{PrivateKey: id.key}
	for at := id; at != nil && (at.by != nil || at == id); at = at.by {
		c.Certificate = append(c.Certificate, at.cert.Raw)
	}
	return c
}

// revoke is a list of this authority, in DER.
func (id *identity) revoke(change func(*x509.RevocationList), serials ...int64) []byte {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: time.Now()})
	}
	if change != nil {
		change(list)
	}
	marked := *id.cert
	marked.KeyUsage |= x509.KeyUsageCRLSign
	der, err := x509.CreateRevocationList(rand.Reader, list, &marked, id.key)
	if err != nil {
		id.t.Fatal(err)
	}
	return der
}

func listPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// logBuffer is a log that a test can read.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// world is a directory of files, and a Keeper of them.
type world struct {
	*Keeper
	t       testing.TB
	dir     string
	log     *logBuffer
	root    *identity // of the server and, unless a test says otherwise, of its clients
	options Options
}

// newWorld writes a server's files. change sees the options before they are opened.
func newWorld(t testing.TB, change func(*world)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), log: &logBuffer{}, root: newRoot(t, "root")}
	server := newServer(t, w.root, 2)
	w.options = Options{CertFile: w.put("cert", server.certPEM()), KeyFile: w.put("key", server.keyPEM()), TrustedCAFile: w.put("ca", w.root.certPEM())}
	if change != nil {
		change(w)
	}
	var err error
	if w.Keeper, err = Open(w.options, slog.New(slog.NewTextHandler(w.log, nil))); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// put writes a file in one step and returns its path.
func (w *world) put(name string, data []byte) string {
	w.t.Helper()
	path := w.path(name)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// connect makes one handshake with the server of c and returns what each side says of it.
func connect(t testing.TB, c, client *tls.Config) (state tls.ConnectionState, server, mine error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			defer conn.Close()
			s := tls.Server(conn, c)
			if err = s.Handshake(); err == nil {
				_, err = s.Write([]byte("x"))
			}
		}
		done <- err
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err == nil {
		defer conn.Close()
		state = conn.ConnectionState()
		_, err = conn.Read(make([]byte, 1))
	}
	return state, <-done, err
}

// as is the configuration of a client that trusts the server's root and shows a certificate, or none.
func (w *world) as(id *identity) *tls.Config {
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AddCert(w.root.cert)
	if id != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return id.pair(), nil }
	}
	return c
}

// admits reports whether the server takes a client, and fails the test if the two sides disagree.
func (w *world) admits(id *identity) error {
	w.t.Helper()
	_, server, mine := connect(w.t, w.ServerConfig(), w.as(id))
	if (server == nil) != (mine == nil) {
		w.t.Fatalf("the server says %v, the client %v", server, mine)
	}
	return server
}
