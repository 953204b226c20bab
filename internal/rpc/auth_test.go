package rpc

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/command"
)

func TestUsersSwitchOnOnlyWithARoot(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	enable := func() error {
		_, err := h.auth.AuthEnable(ctx, &pb.AuthEnableRequest{})
		return err
	}
	_, err := h.auth.Authenticate(ctx, &pb.AuthenticateRequest{Name: root, Password: root})
	wantError(t, "log in while users are off", err, rpctypes.ErrGRPCAuthNotEnabled)
	wantError(t, "without a root", enable(), rpctypes.ErrGRPCRootUserNotExist)
	if _, err := h.auth.UserAdd(ctx, &pb.AuthUserAddRequest{Name: root, Password: root}); err != nil {
		t.Fatal(err)
	}
	wantError(t, "without the role", enable(), rpctypes.ErrGRPCRootRoleNotExist)
	if _, err := h.auth.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: root, Role: root}); err != nil {
		t.Fatal(err)
	}
	h.put(t, "a", "1")
	wantError(t, "with both", enable(), nil)
	key := slices.Clone(h.deps.Machine.Auth().View().Key())
	if len(key) < 32 {
		t.Errorf("a signing key of %d bytes", len(key))
	}
	got, err := h.auth.AuthStatus(ctx, &pb.AuthStatusRequest{})
	if err != nil || !got.Enabled || got.AuthRevision != 3 {
		t.Errorf("status %v, %v", got, err)
	}
	wantHeader(t, "auth status", got.GetHeader(), 2)
	wantError(t, "again, as nobody", enable(), rpctypes.ErrGRPCUserEmpty)

	w := &town{house: h, tokens: map[string]string{}}
	w.login(t, root)
	w.must(t, &pb.AuthEnableRequest{})
	if now := h.deps.Machine.Auth().View().Key(); !slices.Equal(now, key) {
		t.Error("switching on what is on has changed the key")
	}
	w.must(t, &pb.AuthDisableRequest{})
	w.must(t, &pb.AuthEnableRequest{})
	if now := h.deps.Machine.Auth().View().Key(); slices.Equal(now, key) {
		t.Error("the key has outlived a pause of users")
	}
	_, err = h.kv.Put(w.as(root), &pb.PutRequest{Key: keyK})
	wantError(t, "a token from before", err, rpctypes.ErrGRPCInvalidAuthToken)
}

func TestLogins(t *testing.T) {
	w, ctx := newTown(t, nil), context.Background()
	w.must(t, &pb.AuthUserAddRequest{Name: "machine", Options: &authpb.UserAddOptions{NoPassword: true}, Password: "ignored", HashedPassword: "no base64"})
	w.must(t, &pb.AuthUserAddRequest{Name: "empty"})
	for _, c := range []struct {
		name, password string
		want           error
	}{
		{reader, reader, nil},
		{"empty", "", nil},
		{reader, writer, rpctypes.ErrGRPCAuthFailed},
		{reader, "", rpctypes.ErrGRPCAuthFailed},
		{"stranger", "", rpctypes.ErrGRPCAuthFailed},
		{"", "", rpctypes.ErrGRPCAuthFailed},
		{"machine", "ignored", status.Error(codes.Unknown, "auth: authentication failed, password was given for no password user")},
	} {
		out, err := w.auth.Authenticate(ctx, &pb.AuthenticateRequest{Name: c.name, Password: c.password})
		wantError(t, c.name+"/"+c.password, err, c.want)
		if err == nil && (out.Token == "" || out.Header.Revision != 1) {
			t.Errorf("%v", out)
		}
	}
	fail := func() error { return errors.New("no quorum") }
	w.replica.onBarrier.Store(&fail)
	_, err := w.auth.Authenticate(ctx, &pb.AuthenticateRequest{Name: reader, Password: reader})
	wantError(t, "without a quorum", err, status.Error(codes.Unknown, "no quorum"))
}

// watchedTokens lets a test act between the check of a password and what follows.
type watchedTokens struct {
	Tokens
	then func()
}

func (w watchedTokens) Login(ctx context.Context, v *auth.View, user, password string) (string, error) {
	text, err := w.Tokens.Login(ctx, v, user, password)
	w.then()
	return text, err
}

func TestALoginIsRepeatedWhenUsersChangeMeanwhile(t *testing.T) {
	w := newTown(t, nil)
	s := &authServer{headers: w.deps.headers(), access: w.deps.access(), replica: w.replica}
	tries := 0
	s.tokens = watchedTokens{w.deps.Tokens, func() {
		if tries++; tries == 1 {
			w.must(t, &pb.AuthUserAddRequest{Name: "another"})
		}
	}}
	if _, err := s.authenticate(context.Background(), &pb.AuthenticateRequest{Name: reader, Password: reader}); err != nil || tries != 2 {
		t.Errorf("%v after %d tries", err, tries)
	}
}

func TestPasswordsDoNotReachTheLog(t *testing.T) {
	var noted *notedReplica
	w := newTown(t, func(d *Deps) {
		noted = &notedReplica{loneReplica: d.Replica.(*loneReplica)}
		d.Replica = noted
	})
	noted.ops = nil
	w.must(t, &pb.AuthUserAddRequest{Name: "ann", Password: "swordfish", HashedPassword: "eA=="})
	w.must(t, &pb.AuthUserAddRequest{Name: "machine", Password: "swordfish", Options: &authpb.UserAddOptions{NoPassword: true}})
	w.must(t, &pb.AuthUserChangePasswordRequest{Name: "ann", Password: "swordfish", HashedPassword: "eA=="})
	for i, op := range noted.ops {
		text := op.(command.Signed).Op.(proto.Message)
		if raw, err := proto.Marshal(text); err != nil || strings.Contains(string(raw), "swordfish") || strings.Contains(string(raw), "eA==") {
			t.Errorf("%v, %v", text, err)
		}
		if i == 1 {
			continue
		}
		hash := text.(interface{ GetHashedPassword() string }).GetHashedPassword()
		raw, err := base64.StdEncoding.DecodeString(hash)
		if err != nil || bcrypt.CompareHashAndPassword(raw, []byte("swordfish")) != nil {
			t.Errorf("hash %q, %v", hash, err)
		}
	}
	_, err := w.auth.UserAdd(w.as(root), &pb.AuthUserAddRequest{Name: "long", Password: strings.Repeat("x", 73)})
	wantError(t, "a password that is too long", err, status.Error(codes.Unknown, bcrypt.ErrPasswordTooLong.Error()))
}

// TestAHashMayBeMoved gives a user the hash that they had elsewhere.
func TestAHashMayBeMoved(t *testing.T) {
	w := newTown(t, nil)
	hash, err := bcrypt.GenerateFromPassword([]byte("from elsewhere"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	w.must(t, &pb.AuthUserChangePasswordRequest{Name: reader, HashedPassword: base64.StdEncoding.EncodeToString(hash)})
	if _, err := w.auth.Authenticate(context.Background(), &pb.AuthenticateRequest{Name: reader, Password: "from elsewhere"}); err != nil {
		t.Error(err)
	}
	_, err = w.auth.UserChangePassword(w.as(root), &pb.AuthUserChangePasswordRequest{Name: reader, HashedPassword: "no base64"})
	wantError(t, "no hash", err, status.Error(codes.Unknown, "auth: authentication failed, password was given for no password user"))
	w.must(t, &pb.AuthUserChangePasswordRequest{Name: reader}) // nobody can log in with no hash at all
	_, err = w.auth.Authenticate(context.Background(), &pb.AuthenticateRequest{Name: reader})
	wantError(t, "an empty hash", err, rpctypes.ErrGRPCAuthFailed)
}

func TestOnesOwnUserAndRolesCanBeSeen(t *testing.T) {
	w := newTown(t, nil)
	user, err := w.auth.UserGet(w.as(reader), &pb.AuthUserGetRequest{Name: reader})
	if err != nil || !slices.Equal(user.Roles, []string{reader}) || user.Header.Revision != 1 {
		t.Errorf("%v, %v", user, err)
	}
	_, err = w.auth.UserGet(w.as(reader), &pb.AuthUserGetRequest{Name: writer})
	wantError(t, "another user", err, rpctypes.ErrGRPCPermissionDenied)
	role, err := w.auth.RoleGet(w.as(ranger), &pb.AuthRoleGetRequest{Role: ranger})
	if err != nil || len(role.Perm) != 1 || !proto.Equal(role.Perm[0], &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: keyK, RangeEnd: keyN}) {
		t.Errorf("%v, %v", role, err)
	}
	_, err = w.auth.RoleGet(w.as(reader), &pb.AuthRoleGetRequest{Role: ranger})
	wantError(t, "another role", err, rpctypes.ErrGRPCPermissionDenied)
}

func TestRootSeesAllUsersAndRoles(t *testing.T) {
	w := newTown(t, nil)
	users, err := w.auth.UserList(w.as(root), &pb.AuthUserListRequest{})
	if want := []string{plain, ranger, reader, root, writer}; err != nil || !slices.Equal(users.Users, want) {
		t.Errorf("%v, %v", users, err)
	}
	roles, err := w.auth.RoleList(w.as(root), &pb.AuthRoleListRequest{})
	if want := []string{ranger, reader, writer}; err != nil || !slices.Equal(roles.Roles, want) {
		t.Errorf("%v, %v", roles, err)
	}
	for role, kind := range map[string]authpb.Permission_Type{reader: authpb.Permission_READ, writer: authpb.Permission_WRITE} {
		got, err := w.auth.RoleGet(w.as(root), &pb.AuthRoleGetRequest{Role: role})
		if err != nil || len(got.Perm) != 1 || got.Perm[0].PermType != kind {
			t.Errorf("%v, %v", got, err)
		}
	}
	_, err = w.auth.RoleGet(w.as(root), &pb.AuthRoleGetRequest{Role: root})
	wantError(t, "the role root, as long as it has no entry", err, rpctypes.ErrGRPCRoleNotFound)
	w.must(t, &pb.AuthRoleAddRequest{Name: root})
	got, err := w.auth.RoleGet(w.as(root), &pb.AuthRoleGetRequest{Role: root})
	if err != nil || len(got.Perm) != 1 || !proto.Equal(got.Perm[0], &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte{}, RangeEnd: toTheEnd}) {
		t.Errorf("%v, %v", got, err)
	}
	_, err = w.auth.UserGet(w.as(root), &pb.AuthUserGetRequest{Name: "stranger"})
	wantError(t, "a stranger", err, rpctypes.ErrGRPCUserNotFound)
}
