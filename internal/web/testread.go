package web

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// readTimeout is how long the read behind a health check may take: as long as a client's request.
	readTimeout = 7 * time.Second

	// checkTimeout is how long a health check waits for that read. It is longer, so that a read that gives
	// up in time can say why.
	checkTimeout = readTimeout + time.Second
)

// errReadStuck is the answer when the read behind a check does not come back at all.
var errReadStuck = errors.New("the read has not come back in " + checkTimeout.String())

// testRead is one kind of read that health checks make. Whoever asks while one is under way waits for that
// one: a member whose disk hangs is probed again and again, and each probe would otherwise leave one more
// goroutine behind that hangs as well.
type testRead struct {
	read func(context.Context) error

	mu      sync.Mutex
	current *readAttempt // nil when no read is under way
}

type readAttempt struct {
	done chan struct{} // closed when err is set
	err  error
}

func newTestRead(read func(context.Context) error) *testRead { return &testRead{read: read} }

// run is the result of a read, or an error when none comes within checkTimeout.
func (t *testRead) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, errReadStuck)
	defer cancel()
	attempt := t.join()
	select {
	case <-attempt.done:
		return attempt.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// join is the read under way, or a new one. The read does not get the request's context, because others
// may wait for it after this client has left.
func (t *testRead) join() *readAttempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil {
		return t.current
	}
	attempt := &readAttempt{done: make(chan struct{})}
	t.current = attempt
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
		defer cancel()
		err := t.read(ctx)
		t.mu.Lock()
		t.current = nil
		t.mu.Unlock()
		attempt.err = err
		close(attempt.done)
	}()
	return attempt
}
