package rpc

import (
	"context"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// leaderlessTicks is how many election timeouts in a row a stream that asked for a leader goes on without
// one. Less would end streams on every ordinary election.
const leaderlessTicks = 3

// leaderStreams are the open streams whose clients asked for a leader.
type leaderStreams struct {
	leader func() uint64 // 0 when there is none
	every  time.Duration // the election timeout

	mu     sync.Mutex
	cancel map[*context.CancelCauseFunc]struct{}
}

func newLeaderStreams(leader func() uint64, every time.Duration) *leaderStreams {
	return &leaderStreams{leader: leader, every: every, cancel: map[*context.CancelCauseFunc]struct{}{}}
}

// enter adds a stream. Its context ends with ErrGRPCNoLeader as the cause when the leader is missed for
// too long; leave must be called when the stream ends.
func (l *leaderStreams) enter(parent context.Context) (ctx context.Context, leave func()) {
	ctx, cancel := context.WithCancelCause(parent)
	l.mu.Lock()
	l.cancel[&cancel] = struct{}{}
	l.mu.Unlock()
	return ctx, func() {
		l.mu.Lock()
		delete(l.cancel, &cancel)
		l.mu.Unlock()
		cancel(nil)
	}
}

// run looks for the leader once per election timeout until ctx ends.
func (l *leaderStreams) run(ctx context.Context) error {
	tick := time.NewTicker(l.every)
	defer tick.Stop()
	missed := 0
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if l.leader() != 0 {
			missed = 0
			continue
		}
		if missed++; missed >= leaderlessTicks {
			l.cancelAll()
		}
	}
}

func (l *leaderStreams) cancelAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for cancel := range l.cancel {
		(*cancel)(rpctypes.ErrGRPCNoLeader)
	}
	clear(l.cancel)
}
