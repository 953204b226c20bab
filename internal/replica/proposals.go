package replica

import (
	"bytes"
	"cmp"
	"slices"
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
	// MaxForwardedBytes bounds the commands of other members that wait to become entries, in bytes.
	MaxForwardedBytes = 128 << 20
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
	encoded []byte     // size in front, as the entry holds it
	since   time.Time
	taken   time.Time    // when it became part of an entry
	term    uint64       // in which it was given to the leader; 0 while it is queued
	reign   uint64       // the only term in which it may become an entry, by this member; 0 for any, by anybody
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

	mu             sync.Mutex
	queue          []*proposal
	forwarded      []forwarded
	forwardedBytes int
	forwardedTerm  uint64 // whose leader they are for
	waiting        map[uint64]*proposal
	bytes          int64
	nextID         uint64
	closed         bool
	wanted         bool // Run is to be woken by the next command

	count atomic.Int64 // of waiting, for those who only want to know
}

// forwarded are commands that another member has passed on at one time, as an entry holds them.
type forwarded struct {
	entry    []byte
	commands int
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
	p.wakeAndUnlock()
	return nil
}

// wakeAndUnlock wakes Run if it can do something with what was queued. While a batch is under way it cannot, and looks by
// itself when that ends: to be woken by every command would be most of what a busy leader's Run does.
func (p *proposals) wakeAndUnlock() {
	wanted := p.wanted
	p.wanted = false
	p.mu.Unlock()
	if wanted {
		p.wake()
	}
}

func (p *proposals) wake() {
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

// forward queues the commands of another member for the leader of a term. It returns false when there is no room.
func (p *proposals) forward(passed forwarded, term uint64) bool {
	p.mu.Lock()
	if p.forwardedTerm != term {
		p.forwarded, p.forwardedBytes, p.forwardedTerm = nil, 0, term
	}
	if p.closed || (len(p.forwarded) > 0 && p.forwardedBytes+len(passed.entry) > MaxForwardedBytes) {
		p.mu.Unlock()
		return false
	}
	p.forwarded = append(p.forwarded, passed)
	p.forwardedBytes += len(passed.entry)
	p.wakeAndUnlock()
	return true
}

// batch is what becomes one entry.
type batch struct {
	entry     []byte // nil when nothing is queued
	own       []*proposal
	forwarded int // bytes of the entry, in front, that came from other members
	commands  int // in the entry
}

// any reports whether something is queued. If not, Run is woken when something is.
func (p *proposals) any() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = len(p.queue) == 0 && len(p.forwarded) == 0
	return !p.wanted
}

// next takes what is queued, as much as fits one entry, for the leader of a term, which this member may be. Commands
// whose callers have gone are left out, and so is what others forwarded to an earlier leader: they will see to it. When
// nothing is queued Run is woken when something is.
func (p *proposals) next(term uint64, leads bool) (b batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !leads || p.forwardedTerm != term {
		p.forwarded, p.forwardedBytes = nil, 0
	}
	size, passed, own := p.fit()
	if passed+own == 0 {
		p.wanted = true
		return b
	}
	p.openEntry(&b, size, passed)
	now := time.Now()
	for _, one := range p.queue[:own] {
		if one.reign != 0 && (!leads || one.reign != term) {
			p.refuse(one)
		}
		if _, ok := p.waiting[one.id]; ok {
			b.entry = append(b.entry, one.encoded...)
			one.taken, one.term = now, term
			b.own = append(b.own, one)
			b.commands++
		}
	}
	// What has left is forgotten at once: requests are large and a burst's array lives long.
	left := copy(p.queue, p.queue[own:])
	clear(p.queue[left:])
	p.queue = p.queue[:left]
	return b
}

// fit says how much of what is queued goes into one entry, one thing at least, and how large the entry is then. The caller
// holds the mutex.
func (p *proposals) fit() (size, passed, own int) {
	size = 1
	for ; passed < len(p.forwarded); passed++ {
		more := len(p.forwarded[passed].entry) - 1
		if size > 1 && size+more > command.MaxEntryBytes {
			return size, passed, 0
		}
		size += more
	}
	for ; own < len(p.queue); own++ {
		more := len(p.queue[own].encoded)
		if size > 1 && size+more > command.MaxEntryBytes {
			break
		}
		size += more
	}
	return size, passed, own
}

// openEntry begins a batch's entry, which will have so many bytes, with what other members have passed on. What came alone
// is the entry. The caller holds the mutex.
func (p *proposals) openEntry(b *batch, size, passed int) {
	if passed == 1 && size == len(p.forwarded[0].entry) {
		b.entry = slices.Clip(p.forwarded[0].entry)
	} else {
		b.entry = append(make([]byte, 0, size), command.FormatV1)
		for _, one := range p.forwarded[:passed] {
			b.entry = append(b.entry, one.entry[1:]...)
		}
	}
	for _, one := range p.forwarded[:passed] {
		p.forwardedBytes -= len(one.entry)
		b.commands += one.commands
		b.forwarded = len(b.entry)
	}
	left := copy(p.forwarded, p.forwarded[passed:])
	clear(p.forwarded[left:])
	p.forwarded = p.forwarded[:left]
}

// putBack queues again, in front, what raft would not take.
func (p *proposals) putBack(b batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requeue(b.own)
	if b.forwarded > 0 {
		passed := forwarded{b.entry[:b.forwarded], b.commands - len(b.own)}
		p.forwarded = append([]forwarded{passed}, p.forwarded...)
		p.forwardedBytes += b.forwarded
	}
}

// requeue puts proposals in front of the queue. The caller holds the mutex.
func (p *proposals) requeue(list []*proposal) {
	for _, one := range list {
		one.term = 0
	}
	p.queue = append(append(make([]*proposal, 0, len(list)+len(p.queue)), list...), p.queue...)
}

// revive queues again what was given to leaders of earlier terms and was not applied when an entry of a later term was.
// It never will be: only the leader of its term could have put it into the log, and there before that entry. So it
// takes effect once, although its leader fell. It returns how many there were. What only the leader of its term may
// decide is refused.
func (p *proposals) revive(term uint64) int {
	p.mu.Lock()
	var lost []*proposal
	for _, one := range p.waiting {
		switch {
		case one.term == 0 || one.term >= term:
		case one.reign != 0:
			p.refuse(one)
		default:
			lost = append(lost, one)
		}
	}
	slices.SortFunc(lost, func(a, b *proposal) int { return cmp.Compare(a.id, b.id) })
	p.requeue(lost)
	p.mu.Unlock()
	if len(lost) > 0 {
		p.wake()
	}
	return len(lost)
}

// refuse ends the wait for a proposal whose term is over. The caller holds the mutex.
func (p *proposals) refuse(one *proposal) {
	if p.drop(one.id) != nil {
		one.done <- outcome{err: ErrNotLeader}
	}
}

// settle ends the wait for the proposal that an entry's command came from and returns it, nil when nobody here
// waits for it. That a name is taken twice, by two members or two runs of one, is next to impossible; that it then
// is the same command is made sure of, because what is applied must be what the log holds.
func (p *proposals) settle(word command.Encoded) *proposal {
	p.mu.Lock()
	defer p.mu.Unlock()
	one, ok := p.waiting[word.ID]
	if !ok || !bytes.Equal(one.encoded, word.Whole) {
		return nil
	}
	return p.drop(word.ID)
}

// forget ends the wait for a proposal whose caller has gone.
func (p *proposals) forget(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(id)
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
	p.queue, p.forwarded = nil, nil
	for id := range p.waiting {
		rest = append(rest, p.drop(id))
	}
	return rest
}

func (p *proposals) pending() int { return int(p.count.Load()) }
