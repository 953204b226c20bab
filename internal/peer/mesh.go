package peer

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/frames"
	"github.com/keelson-db/keelson/internal/invariant"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/replica"
)

// Outbox holds what is to go out on one lane to one member, as replica.Outbox does.
type Outbox interface {
	// Open lets messages in, Close drops them and lets none in.
	Open()
	Close()
	// Ready returns a channel that holds a token while something may be inside.
	Ready() <-chan struct{}
	// Take returns everything inside, in order.
	Take() []*raftpb.Message
}

// Order is what the mesh needs of the room that orders commands. Nothing in it waits. B is its type of outbox.
type Order[B Outbox] interface {
	// Outbox returns what is to go out. Only the lane's own sender takes from it.
	Outbox(to uint64, lane replica.Lane) B
	// Receive takes in messages of a member that was admitted. It owns them afterwards.
	Receive(from uint64, messages []*raftpb.Message)
	// Admit judges a member's greeting.
	Admit(g replica.Greeting) error
	// Greeting is what this member says of itself.
	Greeting() replica.Greeting
	// Lost tells that a connection broke on which a member's messages came. dead says that besides nobody listens at
	// its address any more.
	Lost(id uint64, dead bool)
	// Connected tells that both lanes to a member stand.
	Connected(id uint64)
}

// order is an Order whose outboxes are of whatever type.
type order interface {
	Receive(from uint64, messages []*raftpb.Message)
	Admit(g replica.Greeting) error
	Greeting() replica.Greeting
	Lost(id uint64, dead bool)
	Connected(id uint64)
}

// Defaults of Options.
const (
	// DefaultTimeout is how long a connection may be silent, and how long a write may make no progress.
	DefaultTimeout = 5 * time.Second
)

// Options are what a mesh is built from.
type Options struct {
	Members *member.Table
	Metrics *metrics.Network
	Log     *slog.Logger

	// Version is what others are told of this server's version, such as "3.7.3".
	Version string
	// Level is the feature level of this release. MinLevel is the one that the cluster has reached: members of older
	// releases would not understand its commands and are refused. nil refuses none.
	Level    uint32
	MinLevel func() uint32

	// TLS returns the configuration for the next connection to an https URL; without it there are none.
	TLS func() *tls.Config
	// Dial opens connections; nil is a plain net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Local tells of this member on the peer port; without it the paths that need it are not there.
	Local Local
	// Answerer answers the questions of other members; nil knows none.
	Answerer Answerer

	// ReadTimeout is how long a connection from another member may be silent, WriteTimeout how long a write may make no
	// progress; 0 is DefaultTimeout.
	ReadTimeout, WriteTimeout time.Duration
	// MaxFrameBytes bounds one frame; it must hold the largest request of a client. 0 is frames.DefaultBytes.
	MaxFrameBytes int
}

// Mesh is the connections between this member and all others.
type Mesh struct {
	o       Options
	order   order
	outbox  func(to uint64, lane replica.Lane) Outbox
	local   uint64
	cluster uint64
	failed  chan error // holds the first reason why this member cannot be among the others
	start   time.Time
	strange complaint // about those who are refused

	mu      sync.Mutex
	remotes map[uint64]*remote // nil unless Run runs
	serving sync.WaitGroup     // connections of other members, added to under the mutex
}

// New builds a mesh. Nobody is connected until Run.
func New[B Outbox](of Order[B], o Options) *Mesh {
	invariant.Check(of != nil && o.Members != nil && o.Metrics != nil, "a mesh is built on an order, a member table and metrics")
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Answerer == nil {
		o.Answerer = noAnswers{}
	}
	if o.ReadTimeout == 0 {
		o.ReadTimeout = DefaultTimeout
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = DefaultTimeout
	}
	if o.MaxFrameBytes == 0 {
		o.MaxFrameBytes = frames.DefaultBytes
	}
	return &Mesh{
		o: o, order: of,
		outbox: func(to uint64, lane replica.Lane) Outbox { return of.Outbox(to, lane) },
		local:  uint64(o.Members.Local()), cluster: o.Members.ClusterID(),
		failed: make(chan error, 1), start: time.Now(),
	}
}

// Run keeps connections to all other members until ctx ends. It returns replica.ErrRemoved when the cluster says that
// this member was removed, and replica.ErrForgotten when it says that this member has lost what it knew. Nothing is
// received any more when it has returned.
func (m *Mesh) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	m.mu.Lock()
	m.remotes = make(map[uint64]*remote)
	m.mu.Unlock()
	defer m.disband(stop)
	for {
		changed := m.o.Members.Changed()
		m.follow(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case err := <-m.failed:
			return err
		}
	}
}

// follow starts and stops senders as the members ask.
func (m *Mesh) follow(ctx context.Context) {
	gone := maps.Clone(m.remotes) // only this goroutine changes it
	for _, one := range m.o.Members.List() {
		id := uint64(one.ID)
		if id == m.local {
			continue
		}
		delete(gone, id)
		r := m.remote(id)
		if r == nil {
			r = newRemote(ctx, m, id, one.PeerURLs)
			m.mu.Lock()
			m.remotes[id] = r
			m.mu.Unlock()
			r.run() // not before: who is dialled may dial back at once
		}
		r.move(one.PeerURLs)
	}
	for id, r := range gone {
		m.mu.Lock()
		delete(m.remotes, id)
		m.mu.Unlock()
		r.stop()
	}
}

// disband ends all connections and waits for those who serve them.
func (m *Mesh) disband(stop context.CancelFunc) {
	stop()
	m.mu.Lock()
	all := m.remotes
	m.remotes = nil
	m.mu.Unlock()
	for _, r := range all {
		r.stop()
	}
	m.serving.Wait()
}

// remote returns what is kept about a member; nil for one that is not in the table, or unless Run runs.
func (m *Mesh) remote(id uint64) *remote {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.remotes[id]
}

// fail ends Run for a reason that another member gave.
func (m *Mesh) fail(err error) {
	select {
	case m.failed <- err:
	default:
	}
}

// ActiveSince returns since when a member is connected in both directions; it is not ok while it is not.
func (m *Mesh) ActiveSince(id uint64) (since time.Time, ok bool) {
	if r := m.remote(id); r != nil {
		return r.activeSince()
	}
	return time.Time{}, false
}

// admit judges what another member said of itself.
func (m *Mesh) admit(g *greeting) error {
	if !g.common() {
		return fmt.Errorf("%w: it speaks versions %d to %d of the peer protocol, and this member %d to %d",
			errIncompatible, g.lowest, g.highest, frames.LowestVersion, frames.HighestVersion)
	}
	if m.o.MinLevel != nil && g.level < uint64(m.o.MinLevel()) {
		return fmt.Errorf("%w: its release has feature level %d, and the cluster %d; start it with a newer release",
			errIncompatible, g.level, m.o.MinLevel())
	}
	return m.order.Admit(g.Greeting)
}
