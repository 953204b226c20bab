package state

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/lease"
)

// Authorize says whether somebody may have a request of the API carried out, on what is published. It is the
// same judgement that a command meets when it is applied. Who reads pins a view of the keys first and asks
// then: what is published of users is never older than what is published of keys.
func (m *Machine) Authorize(by auth.Identity, request any) error {
	return authorizer{view: m.auth.View(), leases: m.leases}.judge(by, request)
}

// authorizer is the one place that knows what a request touches and which right that takes. What it does not
// know it refuses.
type authorizer struct {
	view   *auth.View
	leases *lease.Table
}

// judge lets everything pass while users are off.
func (a authorizer) judge(by auth.Identity, request any) error {
	if !a.view.Enabled() {
		return nil
	}
	switch r := request.(type) {
	case *pb.RangeRequest:
		return a.view.CheckRange(by, auth.Read, r.Key, r.RangeEnd)
	case *pb.PutRequest:
		return a.put(by, r)
	case *pb.DeleteRangeRequest:
		return a.deleteRange(by, r)
	case *pb.TxnRequest:
		return a.txn(by, r)
	case *pb.WatchCreateRequest:
		return a.watch(by, r)
	case *pb.LeaseGrantRequest, *pb.LeaseRevokeRequest, *pb.LeaseKeepAliveRequest, *pb.LeaseTimeToLiveRequest,
		*pb.LeaseLeasesRequest, *command.LeaseRevoke:
		return a.lease(by, r)
	case *pb.MemberListRequest, *pb.StatusRequest:
		return a.known(by)
	case *pb.AlarmRequest:
		if r.Action == pb.AlarmRequest_GET {
			return a.known(by)
		}
		return a.view.CheckRoot(by)
	case *pb.AuthStatusRequest, *pb.AuthenticateRequest:
		return nil // how else would one come by a token
	case *pb.AuthUserGetRequest:
		return a.userGet(by, r)
	case *pb.AuthRoleGetRequest:
		return a.roleGet(by, r)
	case *command.LeaseCheckpoint, *command.MemberPublish, *command.ClusterLevel, *command.DigestMark, *command.DigestReport:
		return nil // only members propose these
	}
	return a.manage(by, request)
}

// known lets pass whose name was proven, even if no user has it: a certificate for health checks needs no user to
// find out how a member is, as in etcd.
func (a authorizer) known(by auth.Identity) error {
	if by.User == "" {
		return auth.ErrUserEmpty
	}
	return nil
}

// manage judges what only root may do; and everything else is refused.
func (a authorizer) manage(by auth.Identity, request any) error {
	switch request.(type) {
	case *pb.CompactionRequest,
		*pb.DefragmentRequest, *pb.HashRequest, *pb.HashKVRequest, *pb.SnapshotRequest, *pb.MoveLeaderRequest,
		*pb.DowngradeRequest, *command.Downgrade,
		*pb.MemberAddRequest, *pb.MemberRemoveRequest, *pb.MemberUpdateRequest, *pb.MemberPromoteRequest,
		*command.MemberUpdate,
		*pb.AuthEnableRequest, *command.AuthEnable, *pb.AuthDisableRequest,
		*pb.AuthUserAddRequest, *pb.AuthUserListRequest, *pb.AuthUserDeleteRequest, *pb.AuthUserChangePasswordRequest,
		*pb.AuthUserGrantRoleRequest, *pb.AuthUserRevokeRoleRequest,
		*pb.AuthRoleAddRequest, *pb.AuthRoleListRequest, *pb.AuthRoleDeleteRequest,
		*pb.AuthRoleGrantPermissionRequest, *pb.AuthRoleRevokePermissionRequest:
		return a.view.CheckRoot(by)
	}
	return auth.ErrPermissionDenied
}

// put takes the right to write the key, to read it where its old record is asked for, and to write whatever
// shares the lease: who attaches a key to a lease can have the others deleted with it.
func (a authorizer) put(by auth.Identity, r *pb.PutRequest) error {
	if err := a.view.CheckRange(by, auth.Write, r.Key, nil); err != nil {
		return err
	}
	if r.PrevKv {
		if err := a.view.CheckRange(by, auth.Read, r.Key, nil); err != nil {
			return err
		}
	}
	if r.Lease == 0 {
		return nil
	}
	return a.attached(by, auth.Write, lease.ID(r.Lease))
}

func (a authorizer) deleteRange(by auth.Identity, r *pb.DeleteRangeRequest) error {
	if err := a.view.CheckRange(by, auth.Write, r.Key, r.RangeEnd); err != nil || !r.PrevKv {
		return err
	}
	return a.view.CheckRange(by, auth.Read, r.Key, r.RangeEnd)
}

// txn takes the rights for everything in it, for both branches and at every depth, whichever is taken.
func (a authorizer) txn(by auth.Identity, r *pb.TxnRequest) error {
	if len(r.Compare)+len(r.Success)+len(r.Failure) == 0 {
		return a.view.CheckUser(by)
	}
	for _, c := range r.Compare {
		if err := a.view.CheckRange(by, auth.Read, c.Key, c.RangeEnd); err != nil {
			return err
		}
	}
	for _, branch := range [...][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			if err := a.op(by, op); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a authorizer) op(by auth.Identity, op *pb.RequestOp) error {
	switch r := op.Request.(type) {
	case *pb.RequestOp_RequestRange:
		return a.judge(by, r.RequestRange)
	case *pb.RequestOp_RequestPut:
		return a.judge(by, r.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return a.judge(by, r.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return a.judge(by, r.RequestTxn)
	}
	return auth.ErrPermissionDenied
}

// watch takes the right to read the range, which for an empty key begins at the first key there can be.
func (a authorizer) watch(by auth.Identity, r *pb.WatchCreateRequest) error {
	key := r.Key
	if len(key) == 0 {
		key = []byte{0}
	}
	return a.view.CheckRange(by, auth.Read, key, r.RangeEnd)
}

func (a authorizer) lease(by auth.Identity, request any) error {
	if err := a.view.CheckUser(by); err != nil {
		return err
	}
	switch r := request.(type) {
	case *pb.LeaseGrantRequest:
		return nil
	case *pb.LeaseRevokeRequest:
		return a.attached(by, auth.Write, lease.ID(r.ID))
	case *command.LeaseRevoke:
		for _, id := range r.IDs {
			if err := a.attached(by, auth.Write, lease.ID(id)); err != nil {
				return err
			}
		}
		return nil
	case *pb.LeaseKeepAliveRequest:
		return a.attached(by, auth.Write, lease.ID(r.ID))
	case *pb.LeaseTimeToLiveRequest:
		if !r.Keys {
			return nil
		}
		return a.attached(by, auth.Read, lease.ID(r.ID))
	case *pb.LeaseLeasesRequest:
		for _, l := range a.leases.List() {
			if err := a.attached(by, auth.Read, l.ID); err != nil {
				return err
			}
		}
		return nil
	}
	return auth.ErrPermissionDenied
}

// attached takes a right for every key that hangs on a lease. Root is not asked key by key: keepalives of leases
// with very many keys are cheap for it.
func (a authorizer) attached(by auth.Identity, access auth.Access, id lease.ID) (err error) {
	if a.view.CheckRoot(by) == nil {
		return nil
	}
	a.leases.Each(id, func(key string) bool {
		err = a.view.CheckRange(by, access, []byte(key), nil)
		return err == nil
	})
	return err
}

// userGet lets everybody see their own roles.
func (a authorizer) userGet(by auth.Identity, r *pb.AuthUserGetRequest) error {
	err := a.view.CheckRoot(by)
	if err == nil || by.User == "" || by.User != r.Name {
		return err
	}
	return a.view.CheckUser(by)
}

// roleGet lets everybody see the permissions of a role that they have.
func (a authorizer) roleGet(by auth.Identity, r *pb.AuthRoleGetRequest) error {
	err := a.view.CheckRoot(by)
	if err == nil {
		return nil
	}
	if user, ok := a.view.User(by.User); ok && slices.Contains(user.Roles, r.Role) {
		return a.view.CheckUser(by)
	}
	return err
}
