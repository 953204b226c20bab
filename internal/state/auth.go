package state

import (
	"encoding/base64"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/command"
)

// ErrBadHash is the verdict on a user whose password arrives in a form that nothing can be compared with.
var ErrBadHash = errors.New("the hash of the password is not base64")

// checkRights refuses a command that its author may not give. An unsigned one has nobody for an author.
func (m *Machine) checkRights(by command.Identity, op command.Op) error {
	if by.Member || !m.auth.Working().Enabled() {
		return nil
	}
	if r, ok := op.(*command.LeaseRevoke); ok && r.Expired {
		return nil // the clock's doing
	}
	return authorizer{view: m.auth.Working(), leases: m.leases}.judge(auth.Identity{User: by.User, Rev: by.AuthRev}, op)
}

// applyAuth carries out a command that is about users and roles.
func (m *Machine) applyAuth(op command.Op) (any, error) {
	switch op := op.(type) {
	case *command.AuthEnable:
		return &pb.AuthEnableResponse{}, m.auth.Enable(m.batch, op.Key)
	case *pb.AuthDisableRequest:
		return &pb.AuthDisableResponse{}, m.auth.Disable(m.batch)
	case *pb.AuthUserAddRequest:
		hash, err := hashOf(op.HashedPassword)
		if err != nil {
			return nil, err
		}
		return &pb.AuthUserAddResponse{}, m.auth.AddUser(m.batch, op.Name, hash, op.GetOptions().GetNoPassword())
	case *pb.AuthUserDeleteRequest:
		return &pb.AuthUserDeleteResponse{}, m.auth.DeleteUser(m.batch, op.Name)
	case *pb.AuthUserChangePasswordRequest:
		return &pb.AuthUserChangePasswordResponse{}, m.changePassword(op)
	case *pb.AuthUserGrantRoleRequest:
		return &pb.AuthUserGrantRoleResponse{}, m.auth.GrantRole(m.batch, op.User, op.Role)
	case *pb.AuthUserRevokeRoleRequest:
		return &pb.AuthUserRevokeRoleResponse{}, m.auth.RevokeRole(m.batch, op.Name, op.Role)
	case *pb.AuthRoleAddRequest:
		return &pb.AuthRoleAddResponse{}, m.auth.AddRole(m.batch, op.Name)
	case *pb.AuthRoleDeleteRequest:
		return &pb.AuthRoleDeleteResponse{}, m.auth.DeleteRole(m.batch, op.Role)
	case *pb.AuthRoleGrantPermissionRequest:
		if op.Perm == nil {
			return nil, auth.ErrPermissionNotGiven
		}
		return &pb.AuthRoleGrantPermissionResponse{}, m.auth.GrantPermission(m.batch, op.Name, permissionOf(op.Perm))
	case *pb.AuthRoleRevokePermissionRequest:
		return &pb.AuthRoleRevokePermissionResponse{}, m.auth.RevokePermission(m.batch, op.Role, op.Key, op.RangeEnd)
	}
	return nil, fmt.Errorf("no rule for %T: %w", op, command.ErrUnknownKind)
}

// changePassword looks at the user first, as etcd does: whoever has no password keeps none, whatever was sent.
func (m *Machine) changePassword(op *pb.AuthUserChangePasswordRequest) error {
	user, ok := m.auth.Working().User(op.Name)
	if !ok {
		return auth.ErrUserNotFound
	}
	if user.NoPassword {
		return m.auth.ChangePassword(m.batch, op.Name, nil)
	}
	hash, err := hashOf(op.HashedPassword)
	if err != nil {
		return err
	}
	return m.auth.ChangePassword(m.batch, op.Name, hash)
}

// hashOf reads a password's hash as the API carries it; a user without a password has an empty one.
func hashOf(text string) ([]byte, error) {
	hash, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, ErrBadHash
	}
	return hash, nil
}

func permissionOf(p *authpb.Permission) auth.Permission {
	both := p.PermType == authpb.Permission_READWRITE
	return auth.Permission{
		Read: both || p.PermType == authpb.Permission_READ, Write: both || p.PermType == authpb.Permission_WRITE,
		Key: p.Key, End: p.RangeEnd,
	}
}
