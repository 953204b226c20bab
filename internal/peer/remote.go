package peer

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keelson-db/keelson/internal/replica"
)

// remote is another member as this one sees it: the two lanes to it and the two from it.
type remote struct {
	mesh    *Mesh
	id      uint64
	name    string // the ID as metrics and logs show it
	senders [replica.Lanes]*sender
	running sync.WaitGroup
	ctx     context.Context // ends with the membership, and with it what is done for the member
	halt    context.CancelFunc
	// answering holds a token for each of the member's questions that is being answered.
	answering chan struct{}

	active    prometheus.Gauge
	received  prometheus.Counter
	roundTrip prometheus.Observer
	clock     complaint // about the member's clock
	trouble   complaint // about its connections

	mu    sync.Mutex
	urls  []string
	out   [replica.Lanes]bool     // lanes to it that stand
	in    [replica.Lanes]net.Conn // lanes from it that stand
	since time.Time               // when the last of the four came to stand; zero while one is missing
	met   bool                    // some lane stood since it was last taken for dead
	// refused says that nobody listens at its address.
	refused bool
	gone    bool // it is no member any more, or Run ends
	// asked are the questions to it that wait for an answer, by the number that the last one counted up.
	asked    map[uint64]chan reply
	question uint64
}

func newRemote(ctx context.Context, m *Mesh, id uint64, urls []string) *remote {
	network, name, local := m.o.Metrics, hex(id), hex(m.local)
	r := &remote{
		mesh: m, id: id, name: name, urls: urls, answering: make(chan struct{}, maxQuestions), asked: make(map[uint64]chan reply),
		active: network.ActivePeers.WithLabelValues(local, name), received: network.PeerReceivedBytes.WithLabelValues(name),
		roundTrip: network.PeerRoundTrip.WithLabelValues(name),
	}
	r.ctx, r.halt = context.WithCancel(ctx)
	network.KnownPeers.WithLabelValues(local, name).Set(1)
	network.DisconnectedPeers.WithLabelValues(local, name).Add(0)
	for lane := range r.senders {
		r.senders[lane] = newSender(r, replica.Lane(lane))
	}
	return r
}

// run starts the senders.
func (r *remote) run() {
	for _, s := range r.senders {
		r.running.Go(func() { s.run(r.ctx) })
	}
}

// stop ends all lanes and waits for the senders.
func (r *remote) stop() {
	r.mu.Lock()
	r.gone = true
	in := r.in
	r.mu.Unlock()
	for _, conn := range in {
		if conn != nil {
			_ = conn.Close() // its reader says what there is to say
		}
	}
	r.halt()
	r.running.Wait()
	network, local := r.mesh.o.Metrics, hex(r.mesh.local)
	r.active.Set(0)
	network.KnownPeers.DeleteLabelValues(local, r.name)
	network.ActivePeers.DeleteLabelValues(local, r.name)
}

// move takes up the member's URLs. Senders that are connected to one that is left out begin again.
func (r *remote) move(urls []string) {
	r.mu.Lock()
	same := slices.Equal(r.urls, urls)
	r.urls = urls
	r.mu.Unlock()
	if !same {
		r.poke()
	}
}

func (r *remote) addresses() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.urls
}

// poke has senders look again at once that are waiting.
func (r *remote) poke() {
	for _, s := range r.senders {
		select {
		case s.poke <- struct{}{}:
		default:
		}
	}
}

// arrived notes a new connection from the member, which takes the place of an older one: that may be half of one
// whose other end is long gone. It returns false when nothing is wanted from the member any more.
func (r *remote) arrived(lane replica.Lane, conn net.Conn) bool {
	r.mu.Lock()
	if r.gone {
		r.mu.Unlock()
		return false
	}
	old := r.in[lane]
	if old != nil && lane == replica.Urgent {
		r.giveUp() // answers may have been lost with the old one
	}
	r.in[lane], r.met, r.refused = conn, true, false
	r.note()
	r.mu.Unlock()
	if old != nil {
		_ = old.Close() // nobody reads what it would say
	}
	r.poke() // whoever can dial is there to be dialled
	return true
}

// left notes the end of a connection from the member.
func (r *remote) left(lane replica.Lane, conn net.Conn) {
	r.mu.Lock()
	last := r.in[lane] == conn
	if last {
		r.in[lane] = nil
		if lane == replica.Urgent {
			r.giveUp()
		}
	}
	r.note()
	dead, gone := r.dead(), r.gone
	r.mu.Unlock()
	if last && !gone {
		r.mesh.order.Lost(r.id, false)
		r.tellDead(dead)
	}
}

// up and down note that a lane to the member stands, or does not.
func (r *remote) up(lane replica.Lane) {
	r.mu.Lock()
	r.out[lane], r.met, r.refused = true, true, false
	r.note()
	both := !slices.Contains(r.out[:], false)
	r.mu.Unlock()
	if both {
		r.mesh.o.Log.Info("connected to a member", "member", r.name)
		r.mesh.order.Connected(r.id)
	}
}

func (r *remote) down(lane replica.Lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out[lane] = false
	if lane == replica.Urgent {
		r.giveUp()
	}
	r.note()
}

// nobody notes that nobody listens at the member's addresses.
func (r *remote) nobody() {
	r.mu.Lock()
	r.refused = true
	dead := r.dead()
	r.mu.Unlock()
	r.tellDead(dead)
}

// dead reports, once, that the member's process is gone: what it had open is closed and nobody listens. The caller
// holds the mutex.
func (r *remote) dead() bool {
	if !r.refused || !r.met || r.gone || r.in != [replica.Lanes]net.Conn{} || r.out != [replica.Lanes]bool{} {
		return false
	}
	r.met = false
	return true
}

func (r *remote) tellDead(dead bool) {
	if dead {
		r.mesh.o.Log.Warn("a member's process is gone: its connections are closed and nobody listens at its address", "member", r.name)
		r.mesh.order.Lost(r.id, true)
	}
}

// note finds out whether the member is connected in both directions. The caller holds the mutex.
func (r *remote) note() {
	all := !slices.Contains(r.out[:], false) && !slices.Contains(r.in[:], nil)
	switch {
	case all && r.since.IsZero():
		r.since = time.Now()
		r.active.Set(1)
	case !all && !r.since.IsZero():
		r.since = time.Time{}
		r.active.Set(0)
		r.mesh.o.Metrics.DisconnectedPeers.WithLabelValues(hex(r.mesh.local), r.name).Inc()
	}
}

func (r *remote) activeSince() (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.since, !r.since.IsZero()
}

// jitter spreads pauses, so that members which have lost each other do not dial in step.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
