package rpc

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/state"
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
	{errLeaseWait, codes.Unavailable, "etcdserver: request timed out, waiting for the applied index took too long"},
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
		if row.theirs != rpctypes.ErrGRPCTimeoutWaitAppliedIndex && !errors.As(rpctypes.Error(row.theirs), &known) {
			t.Errorf("%v becomes %v, which no client knows", row.ours, row.theirs)
		}
	}
}
