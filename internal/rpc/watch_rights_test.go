package rpc

import (
	"context"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"

	"github.com/keelson-db/keelson/internal/auth"
)

// watcher is one stream of somebody's.
type watcher struct{ pb.Watch_WatchClient }

func (w *town) watcher(t *testing.T, who string) watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(w.as(who))
	t.Cleanup(cancel)
	stream, err := w.watch.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return watcher{stream}
}

func (w watcher) create(t *testing.T, r *pb.WatchCreateRequest) {
	t.Helper()
	if err := w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}); err != nil {
		t.Fatal(err)
	}
}

func (w watcher) next(t *testing.T) *pb.WatchResponse {
	t.Helper()
	out, err := w.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// created makes a watcher that must be admitted.
func (w watcher) created(t *testing.T, r *pb.WatchCreateRequest) {
	t.Helper()
	w.create(t, r)
	if got := w.next(t); !got.Created || got.Canceled {
		t.Fatalf("%v: %v", r, got)
	}
}

// wantEnd waits for the end of a watcher, which must come before anything else.
func (w watcher) wantEnd(t *testing.T, id int64, reason error) {
	t.Helper()
	got := w.next(t)
	if got.Created || !got.Canceled || got.WatchId != id || got.CancelReason != reason.Error() || len(got.Events) != 0 || got.Header.Revision == 0 {
		t.Errorf("%v, want the end of %d with %q", got, id, reason)
	}
}

func (w watcher) wantEvent(t *testing.T, id int64, key string) {
	t.Helper()
	got := w.next(t)
	if got.WatchId != id || len(got.Events) != 1 || string(got.Events[0].Kv.Key) != key {
		t.Errorf("%v, want %s for %d", got, key, id)
	}
}

func TestARightThatIsTakenAwayEndsItsWatchersAndNoOthers(t *testing.T) {
	w := newTown(t, nil)
	w.role(t, "more", authpb.Permission_READ, "x", "")
	w.must(t, &pb.AuthUserGrantRoleRequest{User: reader, Role: "more"})
	s := w.watcher(t, reader)
	s.created(t, &pb.WatchCreateRequest{Key: keyK, WatchId: 1})
	s.created(t, &pb.WatchCreateRequest{Key: []byte("x"), WatchId: 2})
	w.must(t, &pb.AuthUserRevokeRoleRequest{Name: reader, Role: "more"})
	s.wantEnd(t, 2, rpctypes.ErrGRPCPermissionDenied) // without waiting for an event
	w.must(t, &pb.PutRequest{Key: []byte("x")})
	w.must(t, &pb.PutRequest{Key: keyK})
	s.wantEvent(t, 1, "k")
	s.create(t, &pb.WatchCreateRequest{Key: []byte("x")})
	if got := s.next(t); !got.Created || !got.Canceled || got.CancelReason != rpctypes.ErrGRPCPermissionDenied.Error() {
		t.Errorf("asked again: %v", got)
	}
}

func TestAUserWhoIsDroppedSeesNothingMore(t *testing.T) {
	w := newTown(t, nil)
	s := w.watcher(t, reader)
	s.created(t, &pb.WatchCreateRequest{Key: keyK})
	w.must(t, &pb.AuthUserDeleteRequest{Name: reader})
	w.must(t, &pb.PutRequest{Key: keyK})
	s.wantEnd(t, 0, rpctypes.ErrGRPCPermissionDenied)
	s.create(t, &pb.WatchCreateRequest{Key: keyK})
	if got := s.next(t); got.CancelReason != rpctypes.ErrGRPCInvalidAuthToken.Error() {
		t.Errorf("asked again: %v", got)
	}
}

func TestANewPasswordEndsWhatTheOldOneBegan(t *testing.T) {
	w := newTown(t, nil)
	s := w.watcher(t, reader)
	s.created(t, &pb.WatchCreateRequest{Key: keyK})
	w.must(t, &pb.AuthUserChangePasswordRequest{Name: reader, Password: "new"})
	s.wantEnd(t, 0, rpctypes.ErrGRPCInvalidAuthToken)
}

func TestChangesThatTouchNobodyEndNothing(t *testing.T) {
	w := newTown(t, nil)
	s := w.watcher(t, reader)
	s.created(t, &pb.WatchCreateRequest{Key: keyK})
	w.must(t, &pb.AuthUserAddRequest{Name: "another"})
	w.role(t, "more", authpb.Permission_READ, "x", "")
	w.must(t, &pb.PutRequest{Key: keyK})
	s.wantEvent(t, 0, "k")
}

func TestWatchersFromBeforeUsersWereOnAreJudgedToo(t *testing.T) {
	w := newTown(t, nil)
	w.must(t, &pb.AuthDisableRequest{})
	anonymous, old := w.watcher(t, nobody), w.watcher(t, reader)
	anonymous.created(t, &pb.WatchCreateRequest{Key: keyK})
	old.created(t, &pb.WatchCreateRequest{Key: keyK})
	w.must(t, &pb.AuthEnableRequest{})
	anonymous.wantEnd(t, 0, rpctypes.ErrGRPCUserEmpty)
	old.wantEnd(t, 0, rpctypes.ErrGRPCInvalidAuthToken) // it was of the time before
}

func TestAWatchThatOutlivesAPauseOfUsersGoesOn(t *testing.T) {
	w := newTown(t, nil)
	s := w.watcher(t, reader)
	s.created(t, &pb.WatchCreateRequest{Key: keyK})
	w.must(t, &pb.AuthDisableRequest{})
	w.must(t, &pb.AuthEnableRequest{})
	w.login(t, root)
	w.must(t, &pb.PutRequest{Key: keyK})
	s.wantEvent(t, 0, "k")
}

func TestAStartBeforeAllHistoryIsRefusedWhoeverAsks(t *testing.T) {
	w := newTown(t, nil)
	s := w.watcher(t, nobody)
	s.create(t, &pb.WatchCreateRequest{Key: keyK, StartRevision: -1})
	if got := s.next(t); got.CancelReason != rpctypes.ErrorDesc(rpctypes.ErrGRPCCompacted) {
		t.Errorf("%v", got)
	}
	s.create(t, &pb.WatchCreateRequest{Key: keyK, RangeEnd: []byte("a")}) // an empty range is found after the caller
	if got := s.next(t); got.CancelReason != rpctypes.ErrGRPCUserEmpty.Error() {
		t.Errorf("%v", got)
	}
}

// TestAnOutdatedIdentityIsNotRemembered asks twice with a token of an earlier state of users and roles, as after a
// refused request: the second time it must not be taken for the name alone.
func TestAnOutdatedIdentityIsNotRemembered(t *testing.T) {
	w := newTown(t, nil)
	w.deps.Tokens = oldTokens{w.deps.Tokens}
	view := w.deps.Machine.Auth().View()
	r := &watchRights{access: w.deps.access(), ctx: metadata.NewIncomingContext(t.Context(), metadata.Pairs("token", w.tokens[ranger]))}
	for range 2 {
		by, err := r.present(view)
		wantError(t, "to be recognised", err, nil)
		wantError(t, "to read", wireError(view.CheckRange(by, auth.Read, keyK, nil)), rpctypes.ErrGRPCAuthOldRevision)
	}
}
