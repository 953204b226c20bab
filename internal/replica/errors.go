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
)
