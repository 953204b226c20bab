package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// both are the two sides of a member.
func both(c *x509.Certificate) {
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
}

// newMember writes the files of a member whose one certificate serves both sides.
func newMember(t testing.TB, root *identity, serial int64, change func(*world)) *world {
	return newWorld(t, func(w *world) {
		w.root = root
		id := issue(t, root, serial, both)
		w.options = Options{CertFile: w.put("cert", id.certPEM()), KeyFile: w.put("key", id.keyPEM()), TrustedCAFile: w.put("ca", root.certPEM()),
			MatchAddress: true, Protocols: []string{"http/1.1"}}
		if change != nil {
			change(w)
		}
	})
}

// dial lets one member dial another one, as host, and returns what each says of it.
func dial(t testing.TB, from, to *world, host string) (state tls.ConnectionState, server, mine error) {
	t.Helper()
	return connect(t, to.ServerConfig(), from.Client(host))
}

func wantErrors(t *testing.T, server, mine error, wantServer, wantMine string) {
	t.Helper()
	for _, c := range []struct {
		who, want string
		err       error
	}{{"who listens", wantServer, server}, {"who dials", wantMine, mine}} {
		if (c.err == nil) != (c.want == "") || c.err != nil && !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s says %v, want %q", c.who, c.err, c.want)
		}
	}
}

func TestMembersProveThemselvesToEachOther(t *testing.T) {
	root, other := newRoot(t, "root"), newRoot(t, "other")
	a, b, stranger := newMember(t, root, 2, nil), newMember(t, root, 3, nil), newMember(t, other, 4, nil)
	state, server, mine := dial(t, a, b, "127.0.0.1")
	wantErrors(t, server, mine, "", "")
	if state.NegotiatedProtocol != "http/1.1" || state.PeerCertificates[0].SerialNumber.Int64() != 3 {
		t.Errorf("%q %v", state.NegotiatedProtocol, state.PeerCertificates[0].SerialNumber)
	}
	_, server, mine = dial(t, a, b, "b.example")
	wantErrors(t, server, mine, "bad certificate", "b.example")
	_, server, mine = dial(t, a, stranger, "127.0.0.1")
	wantErrors(t, server, mine, "bad certificate", "unknown authority")
	trusting := stranger.Client("127.0.0.1")
	trusting.InsecureSkipVerify, trusting.VerifyConnection = true, nil
	_, server, mine = connect(t, a.ServerConfig(), trusting)
	wantErrors(t, server, mine, "unknown authority", "unknown certificate authority")

	named := newMember(t, root, 5, func(w *world) { w.options.ServerName = "cluster.example" })
	_, server, mine = dial(t, named, b, "127.0.0.1")
	wantErrors(t, server, mine, "bad certificate", "cluster.example")
}

// TestWithoutAPairOneCanOnlyDial is a member that trusts an authority and shows nothing.
func TestWithoutAPairOneCanOnlyDial(t *testing.T) {
	root := newRoot(t, "root")
	silentOne := newMember(t, root, 2, func(w *world) { w.options.CertFile, w.options.KeyFile = "", "" })
	open := newMember(t, root, 3, func(w *world) { w.options.TrustedCAFile = "" })
	_, server, mine := dial(t, silentOne, open, "127.0.0.1")
	wantErrors(t, server, mine, "", "")
	_, server, mine = dial(t, silentOne, newMember(t, root, 4, nil), "127.0.0.1")
	wantErrors(t, server, mine, "didn't provide a certificate", "certificate required")
	defer func() {
		if recover() == nil {
			t.Error("who has no certificate listens with TLS")
		}
	}()
	silentOne.ServerConfig()
}

func TestWhoDialsShowsTheClientsPair(t *testing.T) {
	root := newRoot(t, "root")
	client := issue(t, root, 77, func(c *x509.Certificate) { c.Subject.CommonName = "dialler" })
	server := newMember(t, root, 3, func(w *world) { w.options.AllowedCNs = []string{"dialler", "peer"} })
	a := newMember(t, root, 2, func(w *world) {
		id := newServer(t, root, 2) // not good for dialling
		w.put("cert", id.certPEM())
		w.put("key", id.keyPEM())
		w.options.ClientCertFile, w.options.ClientKeyFile = w.put("client", client.certPEM()), w.put("clientkey", client.keyPEM())
	})
	_, listener, mine := dial(t, a, server, "127.0.0.1")
	wantErrors(t, listener, mine, "", "")

	// The next dial shows the new one.
	client = issue(t, root, 78, func(c *x509.Certificate) { c.Subject.CommonName = "somebody" })
	a.put("client", client.certPEM())
	a.put("clientkey", client.keyPEM())
	a.look()
	_, listener, mine = dial(t, a, server, "127.0.0.1")
	wantErrors(t, listener, mine, ErrNameNotAllowed.Error(), "bad certificate")
}

// TestWhoIsDialledIsAskedTheSame has names and lists that refuse the one that listens.
func TestWhoIsDialledIsAskedTheSame(t *testing.T) {
	root := newRoot(t, "root")
	b := newMember(t, root, 3, nil)
	picky := newMember(t, root, 2, func(w *world) { w.options.AllowedHostnames = []string{"127.0.0.1"} })
	_, server, mine := dial(t, picky, b, "127.0.0.1")
	wantErrors(t, server, mine, "", "")
	picky = newMember(t, root, 2, func(w *world) { w.options.AllowedCNs = []string{"friend"} })
	_, server, mine = dial(t, picky, b, "127.0.0.1")
	wantErrors(t, server, mine, "bad certificate", ErrNameNotAllowed.Error())

	wary := newMember(t, root, 2, func(w *world) { w.options.CRLFile = w.put("crl", root.revoke(nil)) })
	_, server, mine = dial(t, wary, b, "127.0.0.1")
	wantErrors(t, server, mine, "", "")
	wary.put("crl", root.revoke(nil, 3))
	wary.look()
	_, server, mine = dial(t, wary, b, "127.0.0.1")
	wantErrors(t, server, mine, "bad certificate", ErrRevoked.Error())
	_, server, mine = dial(t, b, wary, "127.0.0.1")
	wantErrors(t, server, mine, ErrRevoked.Error(), "bad certificate")
}

// TestSelfMadeCertificatesEncryptAndProveNothing lets two members of --peer-auto-tls talk, and a third that nobody knows.
func TestSelfMadeCertificatesEncryptAndProveNothing(t *testing.T) {
	auto := func() *Keeper {
		cert, key, err := SelfSigned(filepath.Join(t.TempDir(), "peer"), []string{"localhost"}, 1, silent())
		if err != nil {
			t.Fatal(err)
		}
		k, err := Open(Options{CertFile: cert, KeyFile: key, TrustAnyServer: true, MatchAddress: true, AllowedCNs: []string{"nobody"}}, silent())
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	_, server, mine := connect(t, auto().ServerConfig(), auto().Client("127.0.0.1"))
	wantErrors(t, server, mine, "", "")
	_, server, mine = connect(t, newMember(t, newRoot(t, "root"), 2, nil).ServerConfig(), auto().Client("127.0.0.1"))
	wantErrors(t, server, mine, "certificate", "certificate")
}

func TestAPinnedCertificateIsTheOnlyOne(t *testing.T) {
	root := newRoot(t, "root")
	a, b := newMember(t, root, 2, func(w *world) { w.options.TrustedCAFile = "" }), newMember(t, root, 3, func(w *world) { w.options.TrustedCAFile = "" })
	config := Pinned(&tls.Config{}, a.Fingerprint())
	state, server, mine := connect(t, a.ServerConfig(), config)
	wantErrors(t, server, mine, "", "")
	if Fingerprint(state.PeerCertificates[0]) != a.Fingerprint() {
		t.Error("the certificate that was shown has another fingerprint")
	}
	_, server, mine = connect(t, b.ServerConfig(), config)
	wantErrors(t, server, mine, "bad certificate", ErrOtherCertificate.Error())
	// What the base shows is shown here too.
	demanding, known := newMember(t, root, 4, nil), newMember(t, root, 5, nil)
	_, server, mine = connect(t, demanding.ServerConfig(), Pinned(known.Client(""), demanding.Fingerprint()))
	wantErrors(t, server, mine, "", "")
}

// fakeNames is a name server in memory.
type fakeNames struct {
	names map[string][]string // by address
	addrs map[string][]string // by name
}

var errNoName = errors.New("no such host")

func (f fakeNames) LookupAddr(_ context.Context, addr string) ([]string, error) {
	if names, ok := f.names[addr]; ok {
		return names, nil
	}
	return nil, errNoName
}

func (f fakeNames) LookupHost(_ context.Context, host string) ([]string, error) {
	if addrs, ok := f.addrs[host]; ok {
		return addrs, nil
	}
	return nil, errNoName
}

// TestACertificateFitsTheAddressItComesFrom goes through etcd's rule for members' certificates.
func TestACertificateFitsTheAddressItComesFrom(t *testing.T) {
	names := fakeNames{
		names: map[string][]string{"10.0.0.1": {"a.example."}, "fe80::1": {"six.example"}},
		addrs: map[string][]string{"b.example": {"nonsense", "10.0.0.2", "::ffff:10.0.0.3"}, "a.example": {"10.9.9.9"}},
	}
	for _, c := range []struct {
		addr, ips, names, want string
	}{
		{addr: "10.0.0.1"},
		{addr: "10.0.0.1", ips: "10.0.0.7 10.0.0.1"},
		{addr: "10.0.0.1", ips: "10.0.0.7", want: "x509: certificate is valid for 10.0.0.7, not 10.0.0.1"},
		{addr: "10.0.0.1", ips: "10.0.0.7", names: "a.example"},
		{addr: "10.0.0.1", names: "x.example a.example"},
		{addr: "10.0.0.1", names: "*.example"},
		{addr: "fe80::1", names: "*.example"},
		{addr: "10.0.0.1", names: "*example", want: `tls: "10.0.0.1" does not match any of DNSNames ["*example"] (no such host)`},
		{addr: "10.0.0.1", names: "*.a.example", want: `tls: "10.0.0.1" does not match any of DNSNames ["*.a.example"]`},
		{addr: "10.0.0.2", names: "b.example"},
		{addr: "10.0.0.3", names: "b.example"},
		{addr: "10.0.0.2", names: "a.example", want: `tls: "10.0.0.2" does not match any of DNSNames ["a.example"] (no such host)`},
		{addr: "10.0.0.1", names: "b.example", want: `tls: "10.0.0.1" does not match any of DNSNames ["b.example"]`},
		{addr: "10.0.0.2", ips: "10.0.0.7", names: "*.example", want: `tls: "10.0.0.2" does not match any of DNSNames ["*.example"] (no such host)`},
	} {
		cert := &x509.Certificate{DNSNames: strings.Fields(c.names)}
		for _, ip := range strings.Fields(c.ips) {
			cert.IPAddresses = append(cert.IPAddresses, net.ParseIP(ip))
		}
		err := matchAddress(t.Context(), names, cert, netip.MustParseAddr(c.addr))
		if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestAStolenCertificateIsOfNoUseElsewhere makes handshakes from this machine with certificates of another one.
func TestAStolenCertificateIsOfNoUseElsewhere(t *testing.T) {
	root := newRoot(t, "root")
	names := fakeNames{addrs: map[string][]string{"here.example": {"127.0.0.1"}, "there.example": {"10.0.0.9"}}}
	strict := newMember(t, root, 2, func(w *world) { w.options.Resolver = names })
	lax := newMember(t, root, 3, func(w *world) { w.options.MatchAddress = false })
	for _, c := range []struct {
		change func(*x509.Certificate)
		want   string
	}{
		{asIs, ""},
		{both, ""},
		{func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 9)} }, "valid for 10.0.0.9, not 127.0.0.1"},
		{func(c *x509.Certificate) { c.DNSNames = []string{"here.example"} }, ""},
		{func(c *x509.Certificate) { c.DNSNames = []string{"there.example"} }, `"127.0.0.1" does not match any of DNSNames ["there.example"]`},
	} {
		id := issue(t, root, 20, c.change)
		_, server, _ := connect(t, strict.ServerConfig(), strict.as(id))
		if (server == nil) != (c.want == "") || server != nil && !strings.Contains(server.Error(), c.want) {
			t.Errorf("%v, want %q", server, c.want)
		}
		if _, server, _ := connect(t, lax.ServerConfig(), lax.as(id)); server != nil {
			t.Errorf("the check was switched off: %v", server)
		}
	}
	// It is the last of the checks and takes the place of none.
	if _, server, _ := connect(t, strict.ServerConfig(), strict.as(issue(t, newRoot(t, "other"), 20, asIs))); server == nil {
		t.Error("an unknown authority's certificate passed for its address")
	}
	strict = newMember(t, root, 2, func(w *world) { w.options.Resolver, w.options.AllowedCNs = names, []string{"friend"} })
	if _, server, _ := connect(t, strict.ServerConfig(), strict.as(issue(t, root, 20, both))); !errors.Is(server, ErrNameNotAllowed) {
		t.Error(server)
	}
}

// TestOneLookTakesUpEverything changes certificate, authorities and list between two looks.
func TestOneLookTakesUpEverything(t *testing.T) {
	root, next := newRoot(t, "root"), newRoot(t, "next")
	w := newMember(t, root, 2, func(w *world) { w.options.CRLFile = w.put("crl", root.revoke(nil)) })
	id := issue(t, next, 3, both)
	w.put("cert", id.certPEM())
	w.put("key", id.keyPEM())
	w.put("ca", next.certPEM())
	w.put("crl", next.revoke(nil, 30))
	w.look()
	if w.Fingerprint() != Fingerprint(id.cert) {
		t.Error("the old certificate is shown")
	}
	w.root = next
	if err := w.admits(issue(t, next, 20, both)); err != nil {
		t.Error(err)
	}
	if err := w.admits(issue(t, next, 30, both)); !errors.Is(err, ErrRevoked) {
		t.Error(err)
	}
}

// TestASocketOfThisMachineHasNoAddress connects over a unix socket.
func TestASocketOfThisMachineHasNoAddress(t *testing.T) {
	root := newRoot(t, "root")
	w := newMember(t, root, 2, nil)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			err = tls.Server(conn, w.ServerConfig()).Handshake()
		}
		done <- err
	}()
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	id := issue(t, root, 20, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 9)} })
	config := w.as(id)
	config.ServerName = "127.0.0.1"
	if err := tls.Client(conn, config).Handshake(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
