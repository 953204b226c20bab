package rpc

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/token"
)

// wireRows are what clients match, written out: a change of a code or a text must be seen here.
var wireRows = []struct {
	ours error
	code codes.Code
	text string
}{
	{mvcc.ErrCompacted, codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted"},
	{mvcc.ErrFutureRev, codes.OutOfRange, "etcdserver: mvcc: required revision is a future revision"},
	{state.ErrKeyNotFound, codes.InvalidArgument, "etcdserver: key not found"},
	{lease.ErrNotFound, codes.NotFound, "etcdserver: requested lease not found"},
	{lease.ErrExists, codes.FailedPrecondition, "etcdserver: lease already exists"},
	{replica.ErrTooLarge, codes.InvalidArgument, "etcdserver: request is too large"},
	{replica.ErrTooManyRequests, codes.Unknown, "etcdserver: too many requests"},
	{replica.ErrStopped, codes.Unavailable, "etcdserver: server stopped"},
	{replica.ErrTimeout, codes.Unavailable, "etcdserver: request timed out"},
	{replica.ErrTimeoutLeaderFail, codes.Unavailable, "etcdserver: request timed out, possibly due to previous leader failure"},
	{errApplyWait, codes.Unavailable, "etcdserver: request timed out, waiting for the applied index took too long"},
	{errConnectionLost, codes.Unavailable, "etcdserver: request timed out, possibly due to connection lost"},
	{replica.ErrNotLeader, codes.FailedPrecondition, "etcdserver: not leader"},
	{replica.ErrTransferee, codes.FailedPrecondition, "etcdserver: bad leader transferee"},
	{replica.ErrLevel, codes.FailedPrecondition, "etcdserver: not capable"},
	{member.ErrRemoved, codes.NotFound, "etcdserver: member not found"},
	{member.ErrNotFound, codes.NotFound, "etcdserver: member not found"},
	{member.ErrExists, codes.FailedPrecondition, "etcdserver: member ID already exist"},
	{member.ErrPeerURLExists, codes.FailedPrecondition, "etcdserver: Peer URLs already exists"},
	{member.ErrNotLearner, codes.FailedPrecondition, "etcdserver: can only promote a learner member"},
	{errNotEnoughStarted, codes.Unknown, "etcdserver: re-configuration failed due to not enough started members"},
	{rpctypes.ErrGRPCLearnerNotReady, codes.FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader"},
	{rpctypes.ErrGRPCTooManyLearners, codes.FailedPrecondition, "etcdserver: too many learner members in cluster"},
	{rpctypes.ErrGRPCUnhealthy, codes.Unavailable, "etcdserver: unhealthy cluster"},
	{rpctypes.ErrGRPCMemberBadURLs, codes.InvalidArgument, "etcdserver: given member URLs are invalid"},
	{rpctypes.ErrGRPCNotSupportedForLearner, codes.FailedPrecondition, "etcdserver: rpc not supported for learner"},
	{errSlowTransfer, codes.Unknown, "etcdserver: request timed out, leader transfer took too long"},
	{state.ErrNoSpace, codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded"},
	{state.ErrCorrupt, codes.DataLoss, "etcdserver: corrupt cluster"},
	{auth.ErrRootUserNotExist, codes.FailedPrecondition, "etcdserver: root user does not exist"},
	{auth.ErrRootRoleNotExist, codes.FailedPrecondition, "etcdserver: root user does not have root role"},
	{auth.ErrUserExists, codes.FailedPrecondition, "etcdserver: user name already exists"},
	{auth.ErrUserEmpty, codes.InvalidArgument, "etcdserver: user name is empty"},
	{auth.ErrUserNotFound, codes.FailedPrecondition, "etcdserver: user name not found"},
	{auth.ErrRoleExists, codes.FailedPrecondition, "etcdserver: role name already exists"},
	{auth.ErrRoleNotFound, codes.FailedPrecondition, "etcdserver: role name not found"},
	{auth.ErrRoleEmpty, codes.InvalidArgument, "etcdserver: role name is empty"},
	{auth.ErrPermissionDenied, codes.PermissionDenied, "etcdserver: permission denied"},
	{auth.ErrRoleNotGranted, codes.FailedPrecondition, "etcdserver: role is not granted to the user"},
	{auth.ErrPermissionNotGiven, codes.InvalidArgument, "etcdserver: permission not given"},
	{auth.ErrPermissionNotGranted, codes.FailedPrecondition, "etcdserver: permission is not granted to the role"},
	{auth.ErrInvalidManagement, codes.InvalidArgument, "etcdserver: invalid auth management"},
	{auth.ErrOldRevision, codes.InvalidArgument, "etcdserver: revision of auth store is old"},
	{token.ErrInvalid, codes.Unauthenticated, "etcdserver: invalid auth token"},
	{token.ErrFailed, codes.InvalidArgument, "etcdserver: authentication failed, invalid user ID or password"},
	{token.ErrBusy, codes.Unknown, "etcdserver: too many requests"},
	{token.ErrNoPassword, codes.Unknown, "auth: authentication failed, password was given for no password user"},
	{token.ErrVerifyOnly, codes.Unknown, "auth: token signing attempted with verify-only key"},
	{state.ErrBadHash, codes.Unknown, "auth: authentication failed, password was given for no password user"},
	{rpctypes.ErrGRPCAuthNotEnabled, codes.FailedPrecondition, "etcdserver: authentication is not enabled"},
	{context.Canceled, codes.Canceled, "context canceled"},
	{context.DeadlineExceeded, codes.DeadlineExceeded, "context deadline exceeded"},
	{errors.New("not a primary lessor"), codes.Unknown, "not a primary lessor"},
	{rpctypes.ErrGRPCEmptyKey, codes.InvalidArgument, "etcdserver: key is not provided"},
	{rpctypes.ErrGRPCInvalidSortOption, codes.InvalidArgument, "etcdserver: invalid sort option"},
	{rpctypes.ErrGRPCDuplicateKey, codes.InvalidArgument, "etcdserver: duplicate key given in txn request"},
	{rpctypes.ErrGRPCTooManyOps, codes.InvalidArgument, "etcdserver: too many operations in txn request"},
	{rpctypes.ErrGRPCValueProvided, codes.InvalidArgument, "etcdserver: value is provided"},
	{rpctypes.ErrGRPCLeaseProvided, codes.InvalidArgument, "etcdserver: lease is provided"},
	{rpctypes.ErrGRPCLeaseTTLTooLarge, codes.OutOfRange, "etcdserver: too large lease TTL"},
	{rpctypes.ErrGRPCInvalidClientAPIVersion, codes.InvalidArgument, "etcdserver: invalid client api version"},
	{rpctypes.ErrGRPCWatchCanceled, codes.Canceled, "etcdserver: watch canceled"},
}

func TestErrorsLeaveWithEtcdsCodeAndText(t *testing.T) {
	for _, row := range wireRows {
		got := wireError(row.ours)
		if status.Code(got) != row.code || rpctypes.ErrorDesc(got) != row.text {
			t.Errorf("%v left as %v %q, want %v %q", row.ours, status.Code(got), rpctypes.ErrorDesc(got), row.code, row.text)
		}
		if code := Code(row.ours); code != row.code {
			t.Errorf("%v has the code %v, want %v", row.ours, code, row.code)
		}
		if _, ours := row.ours.(interface{ GRPCStatus() *status.Status }); ours || row.code == codes.Unknown {
			continue
		}
		wrapped := wireError(fmt.Errorf("read range: %w", row.ours))
		if status.Code(wrapped) != row.code || rpctypes.ErrorDesc(wrapped) != row.text {
			t.Errorf("%v, wrapped, left as %v", row.ours, wrapped)
		}
	}
	if wireError(nil) != nil {
		t.Error("no error became one")
	}
}

// withoutClientError are the errors for which clientv3 has no error of its own.
var withoutClientError = map[error]bool{
	errApplyWait: true, token.ErrNoPassword: true, token.ErrVerifyOnly: true, state.ErrBadHash: true,
	auth.ErrPermissionNotGiven: true,
}

// TestEveryRowIsKnownToClients reads the table itself: what it promises must be what clientv3 turns back
// into one of its own errors.
func TestEveryRowIsKnownToClients(t *testing.T) {
	tested := map[error]bool{}
	for _, row := range wireRows {
		tested[row.ours] = true
	}
	for _, row := range translations() {
		if !tested[row.ours] {
			t.Errorf("%v is translated but stands in no row of the test", row.ours)
		}
		var known rpctypes.EtcdError
		if withoutClientError[row.ours] {
			continue
		}
		if !errors.As(rpctypes.Error(row.theirs), &known) {
			t.Errorf("%v becomes %v, which no client knows", row.ours, row.theirs)
		}
	}
}
