package rpc

import (
	"context"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
)

// The people of the tests, by what they may do. The first two have not proved who they are.
const (
	nobody  = "nobody"
	unknown = "unknown" // shows a token that is none
	plain   = "plain"   // a user without a role
	reader  = "reader"  // may read the key k
	writer  = "writer"  // may write the key k
	ranger  = "ranger"  // may read and write from k up to n
	root    = "root"
)

func people() []string { return []string{nobody, unknown, plain, reader, writer, ranger, root} }

// town is a house with users on.
type town struct {
	*house
	tokens map[string]string
}

// newTown builds a house, its people and their rights, and switches users on.
func newTown(t testing.TB, change func(*Deps)) *town {
	t.Helper()
	w := &town{house: newHouse(t, change), tokens: map[string]string{unknown: "none"}}
	w.role(t, reader, authpb.Permission_READ, "k", "")
	w.role(t, writer, authpb.Permission_WRITE, "k", "")
	w.role(t, ranger, authpb.Permission_READWRITE, "k", "n")
	for _, name := range people()[2:] {
		w.must(t, &pb.AuthUserAddRequest{Name: name, Password: name})
		if name != plain {
			w.must(t, &pb.AuthUserGrantRoleRequest{User: name, Role: name})
		}
	}
	w.must(t, &pb.AuthEnableRequest{})
	for _, name := range people()[2:] {
		w.login(t, name)
	}
	return w
}

// role adds a role with one permission.
func (w *town) role(t testing.TB, name string, kind authpb.Permission_Type, key, end string) {
	t.Helper()
	w.must(t, &pb.AuthRoleAddRequest{Name: name})
	w.must(t, &pb.AuthRoleGrantPermissionRequest{
		Name: name, Perm: &authpb.Permission{PermType: kind, Key: []byte(key), RangeEnd: []byte(end)},
	})
}

// login takes a new token.
func (w *town) login(t testing.TB, name string) {
	t.Helper()
	out, err := w.auth.Authenticate(context.Background(), &pb.AuthenticateRequest{Name: name, Password: name})
	if err != nil {
		t.Fatalf("%s logs in: %v", name, err)
	}
	w.tokens[name] = out.Token
}

// as is the context of what somebody asks for.
func (w *town) as(name string) context.Context {
	if text, ok := w.tokens[name]; ok {
		return metadata.AppendToOutgoingContext(context.Background(), "token", text)
	}
	return context.Background()
}

// must has root manage users.
func (w *town) must(t testing.TB, request any) {
	t.Helper()
	var err error
	ctx := w.as(root)
	switch r := request.(type) {
	case *pb.AuthEnableRequest:
		_, err = w.auth.AuthEnable(ctx, r)
	case *pb.AuthDisableRequest:
		_, err = w.auth.AuthDisable(ctx, r)
	case *pb.AuthUserAddRequest:
		_, err = w.auth.UserAdd(ctx, r)
	case *pb.AuthUserDeleteRequest:
		_, err = w.auth.UserDelete(ctx, r)
	case *pb.AuthUserChangePasswordRequest:
		_, err = w.auth.UserChangePassword(ctx, r)
	case *pb.AuthUserGrantRoleRequest:
		_, err = w.auth.UserGrantRole(ctx, r)
	case *pb.AuthUserRevokeRoleRequest:
		_, err = w.auth.UserRevokeRole(ctx, r)
	case *pb.AuthRoleAddRequest:
		_, err = w.auth.RoleAdd(ctx, r)
	case *pb.AuthRoleGrantPermissionRequest:
		_, err = w.auth.RoleGrantPermission(ctx, r)
	case *pb.AuthRoleRevokePermissionRequest:
		_, err = w.auth.RoleRevokePermission(ctx, r)
	case *pb.PutRequest:
		_, err = w.kv.Put(ctx, r)
	case *pb.LeaseGrantRequest:
		_, err = w.lease.LeaseGrant(ctx, r)
	default:
		t.Fatalf("root does not know how to ask for %T", request)
	}
	if err != nil {
		t.Fatalf("%v: %v", request, err)
	}
}
