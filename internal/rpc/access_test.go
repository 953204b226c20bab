package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/token"
)

func TestWhoIsAskingIsFoundOutInOrder(t *testing.T) {
	w := newTown(t, nil)
	with, without := w.deps.access(), w.deps.access()
	with.certs = true
	view := with.view()
	good := w.tokens[reader]
	for _, c := range []struct {
		what  string
		a     access
		cert  string
		pairs []string
		want  string
		err   error
	}{
		{what: "nothing", a: with},
		{what: "a token", a: without, pairs: []string{"token", good}, want: reader},
		{what: "a token in HTTP's header", a: without, pairs: []string{"authorization", good}, want: reader},
		{what: "a token as HTTP writes it", a: without, pairs: []string{"authorization", "Bearer " + good}, want: reader},
		{what: "a token as HTTP writes it in gRPC's header", a: without, pairs: []string{"token", "Bearer " + good}, want: reader},
		{what: "a good token behind a wrong one", a: without, pairs: []string{"authorization", good, "token", "wrong"}, err: token.ErrInvalid},
		{what: "an empty token", a: without, pairs: []string{"token", ""}, err: token.ErrInvalid},
		{what: "a token twice", a: without, pairs: []string{"token", good, "token", "wrong"}, want: reader},
		{what: "a certificate", a: with, cert: writer, want: writer},
		{what: "a certificate that does not count", a: without, cert: writer},
		{what: "a certificate without a name", a: with, cert: ""},
		{what: "a certificate and a token", a: with, cert: writer, pairs: []string{"token", good}, want: reader},
		{what: "a certificate and a wrong token", a: with, cert: writer, pairs: []string{"token", "wrong"}, err: token.ErrInvalid},
		{what: "a certificate of the gateway's", a: with, cert: writer, pairs: []string{gatewayHeader, "*/*"}},
		{what: "a token through the gateway", a: with, cert: writer, pairs: []string{gatewayHeader, "*/*", "authorization", good}, want: reader},
	} {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(c.pairs...))
		if c.cert != "" {
			ctx = certified(ctx, c.cert)
		}
		by, err := c.a.identify(ctx, view)
		want := auth.Identity{}
		if c.want != "" {
			want = auth.Identity{User: c.want, Rev: view.Revision()}
		}
		if by.User != want.User || c.want != "" && by != want || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v, want %v, %v", c.what, by, err, want, c.err)
		}
	}
}

// strictTokens fails the test when anybody asks.
type strictTokens struct {
	Tokens
	t *testing.T
}

func (s strictTokens) Identify(*auth.View, string) (auth.Identity, error) {
	s.t.Error("somebody looked at a token")
	return auth.Identity{}, token.ErrInvalid
}

func TestWhileUsersAreOffNobodyLooksAtTokens(t *testing.T) {
	h := newHouse(t, func(d *Deps) { d.Tokens = strictTokens{d.Tokens, t}; d.ClientCertAuth = true })
	ctx := metadata.AppendToOutgoingContext(context.Background(), "token", "wrong")
	if _, err := h.kv.Put(ctx, &pb.PutRequest{Key: []byte("a")}); err != nil {
		t.Error(err)
	}
	if _, err := h.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")}); err != nil {
		t.Error(err)
	}
	if _, err := h.auth.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "ann"}); err != nil {
		t.Error(err)
	}
	a := h.deps.access()
	in := metadata.NewIncomingContext(context.Background(), metadata.Pairs("token", "wrong"))
	request := &pb.PutRequest{Key: []byte("a")}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := a.sign(in, request); err != nil {
			t.Error(err)
		}
		if err := a.may(in, request); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestARecognisedCallerCostsNoMemory allows the one allocation that gRPC makes to hand out a header's value.
func TestARecognisedCallerCostsNoMemory(t *testing.T) {
	w := newTown(t, nil)
	a := w.deps.access()
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("token", w.tokens[reader]))
	request := &pb.RangeRequest{Key: keyK}
	if n := testing.AllocsPerRun(100, func() {
		if err := a.may(ctx, request); err != nil {
			t.Error(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

// notedReplica remembers what was proposed.
type notedReplica struct {
	*loneReplica
	ops []command.Op
}

func (r *notedReplica) Propose(ctx context.Context, op command.Op) (state.Result, error) {
	r.ops = append(r.ops, op)
	return r.loneReplica.Propose(ctx, op)
}

func TestEveryCommandHasItsAuthorWhileUsersAreOn(t *testing.T) {
	var noted *notedReplica
	w := newTown(t, func(d *Deps) {
		noted = &notedReplica{loneReplica: d.Replica.(*loneReplica)}
		d.Replica = noted
	})
	for _, op := range noted.ops {
		if _, signed := op.(command.Signed); signed {
			t.Errorf("%v was signed while users were off", op)
		}
	}
	noted.ops = nil
	rev := w.deps.Machine.Auth().View().Revision()
	_, err := w.kv.Put(w.as(writer), &pb.PutRequest{Key: keyK})
	wantError(t, "put", err, nil)
	_, err = w.kv.Put(w.as(nobody), &pb.PutRequest{Key: keyK})
	wantError(t, "put by nobody", err, rpctypes.ErrGRPCUserEmpty)
	_, err = w.kv.Put(w.as(unknown), &pb.PutRequest{Key: keyK})
	wantError(t, "put with a wrong token", err, rpctypes.ErrGRPCInvalidAuthToken)
	w.must(t, &pb.LeaseGrantRequest{TTL: 60})
	want := []command.Identity{{User: writer, AuthRev: rev}, {}, {User: root, AuthRev: rev}}
	var got []command.Identity
	for _, op := range noted.ops {
		got = append(got, op.(command.Signed).By)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestAReadIsHeldToTheRightsOfItsView takes the right away while the read waits for its barrier.
func TestAReadIsHeldToTheRightsOfItsView(t *testing.T) {
	w := newTown(t, nil)
	w.must(t, &pb.PutRequest{Key: keyK})
	revoke := func() error {
		w.replica.onBarrier.Store(nil)
		_, err := w.auth.UserRevokeRole(w.as(root), &pb.AuthUserRevokeRoleRequest{Name: reader, Role: reader})
		return err
	}
	w.replica.onBarrier.Store(&revoke)
	_, err := w.kv.Range(w.as(reader), &pb.RangeRequest{Key: keyK})
	wantError(t, "range", err, rpctypes.ErrGRPCPermissionDenied)
}

// oldTokens are of an earlier state of users and roles, as a JWT may be.
type oldTokens struct{ Tokens }

func (o oldTokens) Identify(v *auth.View, text string) (auth.Identity, error) {
	by, err := o.Tokens.Identify(v, text)
	by.Rev--
	return by, err
}

func TestAnOldIdentityIsNoLongerGoodForKeys(t *testing.T) {
	old := &oldTokens{}
	w := newTown(t, func(d *Deps) { old.Tokens = d.Tokens })
	w.deps.Tokens = old
	a := w.deps.access()
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("token", w.tokens[root]))
	for _, request := range []any{&pb.RangeRequest{Key: keyK}, &pb.PutRequest{Key: keyK}, &pb.TxnRequest{Success: []*pb.RequestOp{within(&pb.RangeRequest{Key: keyK})}}} {
		wantError(t, fmt.Sprintf("%T", request), wireError(a.may(ctx, request)), rpctypes.ErrGRPCAuthOldRevision)
	}
	wantError(t, "to manage", a.may(ctx, &pb.AuthUserListRequest{}), nil)
	nothing := &pb.TxnRequest{}
	wantError(t, "to write nothing", a.may(ctx, nothing), nil)
	wantError(t, "to read nothing", wireError(a.mayRead(ctx, nothing)), rpctypes.ErrGRPCAuthOldRevision)
}

// TestRootAsksAboutLeasesAtAnyAuthRevision is root with a token that is older than the last change of users.
func TestRootAsksAboutLeasesAtAnyAuthRevision(t *testing.T) {
	w := newTown(t, func(d *Deps) { d.Tokens = &oldTokens{d.Tokens} })
	for _, op := range []any{
		&pb.LeaseGrantRequest{ID: leaseOfK, TTL: 60}, &pb.PutRequest{Key: keyK, Lease: leaseOfK},
	} {
		signed := command.Signed{By: command.Identity{Member: true}, Op: op}
		if res, err := w.replica.Propose(context.Background(), signed); err != nil || res.Err != nil {
			t.Fatal(err, res.Err)
		}
	}
	out, err := w.lease.LeaseTimeToLive(w.as(root), &pb.LeaseTimeToLiveRequest{ID: leaseOfK, Keys: true})
	if err != nil || len(out.Keys) != 1 {
		t.Errorf("%v, %v", out, err)
	}
	_, err = w.lease.LeaseTimeToLive(w.as(ranger), &pb.LeaseTimeToLiveRequest{ID: leaseOfK, Keys: true})
	wantError(t, "another", err, rpctypes.ErrGRPCAuthOldRevision)
	_, err = w.lease.LeaseRevoke(w.as(root), &pb.LeaseRevokeRequest{ID: leaseOfK})
	wantError(t, "to revoke", err, nil)
}

// TestWhoMayNotCompactHearsNothingOfAlarms asks for a compaction while the data is in doubt.
func TestWhoMayNotCompactHearsNothingOfAlarms(t *testing.T) {
	w := newTown(t, nil)
	_, err := w.maintenance.Alarm(w.as(root), &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 5, Alarm: pb.AlarmType_CORRUPT})
	wantError(t, "to raise the alarm", err, nil)
	for who, want := range map[string]error{nobody: rpctypes.ErrGRPCUserEmpty, ranger: rpctypes.ErrGRPCPermissionDenied, root: rpctypes.ErrGRPCCorrupt} {
		_, err := w.kv.Compact(w.as(who), &pb.CompactionRequest{Revision: 1})
		wantError(t, who, err, want)
	}
}

func TestAMethodWithoutAGuardIsRefused(t *testing.T) {
	h := newHouse(t, nil)
	_, err := unaryMethod{}.handler(h.services.gate, "/etcdserverpb.KV/Put")(nil, context.Background(), func(any) error {
		t.Error("the request was read")
		return nil
	}, nil)
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("%v", err)
	}
	if err := (streamMethod{}).handler(h.services.gate, "/etcdserverpb.Watch/Watch")(nil, bareStream{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("%v", err)
	}
}

// bareStream is a stream of which only the context is asked for.
type bareStream struct{ grpc.ServerStream }

func (bareStream) Context() context.Context { return context.Background() }
