package harness

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"
)

// Fault is what can be wrong with one direction between two members. The zero value is a sound direction.
type Fault struct {
	// Cut resets what is connected and every new attempt, as a firewall that rejects does.
	Cut bool
	// Blackhole lets nothing through and says nothing, as a cable that was pulled does: connections stay half open.
	// What was sent meanwhile arrives when the fault is healed, as TCP would send it again.
	Blackhole bool
	// Delay is added to each byte's way, and Jitter at most on top, at random.
	Delay, Jitter time.Duration
	// Rate is the most that passes, in bytes per second; 0 means all of it.
	Rate int
	// Loss is the part of the pieces that are lost and arrive a retransmission later, with everything behind them.
	Loss float64
}

// retransmission is how long TCP waits at least, in the Linux kernel, before it sends a lost piece again.
const retransmission = 200 * time.Millisecond

// Outside is the place of everything that is not a member, such as a tool.
const Outside = -1

// direction is from one member to another, by their places in the cluster.
type direction struct{ from, to int }

// Proxy stands before the peer ports of all members. Members advertise its addresses, so what they tell each other
// passes through it. It knows which member opened a connection, because it asks the kernel whose the socket is;
// so each direction between two members can have a fault of its own, without one word of the protocol being known.
type Proxy struct {
	owner func(client, server net.Addr) int

	mu      sync.Mutex
	faults  map[direction]Fault
	changed chan struct{} // closed and replaced with every change of a fault
	links   map[*link]bool
	closed  bool
	group   sync.WaitGroup
}

// NewProxy makes a proxy; owner names the member that opened the connection between two addresses, or Outside.
func NewProxy(t testing.TB, owner func(client, server net.Addr) int) *Proxy {
	t.Helper()
	p := &Proxy{owner: owner, faults: map[direction]Fault{}, changed: make(chan struct{}), links: map[*link]bool{}}
	t.Cleanup(p.close)
	return p
}

// Front opens a port before the peer port of one member and returns its address.
func (p *Proxy) Front(t testing.TB, member int, behind string) string {
	t.Helper()
	addr := FreeAddr(t)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatalf("open the proxy's port: %v", err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p.group.Go(func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				p.group.Go(func() { p.serve(conn, member, behind) })
			}
		}
	})
	return addr
}

// Break gives one direction a fault; the zero Fault heals it.
func (p *Proxy) Break(from, to int, f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults[direction{from, to}] = f
	p.announce()
	if f.Cut {
		for l := range p.links {
			if l.between(from, to) {
				l.reset()
			}
		}
	}
}

// BreakBoth gives both directions between two members a fault.
func (p *Proxy) BreakBoth(a, b int, f Fault) {
	p.Break(a, b, f)
	p.Break(b, a, f)
}

// Heal ends all faults.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = map[direction]Fault{}
	p.announce()
}

// announce wakes everything that waits for another fault. The caller holds the mutex.
func (p *Proxy) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// fault is the present fault of a direction and what is closed when it may be another.
func (p *Proxy) fault(d direction) (Fault, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults[d], p.changed
}

// serve carries one connection until either side ends it.
func (p *Proxy) serve(client net.Conn, member int, behind string) {
	from := p.owner(client.RemoteAddr(), client.LocalAddr())
	l := &link{proxy: p, dialer: from, acceptor: member, client: client, done: make(chan struct{})}
	if !p.enter(l) {
		l.reset()
		return
	}
	defer p.leave(l)
	defer l.reset()
	dial, cancel := context.WithTimeout(context.Background(), CallLimit)
	defer cancel()
	server, err := new(net.Dialer).DialContext(dial, "tcp", behind)
	if err != nil || !l.attach(server) {
		return
	}
	l.carry()
}

// enter notes a new connection, unless its members must not be connected.
func (p *Proxy) enter(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.faults[direction{l.dialer, l.acceptor}].Cut || p.faults[direction{l.acceptor, l.dialer}].Cut {
		return false
	}
	p.links[l] = true
	return true
}

func (p *Proxy) leave(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// close resets everything and waits for the proxy's goroutines; the listeners are closed by then.
func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	for l := range p.links {
		l.reset()
	}
	p.mu.Unlock()
	p.group.Wait()
}
