package server

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/keelson-db/keelson/internal/bootstrap"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/replica"
)

// TestWhoMayJoinLaterIsToldSo has the errors that a change of the membership ends with. A final one ends the asker's process.
func TestWhoMayJoinLaterIsToldSo(t *testing.T) {
	for err, later := range map[error]bool{
		replica.ErrTimeout:                              true,
		replica.ErrTimeoutLeaderFail:                    true,
		rpctypes.ErrGRPCTimeoutDueToConnectionLost:      true,
		replica.ErrTooManyRequests:                      true,
		replica.ErrStopped:                              true,
		rpctypes.ErrGRPCUnhealthy:                       true,
		rpctypes.ErrGRPCNoLeader:                        true,
		rpctypes.ErrGRPCTooManyLearners:                 true,
		fmt.Errorf("ask: %w", context.DeadlineExceeded): true,
		fmt.Errorf("ask: %w", replica.ErrTimeout):       true,
		member.ErrPeerURLExists:                         false,
		member.ErrExists:                                false,
		rpctypes.ErrGRPCMemberNotEnoughStarted:          false,
		errors.New("the addresses are somebody else's"): false,
	} {
		if got := joinError(err); errors.Is(got, bootstrap.ErrJoinLater) != later || !errors.Is(got, err) {
			t.Errorf("%v: %v", err, got)
		}
	}
}
