package rpc

import (
	"context"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/token"
)

// gatewayHeader marks what the JSON gateway passes on. The connection it comes over is the server's own, so a
// certificate there would be the server's and not the caller's.
const gatewayHeader = "grpcgateway-accept"

// bearer may stand before a token in the header that HTTP has for it.
const bearer = "Bearer "

// access finds out who is asking and asks the state whether they may. It costs nothing while users are off:
// then nothing of a request is looked at.
type access struct {
	machine *state.Machine
	tokens  Tokens
	certs   bool // a client's certificate says who it is
	secret  string
}

func (d Deps) access() access {
	return access{machine: d.Machine, tokens: d.Tokens, certs: d.ClientCertAuth, secret: d.secret}
}

// view is the users and roles as they are published now.
func (a access) view() *auth.View { return a.machine.Auth().View() }

// may says whether the caller may have the request carried out. Who reads keys pins what it is going to read
// first and asks then. That is enough, and nothing needs to be asked again after reading, as etcd does: users
// are published before the keys that were written after them, so the rights asked for here are at least as
// young as everything that the pinned view shows.
func (a access) may(ctx context.Context, request any) error {
	view := a.view()
	if !view.Enabled() {
		return nil
	}
	by, err := a.identify(ctx, view)
	if err != nil {
		return err
	}
	return a.machine.Authorize(by, request)
}

// mayRead is may for reads of keys. They are refused to whoever was recognised at any other auth revision than
// that of now, be it a later one, as a JWT of another cluster may be.
func (a access) mayRead(ctx context.Context, request any) error {
	view := a.view()
	if !view.Enabled() {
		return nil
	}
	by, err := a.identify(ctx, view)
	if err != nil {
		return err
	}
	if err := a.machine.Authorize(by, request); err != nil {
		return err
	}
	if by.Rev != 0 && by.Rev != view.Revision() {
		return auth.ErrOldRevision
	}
	return nil
}

// sign puts the caller's name on a command. Whether they may give it is decided where it is applied, by
// what all members know then.
func (a access) sign(ctx context.Context, op command.Op) (command.Op, error) {
	view := a.view()
	if !view.Enabled() {
		return op, nil
	}
	by, err := a.identify(ctx, view)
	if err != nil {
		return nil, err
	}
	return command.Signed{By: command.Identity{User: by.User, AuthRev: by.Rev}, Op: op}, nil
}

// identify says who is asking: the owner of the token, else the one whom the certificate names, else nobody.
// A token that is not good is an error even where there is a certificate.
func (a access) identify(ctx context.Context, view *auth.View) (auth.Identity, error) {
	if text, ok := tokenOf(ctx); ok {
		if a.tokens == nil {
			return auth.Identity{}, token.ErrInvalid
		}
		return a.tokens.Identify(view, text)
	}
	if !a.certs {
		return auth.Identity{}, nil
	}
	name := commonName(ctx)
	if name == "" {
		name = a.vouchedFor(ctx)
	}
	return auth.Identity{User: name, Rev: view.Revision()}, nil
}

// tokenOf is the token that came with a call. An empty one is a wrong one and not none.
func tokenOf(ctx context.Context) (text string, ok bool) {
	sent := metadata.ValueFromIncomingContext(ctx, rpctypes.TokenFieldNameGRPC)
	if sent == nil {
		sent = metadata.ValueFromIncomingContext(ctx, rpctypes.TokenFieldNameSwagger)
	}
	if len(sent) == 0 {
		return "", false
	}
	return strings.TrimPrefix(sent[0], bearer), true
}

// commonName is whom the client's certificate names; empty if it was not verified or says nothing.
func commonName(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || metadata.ValueFromIncomingContext(ctx, gatewayHeader) != nil {
		return ""
	}
	for _, chain := range info.State.VerifiedChains {
		if len(chain) > 0 {
			return chain[0].Subject.CommonName
		}
	}
	return ""
}
