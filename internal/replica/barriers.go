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
	began   time.Time // when it was first sent
	asked   time.Time // when it was last sent
}

// barriers gather callers; rounds are owned by Run.
type barriers struct {
	ready chan struct{} // holds a token while somebody may be waiting

	mu      sync.Mutex
	waiting []*barrier
	closed  bool

	rounds map[uint64]*round
	nextID uint64 // begins at a random number, so that an answer to an earlier run is not taken for one
}

func newBarriers(seed uint64) *barriers {
	return &barriers{ready: make(chan struct{}, 1), rounds: make(map[uint64]*round), nextID: seed}
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
// The only member of a cluster needs nobody's word for it: what it acknowledged it has applied before, so
// once it leads and has applied an entry of its term there is nothing to wait for. Otherwise the question
// is put to the quorum, once for everybody who waits.
func (r *Replica) Barrier(ctx context.Context) error {
	if r.knowsAlone() || r.knowsByLease() {
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

// knowsAlone reports whether there is no other member and this one's state holds everything acknowledged. Entries
// that earlier terms acknowledged may not be applied before one of its own term is. A learner alone is enough to
// make it false: its clients hear of a write when it has applied it, perhaps before the leader has.
//
// Both the state and raft must know of nobody else: the state hears first of who comes, and raft last of who goes.
func (r *Replica) knowsAlone() bool {
	s := r.status.Load()
	if !s.Alone || s.Leader != s.ID || r.machine.Applied().Term != s.Term {
		return false
	}
	conf := r.machine.ConfState()
	return len(conf.GetVoters()) == 1 && conf.GetVoters()[0] == r.id && len(conf.GetLearners()) == 0
}

// askQuorum starts a round for those who wait.
func (r *Replica) askQuorum() {
	if all := r.barriers.take(); len(all) > 0 {
		r.startRound(all)
	}
}

func (r *Replica) startRound(waiting []*barrier) {
	r.barriers.nextID++
	rd := &round{waiting: waiting, began: time.Now()}
	r.barriers.rounds[r.barriers.nextID] = rd
	r.ask(r.barriers.nextID, rd)
}

// renewLease asks the quorum in nobody's name, where a lease rests on its answers.
func (r *Replica) renewLease() {
	if s := r.status.Load(); r.opts.LeaseReads && s.Leader == s.ID && r.inCharge && !r.onlyVoter() {
		r.startRound(nil)
	}
}

// ask sends a round's question, named by this member and a number of its own. Raft drops it while no leader is
// known; it is then sent again by retryRounds.
//
// An only voter is not asked before it is in charge: raft would answer at once with the commit index it knows,
// which after a restart is older than what was acknowledged.
func (r *Replica) ask(id uint64, rd *round) {
	rd.asked = time.Now()
	if r.onlyVoter() && !r.inCharge {
		return
	}
	name := binary.BigEndian.AppendUint64(make([]byte, 0, roundName), r.id)
	r.node.ReadIndex(binary.BigEndian.AppendUint64(name, id))
}

// roundName is the length of a round's name.
const roundName = 16

// confirmed notes the quorum's answer to a round.
func (r *Replica) confirmed(name []byte, index uint64) {
	if len(name) != roundName || binary.BigEndian.Uint64(name) != r.id {
		return
	}
	if rd, ok := r.barriers.rounds[binary.BigEndian.Uint64(name[8:])]; ok {
		rd.index = index
		if s := r.status.Load(); s.Leader == s.ID {
			r.lease.extend(r, rd.began)
		}
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
