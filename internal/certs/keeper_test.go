package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// eventually waits for a condition that another goroutine makes true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(20 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("this never became true: " + what)
		}
	}
}

func TestEveryWrongClientIsRefused(t *testing.T) {
	root, other := newRoot(t, "root"), newRoot(t, "root") // of the same name
	middle := issue(t, root, 50, authority("middle"))
	badMiddle := issue(t, root, 51, authority("bad middle"))
	w := newWorld(t, func(w *world) {
		w.options.TrustedCAFile = w.put("ca", root.certPEM())
		w.options.CRLFile = w.put("crl", append(listPEM(root.revoke(nil, 10, 51)), listPEM(middle.revoke(nil, 11))...))
	})
	for _, c := range []struct {
		name   string
		client *identity
		want   string // part of the server's error; empty for a client that is welcome
	}{
		{"a good one", issue(t, root, 20, asIs), ""},
		{"none", nil, "client didn't provide a certificate"},
		{"of another authority with the same name", issue(t, other, 20, asIs), "certificate"},
		{"one that signed itself", issue(t, nil, 20, asIs), "certificate"},
		{"expired", issue(t, root, 20, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "expired"},
		{"not valid yet", issue(t, root, 20, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), "expired or is not yet valid"},
		{"a server's", newServer(t, root, 20), "incompatible key usage"},
		{"revoked", issue(t, root, 10, asIs), ErrRevoked.Error()},
		{"of an authority below the root", issue(t, middle, 21, asIs), ""},
		{"revoked by that one", issue(t, middle, 11, asIs), ErrRevoked.Error()},
		{"with a number that another authority revoked", issue(t, middle, 10, asIs), ""},
		{"the same the other way round", issue(t, root, 11, asIs), ""},
		{"of an authority that was revoked", issue(t, badMiddle, 21, asIs), ErrRevoked.Error()},
	} {
		err := w.admits(c.client)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestOnlyAllowedNamesAreAdmitted(t *testing.T) {
	named := func(w *world, cn string, dns ...string) *identity {
		return issue(t, w.root, 20, func(c *x509.Certificate) {
			c.Subject.CommonName, c.DNSNames, c.IPAddresses = cn, dns, []net.IP{net.IPv4(10, 0, 0, 1)}
		})
	}
	w := newWorld(t, func(w *world) { w.options.AllowedCNs = []string{"ann", "bob"} })
	if err := w.admits(named(w, "bob")); err != nil {
		t.Error(err)
	}
	if err := w.admits(named(w, "eve", "ann")); !errors.Is(err, ErrNameNotAllowed) {
		t.Error(err)
	}
	w = newWorld(t, func(w *world) { w.options.AllowedHostnames = []string{"a.example", "10.0.0.1"} })
	if err := w.admits(named(w, "any", "*.example")); err != nil {
		t.Error(err)
	}
	if err := w.admits(named(w, "a.example")); err != nil {
		t.Error("an address is a name too:", err)
	}
	w = newWorld(t, func(w *world) { w.options.AllowedHostnames = []string{"b.example"} })
	if err := w.admits(named(w, "b.example", "a.example")); !errors.Is(err, ErrNameNotAllowed) {
		t.Error("a common name passed for a host name:", err)
	}
}

func TestWithoutAuthoritiesNobodyIsAsked(t *testing.T) {
	w := newWorld(t, func(w *world) { w.options.TrustedCAFile, w.options.AllowedCNs = "", []string{"nobody"} })
	if err := w.admits(nil); err != nil {
		t.Error(err)
	}
	w = newWorld(t, func(w *world) { w.options.TrustedCAFile, w.options.ClientCertAuth = "", true })
	if err := w.admits(nil); err == nil {
		t.Error("--client-cert-auth alone asks for nothing")
	}
	if err := w.admits(issue(t, w.root, 3, asIs)); err == nil {
		t.Error("an authority that the machine does not know was trusted")
	}
}

func TestVersionsAndCipherSuites(t *testing.T) {
	for _, c := range []struct {
		server func(*Options)
		client func(*tls.Config)
		ok     bool
	}{
		{nil, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, true},
		{nil, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11; c.MinVersion = tls.VersionTLS10 }, false},
		{func(o *Options) { o.MinVersion = tls.VersionTLS13 }, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, false},
		{func(o *Options) { o.MaxVersion = tls.VersionTLS12 }, func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, false},
		{func(o *Options) { o.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384} },
			func(c *tls.Config) {
				c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
			}, false},
		{func(o *Options) { o.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384} },
			func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, true},
	} {
		w := newWorld(t, func(w *world) {
			if w.options.TrustedCAFile = ""; c.server != nil {
				c.server(&w.options)
			}
		})
		client := w.as(nil)
		c.client(client)
		_, server, mine := connect(t, w.ServerConfig(), client)
		if ok := server == nil && mine == nil; ok != c.ok {
			t.Errorf("%+v: the server says %v, the client %v", w.options, server, mine)
		}
	}
}

func TestASessionIsNeverResumed(t *testing.T) {
	w := newWorld(t, func(w *world) { w.options.CRLFile = w.put("crl", w.root.revoke(nil)) })
	id := issue(t, w.root, 20, asIs)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := w.as(id)
		client.MaxVersion, client.ClientSessionCache = version, tls.NewLRUClientSessionCache(8)
		client.ServerName = "127.0.0.1"
		for range 3 {
			if state, server, mine := connect(t, w.ServerConfig(), client); server != nil || mine != nil || state.DidResume {
				t.Fatalf("resumed %t, the server says %v, the client %v", state.DidResume, server, mine)
			}
		}
		w.put("crl", w.root.revoke(nil, 20))
		w.look()
		if _, server, _ := connect(t, w.ServerConfig(), client); !errors.Is(server, ErrRevoked) {
			t.Errorf("a client with a session was revoked and the server says %v", server)
		}
		w.put("crl", w.root.revoke(nil))
		w.look()
	}
}

func TestHandshakesDoNotReadTheDisk(t *testing.T) {
	w := newWorld(t, func(w *world) { w.options.CRLFile = w.put("crl", w.root.revoke(nil)) })
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := w.admits(issue(t, w.root, 20, asIs)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFilesChangeUnderLoad replaces certificate, authorities and lists while clients come, again and again:
// by new roots, with the steps of a careful rotation. Nobody who may come in is ever turned away.
func TestFilesChangeUnderLoad(t *testing.T) {
	w := newWorld(t, func(w *world) { w.options.CRLFile = w.put("crl", w.root.revoke(nil)) })
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- w.Run(ctx) }()

	oldRoot, newRoot := w.root, newRoot(t, "new root")
	steady := issue(t, oldRoot, 20, asIs)
	config, client := w.ServerConfig(), w.as(steady)
	client.RootCAs.AddCert(newRoot.cert)
	stop, handshakes := make(chan struct{}), make(chan int, 4)
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			n := 0
			for ; ; n++ {
				select {
				case <-stop:
					handshakes <- n
					return
				default:
				}
				if _, server, mine := connect(t, config, client); server != nil || mine != nil {
					t.Errorf("handshake %d: the server says %v, the client %v", n, server, mine)
				}
			}
		})
	}
	young := issue(t, newRoot, 30, asIs)
	if err := w.admits(young); err == nil {
		t.Error("a client of the new root came in before it was trusted")
	}
	w.put("ca", append(oldRoot.certPEM(), newRoot.certPEM()...))
	eventually(t, "the new root is trusted", func() bool { return w.admits(young) == nil })
	server := newServer(t, newRoot, 77)
	w.put("cert", server.certPEM())
	w.put("key", server.keyPEM())
	eventually(t, "the new certificate is shown", func() bool {
		state, _, _ := connect(t, config, client)
		return len(state.PeerCertificates) > 0 && state.PeerCertificates[0].SerialNumber.Cmp(big.NewInt(77)) == 0
	})
	w.put("crl", append(listPEM(oldRoot.revoke(nil)), listPEM(newRoot.revoke(nil, 30))...))
	client2 := w.as(young)
	client2.RootCAs.AddCert(newRoot.cert)
	eventually(t, "the young client is revoked", func() bool {
		_, server, _ := connect(t, config, client2)
		return errors.Is(server, ErrRevoked)
	})
	close(stop)
	clients.Wait()
	close(handshakes)
	total := 0
	for n := range handshakes {
		total += n
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	t.Logf("%d handshakes while files changed", total)
}

func TestABrokenFileChangesNothingAndIsToldOnce(t *testing.T) {
	w := newWorld(t, func(w *world) { w.options.CRLFile = w.put("crl", w.root.revoke(nil, 10)) })
	good, revoked := issue(t, w.root, 20, asIs), issue(t, w.root, 10, asIs)
	for _, c := range []struct {
		file, part string
		broken     []byte
	}{
		{"cert", "certificate", []byte("nonsense")},
		{"key", "certificate", newServer(t, w.root, 5).keyPEM()}, // of another certificate
		{"ca", "trusted authorities", nil},
		{"crl", "list of revoked certificates", []byte("nonsense")},
		{"crl", "list of revoked certificates", newRoot(t, "root").revoke(nil)}, // forged: empty, of the right name
	} {
		before, err := os.ReadFile(w.path(c.file))
		if err != nil {
			t.Fatal(err)
		}
		told := w.log.count("could not read the new " + c.part)
		w.put(c.file, c.broken)
		w.look()
		if w.log.count("could not read the new "+c.part) != told {
			t.Errorf("%s: a file was called broken that may still be written", c.file)
		}
		for range 5 {
			w.look()
		}
		if n := w.log.count("could not read the new "+c.part) - told; n != 1 {
			t.Errorf("%s: told %d times that it is broken", c.file, n)
		}
		if err := w.admits(good); err != nil {
			t.Errorf("%s is broken: %v", c.file, err)
		}
		if err := w.admits(revoked); !errors.Is(err, ErrRevoked) {
			t.Errorf("%s is broken: a revoked client meets %v", c.file, err)
		}
		w.put(c.file, before)
		w.look()
		if w.log.count("read the "+c.part+" again") == 0 {
			t.Errorf("%s: the log does not say that it is good again", c.file)
		}
	}
	// A file that goes away is broken too, and one that comes back is taken up.
	if err := os.Remove(w.path("cert")); err != nil {
		t.Fatal(err)
	}
	w.look()
	w.look()
	if err := w.admits(good); err != nil {
		t.Error(err)
	}
	server := newServer(t, w.root, 99)
	w.put("key", server.keyPEM())
	w.put("cert", server.certPEM())
	w.look()
	if state, _, _ := connect(t, w.ServerConfig(), w.as(good)); state.PeerCertificates[0].SerialNumber.Int64() != 99 {
		t.Error("the certificate that came back is not shown")
	}
}

func TestABrokenFileThatStopsTheStartIsNamedWithWhatToDo(t *testing.T) {
	w := newWorld(t, func(w *world) { w.options.CRLFile = w.put("crl", w.root.revoke(nil, 10)) })
	for _, c := range []struct {
		file   string
		broken []byte
		hint   string
	}{
		{"key", newServer(t, w.root, 5).keyPEM(), "the key that belongs to it"}, // of another certificate
		{"cert", []byte("nonsense"), "the key that belongs to it"},
		{"ca", []byte("nonsense"), "at least one certificate"},
		{"crl", []byte("nonsense"), "signed by its authority"},
	} {
		before, err := os.ReadFile(w.path(c.file))
		if err != nil {
			t.Fatal(err)
		}
		w.put(c.file, c.broken)
		_, err = Open(w.options, silent())
		if err == nil || !strings.Contains(err.Error(), w.path(c.file)) || !strings.Contains(err.Error(), c.hint) {
			t.Errorf("%s is broken: %v; it should name the file and say %q", c.file, err, c.hint)
		}
		w.put(c.file, before)
	}
}

// TestHalfAFileIsNotTakenForAWhole cuts files where they are still correct but say less.
func TestHalfAFileIsNotTakenForAWhole(t *testing.T) {
	var other *identity
	w := newWorld(t, func(w *world) {
		other = newRoot(t, "other")
		w.put("ca", append(w.root.certPEM(), other.certPEM()...))
		w.options.CRLFile = w.put("crl", append(listPEM(w.root.revoke(nil)), listPEM(other.revoke(nil, 10))...))
	})
	admitted, revoked := issue(t, other, 20, asIs), issue(t, other, 10, asIs)
	for file, whole := range map[string][]byte{
		"ca":  append(w.root.certPEM(), other.certPEM()...),
		"crl": append(listPEM(w.root.revoke(nil)), listPEM(other.revoke(nil, 10))...),
	} {
		half := len(w.root.certPEM())
		if file == "crl" {
			half = len(listPEM(w.root.revoke(nil))) + 8 // a signature may be a few bytes longer than another
		}
		for _, n := range []int{half + 40, len(whole) - 40, len(whole) - 10} {
			w.put(file, whole[:n])
			w.look()
			if err := w.admits(admitted); err != nil {
				t.Errorf("%d of %d bytes of %s: %v", n, len(whole), file, err)
			}
			if err := w.admits(revoked); !errors.Is(err, ErrRevoked) {
				t.Errorf("%d of %d bytes of %s: a revoked client meets %v", n, len(whole), file, err)
			}
		}
		w.put(file, whole)
		w.look()
	}
}

// TestAnExchangedLinkIsAChange swaps files as Kubernetes does for mounted secrets: the files are links through
// one link to a directory, and only that is replaced.
func TestAnExchangedLinkIsAChange(t *testing.T) {
	mount := t.TempDir()
	publish := func(version string, w *world, server *identity) {
		dir := mount + "/" + version
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{"tls.crt": server.certPEM(), "tls.key": server.keyPEM()} {
			if err := os.WriteFile(dir+"/"+name, data, 0o600); err != nil {
				t.Fatal(err)
			}
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(dir+"/"+name, old, old); err != nil {
				t.Fatal(err)
			}
			_ = os.Symlink("..data/"+name, mount+"/"+name)
		}
		_ = os.Symlink(version, mount+"/..tmp")
		if err := os.Rename(mount+"/..tmp", mount+"/..data"); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t, func(w *world) {
		publish("v1", w, newServer(t, w.root, 61))
		w.options.CertFile, w.options.KeyFile, w.options.TrustedCAFile = mount+"/tls.crt", mount+"/tls.key", ""
	})
	serial := func() int64 {
		state, _, _ := connect(t, w.ServerConfig(), w.as(nil))
		return state.PeerCertificates[0].SerialNumber.Int64()
	}
	if w.look(); serial() != 61 || !w.pair.settled {
		t.Fatalf("serial %d, settled %t", serial(), w.pair.settled)
	}
	publish("v2", w, newServer(t, w.root, 62))
	if w.look(); serial() != 62 {
		t.Error("the exchanged link was not noticed")
	}
}

// TestAWriteWithinOneTickIsNotMissed changes a file to another of the same size, time and inode.
func TestAWriteWithinOneTickIsNotMissed(t *testing.T) {
	path := t.TempDir() + "/f"
	p := &part[string]{name: "file", paths: []string{path}, parse: func(c [][]byte) (string, error) { return string(c[0]), nil }}
	now := time.Now()
	write := func(text string) {
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, now, now)); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	if err := p.open(); err != nil || p.settled {
		t.Fatal(err, p.settled)
	}
	write("two")
	if !p.look(silent()) || p.value != "two" {
		t.Error("the second write was missed")
	}
}
