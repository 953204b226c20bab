package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestListsThatCannotBeTrustedAreRefused(t *testing.T) {
	root := newRoot(t, "root")
	extension := func(oid asn1.ObjectIdentifier, value any) func(*x509.RevocationList) {
		der, err := asn1.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: oid, Critical: true, Value: der}}
		}
	}
	type indirect struct {
		On bool `asn1:"tag:4"`
	}
	type usersOnly struct {
		On bool `asn1:"tag:1"`
	}
	foreign := func(l *x509.RevocationList) {
		l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{5, 0}}}
	}
	good := root.revoke(nil, 1)
	bent := append([]byte(nil), good...)
	bent[len(bent)-1] ^= 1
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"in DER":                              {good, nil},
		"in PEM":                              {listPEM(good), nil},
		"of an authority that is not trusted": {newRoot(t, "another").revoke(nil, 1), nil},
		"for clients only":                    {root.revoke(extension(oidDistributionPoint, usersOnly{true}), 1), nil},
		"empty file":                          {nil, errNoList},
		"PEM of something else":               {root.certPEM(), errNoList},
		"half of one":                         {good[:len(good)/2], errNoList},
		"with a wrong signature":              {bent, errListOfSomebodyElses},
		"forged under the right name":         {newRoot(t, "root").revoke(nil), errListOfSomebodyElses},
		"of changes only":                     {root.revoke(extension(oidDeltaIndicator, 1), 1), errDeltaList},
		"for several authorities":             {root.revoke(extension(oidDistributionPoint, indirect{true}), 1), errIndirectList},
		"with an entry of another authority":  {root.revoke(foreign, 1), errIndirectList},
		"with something unknown":              {root.revoke(extension(asn1.ObjectIdentifier{1, 2, 3}, 1), 1), errUnknownInList},
	} {
		if _, err := parseRevocations(c.data, []*x509.Certificate{root.cert}); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("a list %s: %v, want %v", name, err, c.want)
		}
	}
}

func TestAnEntryThatTakesBackRevokesNothing(t *testing.T) {
	root := newRoot(t, "root")
	data := root.revoke(func(l *x509.RevocationList) { l.RevokedCertificateEntries[0].ReasonCode = reasonRemoveFromList }, 7, 8)
	r, err := parseRevocations(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	for serial, want := range map[int64]bool{7: false, 8: true} {
		c := issue(t, root, serial, asIs)
		if got := r.check([][]*x509.Certificate{{c.cert, root.cert}}, nil) != nil; got != want {
			t.Errorf("serial %d is revoked: %t", serial, got)
		}
	}
}

// TestAnIssuersNameMayBeSpelledInAnotherWay gives a list the name of its authority as another kind of string,
// as some tools write it.
func TestAnIssuersNameMayBeSpelledInAnotherWay(t *testing.T) {
	root := newRoot(t, "root")
	spelled := *root
	type attribute struct {
		ID    asn1.ObjectIdentifier
		Value string `asn1:"utf8"`
	}
	type namePartSET []attribute // encoding/asn1 goes by the end of the name
	name, err := asn1.Marshal([]namePartSET{{{asn1.ObjectIdentifier{2, 5, 4, 3}, "root"}}})
	if err != nil {
		t.Fatal(err)
	}
	cert := *root.cert
	cert.RawSubject = name
	spelled.cert = &cert
	if bytes.Equal(name, root.cert.RawSubject) {
		t.Fatal("the names are written alike")
	}
	r, err := parseRevocations(spelled.revoke(nil, 7), []*x509.Certificate{root.cert})
	if err != nil {
		t.Fatal(err)
	}
	client := issue(t, root, 7, asIs)
	if err := r.check([][]*x509.Certificate{{client.cert, root.cert}}, nil); !errors.Is(err, ErrRevoked) {
		t.Errorf("a revoked client meets %v", err)
	}
	forger := newRoot(t, "root")
	forger.cert.RawSubject = name
	if _, err := parseRevocations(forger.revoke(nil), []*x509.Certificate{root.cert}); !errors.Is(err, errListOfSomebodyElses) {
		t.Errorf("a forged list: %v", err)
	}
}

func TestAnOldListStaysInForceAndIsToldOnce(t *testing.T) {
	old := func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(-time.Minute) }
	w := newWorld(t, func(w *world) { w.options.CRLFile = w.put("crl", w.root.revoke(old, 10)) })
	for range 3 {
		w.warnOfAge(time.Now())
	}
	if n := w.log.count("out of date"); n != 1 {
		t.Errorf("told %d times", n)
	}
	if err := w.admits(issue(t, w.root, 10, asIs)); !errors.Is(err, ErrRevoked) {
		t.Error(err)
	}
	if err := w.admits(issue(t, w.root, 11, asIs)); err != nil {
		t.Error(err)
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	root := newRoot(t, "root")
	server := newServer(t, root, 2)
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, key, other := file("cert", server.certPEM()), file("key", server.keyPEM()), file("other", root.keyPEM())
	empty := file("empty", nil)
	for name, o := range map[string]Options{
		"a certificate alone":           {CertFile: cert},
		"a key alone":                   {KeyFile: key},
		"a missing file":                {CertFile: cert, KeyFile: dir + "/none"},
		"a directory":                   {CertFile: dir, KeyFile: key},
		"a key of another certificate":  {CertFile: cert, KeyFile: other},
		"no authority in the bundle":    {CertFile: cert, KeyFile: key, TrustedCAFile: empty},
		"no list in the file":           {CertFile: cert, KeyFile: key, CRLFile: empty},
		"a client certificate alone":    {CertFile: cert, KeyFile: key, ClientCertFile: cert},
		"a client key of somebody else": {CertFile: cert, KeyFile: key, ClientCertFile: cert, ClientKeyFile: other},
		"names of both kinds":           {CertFile: cert, KeyFile: key, AllowedCNs: []string{"a"}, AllowedHostnames: []string{"b"}},
	} {
		if _, err := Open(o, silent()); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestNamesOfSuitesAndVersions(t *testing.T) {
	ids, insecure, err := CipherSuites([]string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_RC4_128_SHA",
		"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"})
	if err != nil || len(ids) != 4 || ids[2] != tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 || ids[3] != tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 ||
		len(insecure) != 1 || insecure[0] != "TLS_RSA_WITH_RC4_128_SHA" {
		t.Error(ids, insecure, err)
	}
	for _, name := range []string{"TLS_FAST", "", "TLS_ECDHE_RSA_WITH_AES_128_GCM"} {
		if _, _, err := CipherSuites([]string{name}); err == nil {
			t.Errorf("%q is a cipher suite", name)
		}
	}
	for name, want := range map[string]uint16{"": 0, "TLS1.2": tls.VersionTLS12, "TLS1.3": tls.VersionTLS13} {
		if got, err := Version(name); err != nil || got != want {
			t.Error(name, got, err)
		}
	}
	if _, err := Version("TLS1.1"); err == nil {
		t.Error("TLS1.1 is a version")
	}
}

func TestACertificateOfItsOwnIsKeptUntilItExpires(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fixtures", "client")
	read := func() string {
		data, err := os.ReadFile(dir + "/cert.pem")
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	start := func() *Keeper {
		cert, key, err := SelfSigned(dir, []string{"127.0.0.1", "localhost"}, 1, silent())
		if err != nil {
			t.Fatal(err)
		}
		k, err := Open(Options{CertFile: cert, KeyFile: key}, silent())
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := start()
	client := &tls.Config{RootCAs: x509.NewCertPool()}
	client.RootCAs.AddCert(k.pair.value.Leaf)
	if _, server, mine := connect(t, k.ServerConfig(), client); server != nil || mine != nil {
		t.Errorf("the server says %v, the client %v", server, mine)
	}
	if info, err := os.Stat(dir + "/key.pem"); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	first := read()
	if start(); read() != first {
		t.Error("the certificate changed with the next start")
	}
	cert, key, err := selfSign(nil, time.Now().AddDate(-2, 0, 0), 1)
	if err := errors.Join(err, replaceFile(dir+"/cert.pem", "CERTIFICATE", cert), replaceFile(dir+"/key.pem", "EC PRIVATE KEY", key)); err != nil {
		t.Fatal(err)
	}
	if k := start(); !k.pair.value.Leaf.NotAfter.After(time.Now()) {
		t.Error("an expired certificate was kept")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Error(left, err)
	}
	if _, _, err := SelfSigned(dir, nil, 0, silent()); !errors.Is(err, ErrValidity) {
		t.Error(err)
	}
}

func FuzzLists(f *testing.F) {
	root := newRoot(f, "root")
	f.Add(root.revoke(nil, 1, 2))
	f.Add(listPEM(root.revoke(nil)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := parseRevocations(data, []*x509.Certificate{root.cert}); err == nil && len(r.lists) == 0 {
			t.Error("a list without lists")
		}
	})
}
