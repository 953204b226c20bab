package replica

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/state"
)

const (
	// MaxPendingProposals bounds the proposals that wait for their result, in proposals.
	MaxPendingProposals = 50_000
	// MaxPendingBytes bounds the encoded proposals that wait for their result, in bytes.
	MaxPendingBytes = 128 << 20
	// RequestTimeout is how long a request waits, with two election timeouts added.
	RequestTimeout = 5 * time.Second
)

type outcome struct {
	result state.Result
	err    error
}

// proposal is one command on its way, from Propose to its result.
type proposal struct {
	id      uint64
	op      command.Op // as the caller gave it: applying need not decode it again
	encoded []byte
	since   time.Time
	taken   time.Time    // when it became part of an entry
	done    chan outcome // holds one, so that whoever answers never waits
}

// took tells where the time of a proposal went whose group was applied from begun to ended.
func (p *proposal) took(begun, ended time.Time) state.Took {
	return state.Took{Queue: int64(p.taken.Sub(p.since)), Sync: int64(begun.Sub(p.taken)), Apply: int64(ended.Sub(begun))}
}

// proposals are all commands of this member that wait for their result, and the queue of those that are not
// yet in the log.
type proposals struct {
	ready chan struct{} // holds a token while the queue may hold something

	mu      sync.Mutex
	queue   []*proposal
	waiting map[uint64]*proposal
	bytes   int64
	nextID  uint64
	closed  bool

	count atomic.Int64 // of waiting, for those who only want to know
}

func newProposals(seed uint64) *proposals {
	return &proposals{
		ready:   make(chan struct{}, 1),
		waiting: make(map[uint64]*proposal),
		nextID:  seed,
	}
}

// newID names a proposal. IDs begin at a random number, so that an entry left by an earlier run of this
// member, applied now, is not taken for one that waits.
func (p *proposals) newID() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nextID++
	return p.nextID
}

func (p *proposals) add(one *proposal) error {
	p.mu.Lock()
	switch {
	case p.closed:
		p.mu.Unlock()
		return ErrStopped
	case len(p.waiting) >= MaxPendingProposals || len(p.queue) >= 2*MaxPendingProposals || p.bytes+int64(len(one.encoded)) > MaxPendingBytes:
		p.mu.Unlock()
		return ErrTooManyRequests
	}
	p.waiting[one.id] = one
	p.count.Add(1)
	p.bytes += int64(len(one.encoded))
	p.queue = append(p.queue, one)
	p.mu.Unlock()
	p.wake()
	return nil
}

func (p *proposals) wake() {
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

// nextEntry takes what is queued, as much as fits one entry, and returns the entry's bytes; nil when
// nothing is queued. Commands whose callers have gone are left out.
func (p *proposals) nextEntry() (entry []byte, taken []*proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	size, n := 1, 0
	for n < len(p.queue) && (size == 1 || size+len(p.queue[n].encoded) <= command.MaxEntryBytes) {
		size += len(p.queue[n].encoded)
		n++
	}
	if n == 0 {
		return nil, nil
	}
	entry = append(make([]byte, 0, size), command.FormatV1)
	now := time.Now()
	for _, one := range p.queue[:n] {
		if _, ok := p.waiting[one.id]; ok {
			entry = append(entry, one.encoded...)
			one.taken = now
			taken = append(taken, one)
		}
	}
	// What has left is forgotten at once: requests are large and a burst's array lives long.
	left := copy(p.queue, p.queue[n:])
	clear(p.queue[left:])
	p.queue = p.queue[:left]
	return entry, taken
}

// putBack queues again, in front, what raft would not take.
func (p *proposals) putBack(taken []*proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(append(make([]*proposal, 0, len(taken)+len(p.queue)), taken...), p.queue...)
}

// take ends the wait for a proposal and returns it, nil when nobody here waits for it.
func (p *proposals) take(id uint64) *proposal {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.drop(id)
}

func (p *proposals) drop(id uint64) *proposal {
	one, ok := p.waiting[id]
	if !ok {
		return nil
	}
	delete(p.waiting, id)
	p.count.Add(-1)
	p.bytes -= int64(len(one.encoded))
	one.encoded = nil // it may stay in the queue for a while, as a name only
	return one
}

// expire returns the proposals made before a time, which no longer wait.
func (p *proposals) expire(before time.Time) (old []*proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, one := range p.waiting {
		if one.since.Before(before) {
			old = append(old, p.drop(id))
		}
	}
	return old
}

// close refuses new proposals and returns those that wait.
func (p *proposals) close() (rest []*proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.queue = nil
	for id := range p.waiting {
		rest = append(rest, p.drop(id))
	}
	return rest
}

func (p *proposals) pending() int { return int(p.count.Load()) }
