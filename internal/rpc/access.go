package rpc

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/credentials"
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

// settleWait is how long a member may take to learn of a token that another one gave out.
const settleWait = time.Second

// access finds out who is asking and asks the state whether they may. It costs nothing while users are off:
// then nothing of a request is looked at.
type access struct {
	machine *state.Machine
	replica Proposer
	tokens  Tokens
	certs   bool // a client's certificate says who it is
	secret  string
}

func (d Deps) access() access {
	return access{machine: d.Machine, replica: d.Replica, tokens: d.Tokens, certs: d.ClientCertAuth, secret: d.secret}
}

// view is the users and roles as they are published now.
func (a access) view() *auth.View { return a.machine.Auth().View() }

// may says whether the caller may have the request carried out. Who reads keys pins what it is going to read
// first and asks then. That is enough, and nothing needs to be asked again after reading, as etcd does: users
// are published before the keys that were written after them, so the rights asked for here are at least as
// young as everything that the pinned view shows.
func (a access) may(ctx context.Context, request any) error {
	by, view, err := a.caller(ctx)
	if err != nil || !view.Enabled() {
		return err
	}
	return a.machine.Authorize(by, request)
}

// mayRead is may for reads of keys. They are refused to whoever was recognised at any other auth revision than
// that of now, be it a later one, as a JWT of another cluster may be.
func (a access) mayRead(ctx context.Context, request any) error {
	by, view, err := a.caller(ctx)
	if err != nil || !view.Enabled() {
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
	by, view, err := a.caller(ctx)
	if err != nil {
		return nil, err
	}
	if !view.Enabled() {
		return op, nil
	}
	return command.Signed{By: command.Identity{User: by.User, AuthRev: by.Rev}, Op: op}, nil
}

// caller says who is asking, and by which view of the users. While users are off it is nobody.
func (a access) caller(ctx context.Context) (by auth.Identity, view *auth.View, err error) {
	view = a.view()
	if !view.Enabled() {
		return by, view, nil
	}
	by, err = a.identify(ctx, view)
	if errors.Is(err, token.ErrInvalid) && a.settle(ctx) {
		if view = a.view(); !view.Enabled() {
			return by, view, nil
		}
		by, err = a.identify(ctx, view)
	}
	return by, view, err
}

// settle lets this member learn of what others may know already: a token that seems wrong here may be one that another
// member has given to a user who was added a moment ago. It reports whether there may be news.
func (a access) settle(ctx context.Context) bool {
	conf := a.machine.ConfState()
	if len(conf.GetVoters())+len(conf.GetLearners()) < 2 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	return a.replica.Barrier(ctx) == nil
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
	sent, ok := sentValue(ctx, rpctypes.TokenFieldNameGRPC)
	if !ok {
		sent, ok = sentValue(ctx, rpctypes.TokenFieldNameSwagger)
	}
	return strings.TrimPrefix(sent, bearer), ok
}

// commonName is whom the client's certificate names; empty if it was not verified or says nothing.
func commonName(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return ""
	}
	if _, gateway := sentValue(ctx, gatewayHeader); gateway {
		return ""
	}
	for _, chain := range info.State.VerifiedChains {
		if len(chain) > 0 {
			return chain[0].Subject.CommonName
		}
	}
	return ""
}
