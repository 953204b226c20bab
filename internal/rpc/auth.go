package rpc

import (
	"context"
	"encoding/base64"
	"log/slog"
	"reflect"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/token"
)

// rootRole is the role that may do everything, whatever permissions it was given.
const rootRole = "root"

// authServer answers the service that manages users and roles. What changes them is a command like any other.
type authServer struct {
	headers
	access
	replica Proposer
	log     *slog.Logger
}

// authMethods are none where nobody knows tokens: users who cannot log in are of no use.
func authMethods(d Deps) built {
	if d.Tokens == nil {
		return built{}
	}
	type header = *pb.ResponseHeader
	s := &authServer{headers: d.headers(), access: d.access(), replica: d.Replica, log: d.Log}
	return built{unary: map[string]unaryMethod{
		"Authenticate": openMethod(s.authenticate),
		"AuthStatus":   askingMethod(s.status),
		"UserGet":      askingMethod(s.userGet),
		"UserList":     askingMethod(s.userList),
		"RoleGet":      askingMethod(s.roleGet),
		"RoleList":     askingMethod(s.roleList),

		"AuthEnable":         managing(d, s.newKey, func(out *pb.AuthEnableResponse, h header) { out.Header = h }),
		"AuthDisable":        managing(d, asIs[pb.AuthDisableRequest], func(out *pb.AuthDisableResponse, h header) { out.Header = h }),
		"UserAdd":            managing(d, s.hashNew, func(out *pb.AuthUserAddResponse, h header) { out.Header = h }),
		"UserDelete":         managing(d, asIs[pb.AuthUserDeleteRequest], func(out *pb.AuthUserDeleteResponse, h header) { out.Header = h }),
		"UserChangePassword": managing(d, s.hashChanged, func(out *pb.AuthUserChangePasswordResponse, h header) { out.Header = h }),
		"UserGrantRole":      managing(d, asIs[pb.AuthUserGrantRoleRequest], func(out *pb.AuthUserGrantRoleResponse, h header) { out.Header = h }),
		"UserRevokeRole":     managing(d, asIs[pb.AuthUserRevokeRoleRequest], func(out *pb.AuthUserRevokeRoleResponse, h header) { out.Header = h }),
		"RoleAdd":            managing(d, asIs[pb.AuthRoleAddRequest], func(out *pb.AuthRoleAddResponse, h header) { out.Header = h }),
		"RoleDelete":         managing(d, asIs[pb.AuthRoleDeleteRequest], func(out *pb.AuthRoleDeleteResponse, h header) { out.Header = h }),
		"RoleGrantPermission": managing(d, asIs[pb.AuthRoleGrantPermissionRequest],
			func(out *pb.AuthRoleGrantPermissionResponse, h header) { out.Header = h }),
		"RoleRevokePermission": managing(d, asIs[pb.AuthRoleRevokePermissionRequest],
			func(out *pb.AuthRoleRevokePermissionResponse, h header) { out.Header = h }),
	}}
}

// managing is a method that makes a command of its request, proposes it and answers with what came of it.
func managing[In, Out any](d Deps, make func(context.Context, *In) (command.Op, error), head func(*Out, *pb.ResponseHeader)) unaryMethod {
	kind := strings.TrimSuffix(reflect.TypeFor[In]().Name(), "Request")
	proposals, headers := newProposing[*Out](d, kind), d.headers()
	return proposedMethod(func(ctx context.Context, in *In) (any, error) {
		op, err := make(ctx, in)
		if err != nil {
			return nil, err
		}
		out, rev, err := proposals.propose(ctx, op)
		if err != nil {
			return nil, err
		}
		head(out, headers.at(rev))
		return out, nil
	})
}

// asIs is for requests that are commands already.
func asIs[In any](_ context.Context, in *In) (command.Op, error) { return in, nil }

// newKey draws the key that tokens are signed with. All members get the same one with the command.
func (s *authServer) newKey(context.Context, *pb.AuthEnableRequest) (command.Op, error) {
	return &command.AuthEnable{Key: token.NewKey()}, nil
}

// hashNew takes the password out of a request: only its hash goes into the log. A hash that the client sent is
// overwritten, as in etcd. It is asked first whether the caller may add a user at all, because a hash is dear.
func (s *authServer) hashNew(ctx context.Context, r *pb.AuthUserAddRequest) (command.Op, error) {
	if err := s.may(ctx, r); err != nil {
		return nil, err
	}
	password := r.Password
	r.Password, r.HashedPassword = "", ""
	if r.GetOptions().GetNoPassword() {
		return r, nil
	}
	var err error
	r.HashedPassword, err = s.hash(ctx, password)
	return r, err
}

// hashChanged does the same for a new password. With an empty one, a hash that the client sent is what will
// be stored, which is how etcd lets passwords be moved from one cluster to another.
func (s *authServer) hashChanged(ctx context.Context, r *pb.AuthUserChangePasswordRequest) (command.Op, error) {
	if err := s.may(ctx, r); err != nil {
		return nil, err
	}
	if r.Password == "" {
		return r, nil
	}
	var err error
	r.HashedPassword, err = s.hash(ctx, r.Password)
	r.Password = ""
	return r, err
}

func (s *authServer) hash(ctx context.Context, password string) (string, error) {
	hash, err := s.tokens.Hash(ctx, password)
	return base64.StdEncoding.EncodeToString(hash), err
}

// authenticate gives out a token. It must not be one of a password that has been changed meanwhile, so it is
// made again when anything has.
func (s *authServer) authenticate(ctx context.Context, r *pb.AuthenticateRequest) (any, error) {
	if err := s.replica.Barrier(ctx); err != nil {
		return nil, err
	}
	for {
		view := s.view()
		if !view.Enabled() {
			return nil, rpctypes.ErrGRPCAuthNotEnabled
		}
		text, err := s.tokens.Login(ctx, view, r.Name, r.Password)
		if err != nil {
			// One line each: every failure has cost a comparison that is slow on purpose, so there are not many.
			attrs := append(callerOf(ctx), slog.String("user", shown([]byte(r.Name))), slog.String("error", err.Error()))
			s.log.LogAttrs(ctx, slog.LevelWarn, "login refused", attrs...)
			return nil, err
		}
		if s.view().Revision() == view.Revision() {
			return &pb.AuthenticateResponse{Header: s.now(), Token: text}, nil
		}
	}
}

// pinned is the users and roles as everything acknowledged so far made them. Methods that show of them ask
// only then whether they may, so that the answer is not older than what is shown.
func (s *authServer) pinned(ctx context.Context) (*auth.View, error) {
	if err := s.replica.Barrier(ctx); err != nil {
		return nil, err
	}
	return s.view(), nil
}

// status is for everybody, but not for who shows a token that is not good.
func (s *authServer) status(ctx context.Context, r *pb.AuthStatusRequest) (any, error) {
	view, err := s.pinned(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.may(ctx, r); err != nil {
		return nil, err
	}
	return &pb.AuthStatusResponse{Header: s.now(), Enabled: view.Enabled(), AuthRevision: view.Revision()}, nil
}

func (s *authServer) userGet(ctx context.Context, r *pb.AuthUserGetRequest) (any, error) {
	view, err := s.pinned(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.may(ctx, r); err != nil {
		return nil, err
	}
	user, ok := view.User(r.Name)
	if !ok {
		return nil, auth.ErrUserNotFound
	}
	return &pb.AuthUserGetResponse{Header: s.now(), Roles: user.Roles}, nil
}

func (s *authServer) userList(ctx context.Context, r *pb.AuthUserListRequest) (any, error) {
	view, err := s.pinned(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.may(ctx, r); err != nil {
		return nil, err
	}
	return &pb.AuthUserListResponse{Header: s.now(), Users: view.Users()}, nil
}

func (s *authServer) roleGet(ctx context.Context, r *pb.AuthRoleGetRequest) (any, error) {
	view, err := s.pinned(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.may(ctx, r); err != nil {
		return nil, err
	}
	role, ok := view.Role(r.Role)
	if !ok {
		return nil, auth.ErrRoleNotFound
	}
	out := &pb.AuthRoleGetResponse{Header: s.now()}
	if role.Name == rootRole {
		out.Perm = []*authpb.Permission{{PermType: authpb.Permission_READWRITE, Key: []byte{}, RangeEnd: []byte{0}}}
		return out, nil
	}
	for _, p := range role.Permissions {
		out.Perm = append(out.Perm, &authpb.Permission{PermType: permissionType(p), Key: p.Key, RangeEnd: p.End})
	}
	return out, nil
}

func permissionType(p auth.Permission) authpb.Permission_Type {
	switch {
	case p.Read && p.Write:
		return authpb.Permission_READWRITE
	case p.Write:
		return authpb.Permission_WRITE
	}
	return authpb.Permission_READ
}

func (s *authServer) roleList(ctx context.Context, r *pb.AuthRoleListRequest) (any, error) {
	view, err := s.pinned(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.may(ctx, r); err != nil {
		return nil, err
	}
	return &pb.AuthRoleListResponse{Header: s.now(), Roles: view.Roles()}, nil
}
