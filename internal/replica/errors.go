package replica

import "errors"

// Errors of proposals and barriers. After those of Propose other than ErrTooManyRequests and ErrTooLarge
// the command may or may not take effect.
var (
	ErrTooManyRequests   = errors.New("too many requests are waiting")
	ErrTooLarge          = errors.New("request is too large")
	ErrTimeout           = errors.New("request timed out")
	ErrTimeoutLeaderFail = errors.New("request timed out, possibly due to previous leader failure")
	ErrStopped           = errors.New("server stopped")
	// ErrLevel refuses what some member's release does not know yet.
	ErrLevel = errors.New("not every member runs a release that knows this request yet: finish the upgrade of the cluster and try again")
	// ErrNotLeader refuses what only the leader can do.
	ErrNotLeader = errors.New("not leader")
	// ErrTransferee refuses to hand over to somebody who cannot lead.
	ErrTransferee = errors.New("bad leader transferee")
)
