package rpc

import (
	"context"
	"errors"

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

// translation is one row of the table: what the house says, and what a client must hear.
type translation struct{ ours, theirs error }

// translations is the one place where our errors become etcd's. Clients compare code and text, so both
// are exact. Errors that are about the shape of a request are etcd's from the start and not listed.
func translations() [42]translation {
	return [...]translation{
		{mvcc.ErrCompacted, rpctypes.ErrGRPCCompacted},
		{mvcc.ErrFutureRev, rpctypes.ErrGRPCFutureRev},
		{state.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
		{lease.ErrNotFound, rpctypes.ErrGRPCLeaseNotFound},
		{lease.ErrExists, rpctypes.ErrGRPCLeaseExist},
		{replica.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
		// etcd's own translation of this one loses its code on the way; alerts have learnt to expect that.
		{replica.ErrTooManyRequests, withCode(codes.Unknown, rpctypes.ErrGRPCRequestTooManyRequests)},
		{replica.ErrStopped, rpctypes.ErrGRPCStopped},
		{replica.ErrTimeoutLeaderFail, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
		{replica.ErrTimeout, rpctypes.ErrGRPCTimeout},
		{errApplyWait, rpctypes.ErrGRPCTimeoutWaitAppliedIndex},
		{errConnectionLost, rpctypes.ErrGRPCTimeoutDueToConnectionLost},
		{replica.ErrNotLeader, rpctypes.ErrGRPCNotLeader},
		{replica.ErrTransferee, rpctypes.ErrGRPCBadLeaderTransferee},
		// etcd says this while it does not know yet what all members can do.
		{replica.ErrLevel, rpctypes.ErrGRPCNotCapable},
		{state.ErrNoSpace, rpctypes.ErrGRPCNoSpace},
		{state.ErrCorrupt, rpctypes.ErrGRPCCorrupt},

		{member.ErrRemoved, rpctypes.ErrGRPCMemberNotFound},
		{member.ErrNotFound, rpctypes.ErrGRPCMemberNotFound},
		{member.ErrExists, rpctypes.ErrGRPCMemberExist},
		{member.ErrPeerURLExists, rpctypes.ErrGRPCPeerURLExist},
		{member.ErrNotLearner, rpctypes.ErrGRPCMemberNotLearner},

		{auth.ErrRootUserNotExist, rpctypes.ErrGRPCRootUserNotExist},
		{auth.ErrRootRoleNotExist, rpctypes.ErrGRPCRootRoleNotExist},
		{auth.ErrUserExists, rpctypes.ErrGRPCUserAlreadyExist},
		{auth.ErrUserEmpty, rpctypes.ErrGRPCUserEmpty},
		{auth.ErrUserNotFound, rpctypes.ErrGRPCUserNotFound},
		{auth.ErrRoleExists, rpctypes.ErrGRPCRoleAlreadyExist},
		{auth.ErrRoleNotFound, rpctypes.ErrGRPCRoleNotFound},
		{auth.ErrRoleEmpty, rpctypes.ErrGRPCRoleEmpty},
		{auth.ErrPermissionDenied, rpctypes.ErrGRPCPermissionDenied},
		{auth.ErrRoleNotGranted, rpctypes.ErrGRPCRoleNotGranted},
		{auth.ErrPermissionNotGiven, rpctypes.ErrGRPCPermissionNotGiven},
		{auth.ErrPermissionNotGranted, rpctypes.ErrGRPCPermissionNotGranted},
		{auth.ErrInvalidManagement, rpctypes.ErrGRPCInvalidAuthMgmt},
		{auth.ErrOldRevision, rpctypes.ErrGRPCAuthOldRevision},
		{token.ErrInvalid, rpctypes.ErrGRPCInvalidAuthToken},
		{token.ErrFailed, rpctypes.ErrGRPCAuthFailed},
		{token.ErrBusy, withCode(codes.Unknown, rpctypes.ErrGRPCRequestTooManyRequests)},
		// These have no code in etcd, and a hash that cannot be read has the text of another error.
		{token.ErrNoPassword, status.Error(codes.Unknown, token.ErrNoPassword.Error())},
		{token.ErrVerifyOnly, status.Error(codes.Unknown, token.ErrVerifyOnly.Error())},
		{state.ErrBadHash, status.Error(codes.Unknown, token.ErrNoPassword.Error())},
	}
}

func withCode(code codes.Code, err error) error { return status.Error(code, rpctypes.ErrorDesc(err)) }

// Code is what a client is told of an error, without the text.
func Code(err error) codes.Code { return status.Code(wireError(err)) }

// wireError is what the client is told. What is in no row passes as it is, with the code Unknown.
func wireError(err error) error {
	if err == nil {
		return nil
	}
	var has interface{ GRPCStatus() *status.Status }
	if errors.As(err, &has) {
		return err
	}
	for _, t := range translations() {
		if errors.Is(err, t.ours) {
			return t.theirs
		}
	}
	switch {
	case errors.Is(err, context.Canceled):
		return status.FromContextError(context.Canceled).Err()
	case errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(context.DeadlineExceeded).Err()
	}
	return status.Error(codes.Unknown, err.Error())
}
