package replica

import (
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Lane is one of the two ways to another member. They are apart so that what is small and urgent never waits
// behind what is large.
type Lane int

// The lanes.
const (
	// Urgent carries heartbeats, votes, questions of readers and every answer.
	Urgent Lane = iota
	// Bulk carries entries: appends and forwarded proposals. All appends take it, those without entries too,
	// because one that overtakes the entries before it would be refused.
	Bulk
	// Lanes is how many there are.
	Lanes
)

const (
	// MaxOutboxMessages bounds the messages that wait for one lane of one member, in messages. What is above
	// is dropped, which raft takes as loss on the way.
	MaxOutboxMessages = 4096
	// MaxOutboxBytes bounds the entries that wait for one lane of one member, in bytes.
	MaxOutboxBytes = 64 << 20
)

// laneOf returns the lane of a message.
func laneOf(m *raftpb.Message) Lane {
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgProp:
		return Bulk
	}
	return Urgent
}

// Outbox holds the messages for one lane of one member until whoever has the connection takes them. It is closed
// until somebody opens it: what is put into a closed one is lost, as on a cut wire.
type Outbox struct {
	ready chan struct{}      // holds a token while something may be inside
	full  prometheus.Counter // messages that there was no room for

	mu       sync.Mutex
	open     bool
	messages []*raftpb.Message
	bytes    int
}

func newOutbox(full prometheus.Counter) *Outbox {
	return &Outbox{ready: make(chan struct{}, 1), full: full}
}

// Open lets messages in from now on.
func (o *Outbox) Open() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = true
}

// Close drops what is inside and what will be put, until the next Open.
func (o *Outbox) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open, o.messages, o.bytes = false, nil, 0
}

// stands reports whether there is a way to the other member.
func (o *Outbox) stands() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.open
}

// Ready returns a channel that holds a token while something may be inside.
func (o *Outbox) Ready() <-chan struct{} { return o.ready }

// Take returns everything inside, in order.
func (o *Outbox) Take() []*raftpb.Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.messages
	o.messages, o.bytes = nil, 0
	return all
}

// put adds a message. It returns false when the message is lost.
func (o *Outbox) put(m *raftpb.Message) bool {
	size := entryBytes(m)
	o.mu.Lock()
	if !o.open {
		o.mu.Unlock()
		return false
	}
	if len(o.messages) >= MaxOutboxMessages || (o.bytes > 0 && o.bytes+size > MaxOutboxBytes) {
		o.mu.Unlock()
		o.full.Inc()
		return false
	}
	o.messages = append(o.messages, m)
	o.bytes += size
	o.mu.Unlock()
	select {
	case o.ready <- struct{}{}:
	default:
	}
	return true
}

// entryBytes is what a message weighs: the data of its entries.
func entryBytes(m *raftpb.Message) (n int) {
	for _, e := range m.GetEntries() {
		n += len(e.GetData())
	}
	return n
}

// outboxes are those of all other members. They live as long as the replica: a member that left costs nothing.
type outboxes struct {
	lost *prometheus.CounterVec // by the member's name

	mu    sync.RWMutex
	boxes map[uint64]*[Lanes]*Outbox
}

func newOutboxes(lost *prometheus.CounterVec) *outboxes {
	return &outboxes{lost: lost, boxes: make(map[uint64]*[Lanes]*Outbox)}
}

// to returns the outboxes for a member.
func (o *outboxes) to(id uint64) *[Lanes]*Outbox {
	o.mu.RLock()
	b := o.boxes[id]
	o.mu.RUnlock()
	if b != nil {
		return b
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if b = o.boxes[id]; b == nil {
		full := o.lost.WithLabelValues(fmt.Sprintf("%x", id))
		b = &[Lanes]*Outbox{newOutbox(full), newOutbox(full)}
		o.boxes[id] = b
	}
	return b
}

// Outbox returns the messages for one lane of another member. One goroutine takes from it.
func (r *Replica) Outbox(to uint64, lane Lane) *Outbox { return r.outboxes.to(to)[lane] }

// send hands a message to whoever has the connection. It reports whether the message is on its way.
func (r *Replica) send(m *raftpb.Message) bool {
	if m.GetType() == raftpb.MsgSnap {
		// The receiver fetches its copy by itself; it need not be told what stands in it.
		m = proto.CloneOf(m)
		m.Snapshot.Data = nil
	}
	return r.outboxes.to(m.GetTo())[laneOf(m)].put(m)
}
