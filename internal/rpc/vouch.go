package rpc

import (
	"context"
	"crypto/subtle"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/keelson-db/keelson/internal/lock"
)

// vouch passes on whom the caller's certificate names, for services that ask others in the caller's name: they
// do so over a connection of the server's own, on which nobody's certificate is seen. The name comes behind a
// secret that no client can know, so what a client puts there itself is not believed.
func (a access) vouch(ctx context.Context) context.Context {
	if !a.certs {
		return ctx
	}
	name := commonName(ctx)
	if _, token := tokenOf(ctx); token || name == "" {
		return ctx
	}
	sent, _ := metadata.FromIncomingContext(ctx)
	sent = sent.Copy()
	sent.Set(lock.CallerHeader, a.secret+name)
	return metadata.NewIncomingContext(ctx, sent)
}

// vouchedFor is whom the services themselves name as the caller, or "".
func (a access) vouchedFor(ctx context.Context) string {
	for _, claim := range metadata.ValueFromIncomingContext(ctx, lock.CallerHeader) {
		n := len(a.secret)
		if n > 0 && len(claim) > n && subtle.ConstantTimeCompare([]byte(claim[:n]), []byte(a.secret)) == 1 {
			return claim[n:]
		}
	}
	return ""
}

// vouchedMethod is a method of a service that asks others in the caller's name.
func vouchedMethod[In any](a access, f func(context.Context, *In) (any, error)) unaryMethod {
	return openMethod(func(ctx context.Context, r *In) (any, error) { return f(a.vouch(ctx), r) })
}

// vouchedStream is the stream of such a method.
type vouchedStream struct {
	grpc.ServerStream
	access access
}

// Context implements grpc.ServerStream.
func (s vouchedStream) Context() context.Context { return s.access.vouch(s.ServerStream.Context()) }
