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
)

// Op is what a command asks for: one of the types named beside the kinds.
type Op any

// Command is one word of the log.
type Command struct {
	// ID names the proposal to the member that proposed it; other members carry it along unread.
	ID uint64
	Op Op
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
// Body: ID, then name and client URLs, each with its length, as uvarints; the URLs behind their count.
type MemberPublish struct {
	ID         uint64
	Name       string
	ClientURLs []string
}

// ErrUnknownKind means that a log entry holds a command this release does not know: it was written by a
// newer one.
var ErrUnknownKind = errors.New("unknown command kind: the log was written by a newer release of Keelson; start that release instead")

// ErrMalformed means that bytes are no command.
var ErrMalformed = errors.New("malformed command")

func kindOf(op Op) (Kind, error) {
	switch op.(type) {
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
		return PublishMember, nil
	}
	return 0, fmt.Errorf("encode %T: %w", op, ErrUnknownKind)
}
