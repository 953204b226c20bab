package command

import (
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Kind says what a command does. The numbers are on disk: they are never reused.
type Kind uint8

// The kinds of commands, with the type of their Op.
const (
	Put             Kind = 1 // *pb.PutRequest
	DeleteRange     Kind = 2 // *pb.DeleteRangeRequest
	Txn             Kind = 3 // *pb.TxnRequest
	Compact         Kind = 4 // *pb.CompactionRequest
	GrantLease      Kind = 5 // *pb.LeaseGrantRequest, its ID and TTL final
	RevokeLeases    Kind = 6 // *LeaseRevoke
	CheckpointLease Kind = 7 // *LeaseCheckpoint
	PublishMember   Kind = 8 // *MemberPublish

	EnableAuth       Kind = 9  // *AuthEnable
	DisableAuth      Kind = 10 // *pb.AuthDisableRequest
	AddUser          Kind = 11 // *pb.AuthUserAddRequest, its password hashed
	DeleteUser       Kind = 12 // *pb.AuthUserDeleteRequest
	ChangePassword   Kind = 13 // *pb.AuthUserChangePasswordRequest, its password hashed
	GrantRole        Kind = 14 // *pb.AuthUserGrantRoleRequest
	RevokeRole       Kind = 15 // *pb.AuthUserRevokeRoleRequest
	AddRole          Kind = 16 // *pb.AuthRoleAddRequest
	DeleteRole       Kind = 17 // *pb.AuthRoleDeleteRequest
	GrantPermission  Kind = 18 // *pb.AuthRoleGrantPermissionRequest
	RevokePermission Kind = 19 // *pb.AuthRoleRevokePermissionRequest

	RaiseAlarm   Kind = 20 // *pb.AlarmRequest, to activate or deactivate
	SetDowngrade Kind = 21 // *Downgrade

	AnnounceMember Kind = 22 // *MemberPublish that tells of a release too
	UpdateMember   Kind = 23 // *MemberUpdate
	SetLevel       Kind = 24 // *ClusterLevel
	MarkDigest     Kind = 25 // *DigestMark
	ReportDigest   Kind = 26 // *DigestReport
)

// signed is set in the kind of a command whose body begins with who asked for it.
const signed Kind = 0x80

func (k Kind) plain() Kind { return k &^ signed }

// Op is what a command asks for: one of the types named beside the kinds.
type Op any

// Command is one word of the log.
type Command struct {
	// ID names the proposal to the member that proposed it; other members carry it along unread.
	ID uint64
	Op Op
}

// Signed is an op together with who asked for it. Every op that comes from a client while users are on is
// signed; one that is not is refused then, unless only members propose its kind.
type Signed struct {
	By Identity
	Op Op // not itself signed
}

// Identity is who asks.
type Identity struct {
	// User is the name; it is empty for the member itself.
	User string
	// AuthRev is the auth revision at which the user was recognised: an older one than that of the state
	// is refused.
	AuthRev uint64
	// Member says that the member itself asks, for its own upkeep, and may do everything.
	Member bool
}

// AuthEnable switches users on. Key is what their tokens are signed with from now on; the proposer draws it.
// Body: the key with its length as a uvarint.
type AuthEnable struct {
	Key []byte
}

// Downgrade tells the cluster to prepare for an older release, or, with an empty target, not to any longer.
// Body: the target's text with its length as a uvarint.
type Downgrade struct {
	Target string // such as "3.6.0"
}

// LeaseRevoke ends leases and deletes the keys attached to them. Body: count, then each ID, as uvarints.
type LeaseRevoke struct {
	IDs []int64
	// Expired says that the clock ended the leases and not a client: leases that are gone by the time the
	// command is applied are then no error. It is the first byte of the body, 0 or 1.
	Expired bool
}

// LeaseCheckpoint records how many seconds leases have left, so that a restart or a new leader does not
// begin their full time again. Body: count, then ID and seconds of each, as uvarints.
type LeaseCheckpoint struct {
	Leases []Remaining
}

// Remaining is the time one lease has left.
type Remaining struct {
	ID      int64
	Seconds int64 // 0 means the full granted time
}

// MemberPublish tells the cluster a member's name and where its clients reach it.
// Body: ID, then name and client URLs, each with its length, as uvarints; the URLs behind their count. With a
// level it is an AnnounceMember, whose body goes on: incarnation, level, version.
type MemberPublish struct {
	ID         uint64
	Name       string
	ClientURLs []string

	Incarnation uint64 // names the member's data directory
	Level       uint32 // the newest level that its release knows; 0 leaves all three out
	Version     string // its release
}

// MemberUpdate gives a member other peer URLs. Body: ID, then the URLs behind their count.
type MemberUpdate struct {
	ID       uint64
	PeerURLs []string
}

// ClusterLevel raises the level of the cluster: from then on commands of that level may be proposed, because
// every member's release knows them. Body: the level.
type ClusterLevel struct {
	Level uint32
}

// ErrUnknownKind means that a log entry holds a command this release does not know: it was written by a
// newer one.
var ErrUnknownKind = errors.New("unknown command kind: the log was written by a newer release of Keelson; start that release instead")

// ErrMalformed means that bytes are no command.
var ErrMalformed = errors.New("malformed command")

func kindOf(op Op) (Kind, error) {
	switch op := op.(type) {
	case Signed:
		kind, err := kindOf(op.Op)
		if kind&signed != 0 {
			return 0, fmt.Errorf("encode a command that is signed twice: %w", ErrUnknownKind)
		}
		return kind | signed, err
	case *pb.PutRequest:
		return Put, nil
	case *pb.DeleteRangeRequest:
		return DeleteRange, nil
	case *pb.TxnRequest:
		return Txn, nil
	case *pb.CompactionRequest:
		return Compact, nil
	case *pb.LeaseGrantRequest:
		return GrantLease, nil
	case *LeaseRevoke:
		return RevokeLeases, nil
	case *LeaseCheckpoint:
		return CheckpointLease, nil
	case *MemberPublish:
		if op.Level > 0 {
			return AnnounceMember, nil
		}
		return PublishMember, nil
	case *MemberUpdate:
		return UpdateMember, nil
	case *ClusterLevel:
		return SetLevel, nil
	case *DigestMark:
		return MarkDigest, nil
	case *DigestReport:
		return ReportDigest, nil
	case *pb.AlarmRequest:
		return RaiseAlarm, nil
	case *Downgrade:
		return SetDowngrade, nil
	}
	if kind := authKindOf(op); kind != 0 {
		return kind, nil
	}
	return 0, fmt.Errorf("encode %T: %w", op, ErrUnknownKind)
}

// authKindOf is the kind of an op on users and roles, 0 for any other.
func authKindOf(op Op) Kind {
	switch op.(type) {
	case *AuthEnable:
		return EnableAuth
	case *pb.AuthDisableRequest:
		return DisableAuth
	case *pb.AuthUserAddRequest:
		return AddUser
	case *pb.AuthUserDeleteRequest:
		return DeleteUser
	case *pb.AuthUserChangePasswordRequest:
		return ChangePassword
	case *pb.AuthUserGrantRoleRequest:
		return GrantRole
	case *pb.AuthUserRevokeRoleRequest:
		return RevokeRole
	case *pb.AuthRoleAddRequest:
		return AddRole
	case *pb.AuthRoleDeleteRequest:
		return DeleteRole
	case *pb.AuthRoleGrantPermissionRequest:
		return GrantPermission
	case *pb.AuthRoleRevokePermissionRequest:
		return RevokePermission
	}
	return 0
}
