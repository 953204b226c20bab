package replica

import (
	"context"
	"encoding/binary"
	"sync"
	"time"
)

// barrier is one caller that waits until the state holds everything acknowledged before its call.
type barrier struct {
	since time.Time
	done  chan error // holds one
}

// round is one question to the quorum, on behalf of everybody who waited when it was asked.
type round struct {
	waiting []*barrier
	index   uint64    // the commit index that the quorum confirmed; 0 until then
	asked   time.Time // when it was last sent
}

// barriers gather callers; rounds are owned by Run.
type barriers struct {
	ready chan struct{} // holds a token while somebody may be waiting

	mu      sync.Mutex
	waiting []*barrier
	closed  bool

	rounds map[uint64]*round
	nextID uint64
}

func newBarriers() *barriers {
	return &barriers{ready: make(chan struct{}, 1), rounds: make(map[uint64]*round)}
}

// readRetry is when a question to the quorum that got no answer is sent again.
const readRetry = 500 * time.Millisecond

func (b *barriers) add(one *barrier) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return ErrStopped
	}
	b.waiting = append(b.waiting, one)
	b.mu.Unlock()
	select {
	case b.ready <- struct{}{}:
	default:
	}
	return nil
}

func (b *barriers) take() []*barrier {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.waiting
	b.waiting = nil
	return all
}

func (b *barriers) close() []*barrier {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	return b.take()
}

// Barrier returns when this member's state holds everything that was acknowledged before the call.
//
// The only voter of a cluster needs nobody's word for it: what it acknowledged it has applied before, so
// once it leads and has applied an entry of its term there is nothing to wait for. Otherwise the question
// is put to the quorum, once for everybody who waits.
func (r *Replica) Barrier(ctx context.Context) error {
	if r.knowsAlone() {
		return nil
	}
	one := &barrier{since: time.Now(), done: make(chan error, 1)}
	if err := r.barriers.add(one); err != nil {
		return err
	}
	select {
	case err := <-one.done:
		return err
	case <-ctx.Done():
		r.opts.Metrics.Server.ReadIndexFailed.Inc()
		return ctx.Err()
	}
}

// knowsAlone reports whether this member is the only voter and its state holds everything acknowledged.
// Entries that earlier terms acknowledged may not be applied before one of its own term is.
func (r *Replica) knowsAlone() bool {
	s := r.status.Load()
	return s.Voters == 1 && s.Leader == s.ID && r.machine.Applied().Term == s.Term
}

// askQuorum starts a round for those who wait.
func (r *Replica) askQuorum() {
	if all := r.barriers.take(); len(all) > 0 {
		r.barriers.nextID++
		rd := &round{waiting: all}
		r.barriers.rounds[r.barriers.nextID] = rd
		r.ask(r.barriers.nextID, rd)
	}
}

// ask sends a round's question. Raft drops it while no leader is known; it is then sent again by retryRounds.
//
// An only voter is not asked: raft would answer at once with the commit index it knows, which after a
// restart is older than what was acknowledged. Its rounds end when it knows by itself.
func (r *Replica) ask(id uint64, rd *round) {
	rd.asked = time.Now()
	if r.onlyVoter() {
		return
	}
	r.node.ReadIndex(binary.BigEndian.AppendUint64(nil, id))
}

// confirmed notes the quorum's answer to a round.
func (r *Replica) confirmed(context []byte, index uint64) {
	if len(context) != 8 {
		return
	}
	if rd, ok := r.barriers.rounds[binary.BigEndian.Uint64(context)]; ok {
		rd.index = index
	}
}

// releaseRounds lets those go whose round is confirmed and applied.
func (r *Replica) releaseRounds() {
	alone, applied := r.knowsAlone(), r.machine.Applied().Index
	for id, rd := range r.barriers.rounds {
		if !alone && (rd.index == 0 || applied < rd.index) {
			continue
		}
		for _, one := range rd.waiting {
			one.done <- nil
		}
		delete(r.barriers.rounds, id)
	}
}

// retryRounds asks again where no answer came, at once when the leader has changed, and ends waits that
// took too long.
func (r *Replica) retryRounds(now time.Time, leaderChanged bool) {
	tooOld := now.Add(-r.timeout())
	for id, rd := range r.barriers.rounds {
		rest := rd.waiting[:0]
		for _, one := range rd.waiting {
			if one.since.Before(tooOld) {
				r.opts.Metrics.Server.ReadIndexFailed.Inc()
				one.done <- ErrTimeout
				continue
			}
			rest = append(rest, one)
		}
		rd.waiting = rest
		switch {
		case len(rest) == 0:
			delete(r.barriers.rounds, id)
		case rd.index == 0 && (leaderChanged || now.Sub(rd.asked) >= readRetry):
			r.opts.Metrics.Server.SlowReadIndex.Inc()
			r.ask(id, rd)
		}
	}
}

// stopBarriers ends every wait.
func (r *Replica) stopBarriers() {
	for _, one := range r.barriers.close() {
		one.done <- ErrStopped
	}
	for id, rd := range r.barriers.rounds {
		for _, one := range rd.waiting {
			one.done <- ErrStopped
		}
		delete(r.barriers.rounds, id)
	}
}
