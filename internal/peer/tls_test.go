package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/replica"
)

// certified makes a configuration whose certificate an authority of its own has signed.
func certified(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "member"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: pool, NextProtos: []string{"h2", "http/1.1"}}
}

func TestMembersTalkOverTLS(t *testing.T) {
	config := certified(t)
	sites := town(t, 3, func(o *Options) { o.TLS = func() *tls.Config { return config } })
	for _, s := range sites {
		s.open()
	}
	meet(t, sites...)
	for i := range uint64(100) {
		sites[0].send(2, replica.Bulk, appendOf(i, 2, int(i*1000)))
		if got := sites[1].receive(); got.m.GetIndex() != i || len(got.m.Entries[1].GetData()) != int(i*1000) {
			t.Fatalf("came %v", got.m.GetIndex())
		}
	}
	sites[1].kill()
	for _, s := range []*site{sites[0], sites[2]} {
		eventually(t, "the others know that 2 is dead", func() bool { return s.order.count(s.order.dead, 2) == 1 })
	}
	sites[1].open()
	meet(t, sites...)
	sites[1].send(3, replica.Urgent, plain(raftpb.MsgHeartbeat, 1))
	sites[2].receive()
}

// TestAStrangersCertificateIsRefused: neither side talks to a member whose certificate another authority signed.
func TestAStrangersCertificateIsRefused(t *testing.T) {
	ours, theirs := certified(t), certified(t)
	sites := town(t, 3, func(o *Options) {
		o.TLS = func() *tls.Config {
			if o.Members.Local() == 3 {
				return theirs
			}
			return ours
		}
	})
	for _, s := range sites {
		s.open()
	}
	meet(t, sites[:2]...)
	for _, s := range sites {
		eventually(t, "the log says why", func() bool {
			return s.log.has("shake hands over TLS") || s.log.has("bad certificate") || s.log.has("unknown authority")
		})
	}
	if sites[2].order.count(sites[2].order.connected, 1)+sites[0].order.count(sites[0].order.connected, 3) != 0 {
		t.Error("the stranger is connected")
	}
}

// TestAnAddressOfTLSNeedsCertificates: a member without any says so.
func TestAnAddressOfTLSNeedsCertificates(t *testing.T) {
	config := certified(t)
	sites := town(t, 2, func(o *Options) { o.TLS = func() *tls.Config { return config } })
	sites[1].open()
	sites[0].change = nil
	sites[0].url = "http" + sites[0].url[len("https"):]
	sites[0].open()
	eventually(t, "the log says it", func() bool { return sites[0].log.has("--peer-cert-file") })
}
