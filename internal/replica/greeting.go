package replica

import (
	"errors"
	"fmt"
	"sync"

	"github.com/keelson-db/keelson/internal/member"
)

// Greeting is what a member says of itself at the start of every connection.
type Greeting struct {
	From        uint64
	Incarnation uint64 // names the member's data directory: the ID of its raft log
	Run         uint64 // names this start of the process
	Term        uint64 // that it has durably
	Last        uint64 // index of the last entry that it has durably
	Priority    int    // how much it is wanted as the leader: more is better
	LeaseReads  bool   // it keeps to the rules that reads by a leader's lease rest on
}

// Reasons not to listen to a member. Their texts are etcd's where etcd has one.
var (
	// ErrRemoved means that the member was removed from the cluster: it is to stop for good.
	ErrRemoved = errors.New("the member has been permanently removed from the cluster")
	// ErrStranger means that this member does not know the other one, perhaps not yet.
	ErrStranger = errors.New("error sender not found")
	// ErrForgotten means that a member has lost what it had told others it would keep: its data was wiped or is
	// an older copy. It must not take part under its name again.
	ErrForgotten = errors.New("the member's data is older than what it has told others: it was wiped or is an old copy")
)

// memory is what this member has heard from another one and may hold it to.
type memory struct {
	run         uint64
	incarnation uint64
	term        uint64 // the highest durable term that it spoke in
	kept        uint64 // it has told that it holds this entry durably, and the entry is committed
	priority    int
	leaseReads  bool
}

// memories are about all other members. They are for the life of the process; what must outlive it, the
// incarnation, is in the member table.
type memories struct {
	mu sync.Mutex
	of map[uint64]*memory
}

func newMemories() *memories { return &memories{of: make(map[uint64]*memory)} }

func (m *memories) get(id uint64) *memory {
	one := m.of[id]
	if one == nil {
		one = new(memory)
		m.of[id] = one
	}
	return one
}

// heard notes what a member's durable answers promise: that it is at a term and keeps entries up to an index
// that is committed.
func (m *memories) heard(id, term, kept uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one := m.get(id)
	one.term, one.kept = max(one.term, term), max(one.kept, kept)
}

// check holds the greeting of a process against what earlier processes of its member have told, and remembers it.
func (m *memories) check(g Greeting) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	one := m.get(g.From)
	if g.Run == one.run {
		return nil // what was heard from this process is as new as what it says, in whatever order both came
	}
	switch {
	case one.incarnation != 0 && g.Incarnation != one.incarnation:
		return fmt.Errorf("%w (its data directory is another one: %x, and was %x)", ErrForgotten, g.Incarnation, one.incarnation)
	case g.Term < one.term:
		return fmt.Errorf("%w (it is at term %d and has voted or answered in term %d)", ErrForgotten, g.Term, one.term)
	case g.Last < one.kept:
		return fmt.Errorf("%w (its log ends at entry %d and it had confirmed entry %d)", ErrForgotten, g.Last, one.kept)
	}
	one.incarnation, one.run = g.Incarnation, g.Run
	one.priority, one.leaseReads = g.Priority, g.LeaseReads
	return nil
}

// priority is how much a member is wanted as the leader, as far as it has said so.
func (m *memories) priority(id uint64) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.get(id).priority
}

// leaseReads reports whether a member has said that it keeps to the rules of lease reads.
func (m *memories) leaseReads(id uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.get(id).leaseReads
}

// Greeting is what this member says of itself.
func (r *Replica) Greeting() Greeting {
	g := Greeting{From: r.id, Incarnation: r.log.ID(), Run: r.opts.Seed, Priority: r.opts.Priority, LeaseReads: r.opts.LeaseReads}
	// Both come from memory and fail only on a log that failed, which ends the member.
	if hard, _, err := r.log.InitialState(); err == nil {
		g.Term = hard.GetTerm()
	}
	if last, err := r.log.LastIndex(); err == nil {
		g.Last = last
	}
	return g
}

// Admit judges another member's greeting. With an error nothing of what it sends may be handed in.
func (r *Replica) Admit(g Greeting) error {
	members := r.machine.Members()
	known, ok := members.Get(member.ID(g.From))
	switch {
	case members.Removed(member.ID(g.From)):
		return ErrRemoved
	case !ok:
		return ErrStranger
	case known.Incarnation != 0 && known.Incarnation != g.Incarnation:
		return fmt.Errorf("%w (its data directory is another one: %x, and the cluster knows %x)", ErrForgotten, g.Incarnation, known.Incarnation)
	}
	return r.memories.check(g)
}
