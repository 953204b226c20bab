package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/keelson-db/keelson/internal/lock"
)

// certified is a call over TLS by whom a verified certificate names.
func certified(ctx context.Context, name string) context.Context {
	return peer.NewContext(ctx, &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{
		VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: name}}}},
	}}})
}

// over is the same call as it arrives over a connection of the server's own: only what lock passes on is left.
func over(ctx context.Context, t *testing.T) context.Context {
	t.Helper()
	return metadata.NewIncomingContext(t.Context(), metadata.MD{lock.CallerHeader: metadata.ValueFromIncomingContext(ctx, lock.CallerHeader)})
}

func TestTheNameInACertificateReachesTheServicesThatAreAskedForIt(t *testing.T) {
	a := access{certs: true, secret: "0123456789"}
	withMetadata := func(ctx context.Context, pairs ...string) context.Context {
		return metadata.NewIncomingContext(ctx, metadata.Pairs(pairs...))
	}
	alice := certified(t.Context(), "alice")
	for _, c := range []struct {
		what string
		a    access
		ctx  context.Context
		want string
	}{
		{"a certificate", a, alice, "alice"},
		{"a certificate, and a name that the client claims", a, withMetadata(alice, lock.CallerHeader, "root", lock.CallerHeader, "0123456788root"), "alice"},
		{"no certificate, and a name that the client claims", a, withMetadata(t.Context(), lock.CallerHeader, "root"), ""},
		{"no certificate, and the wrong secret", a, withMetadata(t.Context(), lock.CallerHeader, "0123456788root"), ""},
		{"no certificate, and the secret without a name", a, withMetadata(t.Context(), lock.CallerHeader, "0123456789"), ""},
		{"a certificate and a token", a, withMetadata(alice, "token", "t"), ""},
		{"a certificate that says nothing here", access{secret: a.secret}, alice, ""},
		{"no secret at all", access{certs: true}, withMetadata(t.Context(), lock.CallerHeader, "root"), ""},
	} {
		if got := c.a.vouchedFor(over(c.a.vouch(c.ctx), t)); got != c.want {
			t.Errorf("%s: the services hear %q, want %q", c.what, got, c.want)
		}
	}
}
