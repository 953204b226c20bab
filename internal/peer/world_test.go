package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/frames"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/storage"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

const testCluster = 0xc1

// box is an outbox that tests put messages into.
type box struct {
	ready chan struct{}

	mu       sync.Mutex
	opened   bool
	messages []*raftpb.Message
}

func (b *box) Open()                  { b.mu.Lock(); b.opened = true; b.mu.Unlock() }
func (b *box) Close()                 { b.mu.Lock(); b.opened, b.messages = false, nil; b.mu.Unlock() }
func (b *box) Ready() <-chan struct{} { return b.ready }

func (b *box) Take() []*raftpb.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.messages
	b.messages = nil
	return all
}

func (b *box) put(m *raftpb.Message) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.opened {
		return false
	}
	b.messages = append(b.messages, m)
	select {
	case b.ready <- struct{}{}:
	default:
	}
	return true
}

// appendOf is an append as a leader sends it: so many entries of so many bytes behind an index.
func appendOf(index uint64, entries, size int) *raftpb.Message {
	m := plain(raftpb.MsgApp, 7)
	m.LogTerm, m.Index, m.Commit = new(uint64(6)), new(index), new(index)
	for i := range entries {
		m.Entries = append(m.Entries, &raftpb.Entry{
			Term: new(uint64(7)), Index: new(index + 1 + uint64(i)), Type: raftpb.EntryNormal.Enum(), Data: make([]byte, size),
		})
	}
	return m
}

// plain is a message of a type and a term.
func plain(t raftpb.MessageType, term uint64) *raftpb.Message {
	return &raftpb.Message{Type: t.Enum(), Term: new(term)}
}

// framesOf packs messages.
func framesOf(t *testing.T, messages ...*raftpb.Message) []byte {
	t.Helper()
	p := frames.NewPacker(frames.DefaultBytes)
	for _, m := range messages {
		if err := p.Add(m); err != nil {
			t.Fatal(err)
		}
	}
	return p.Take()
}

// delivery is a message that came.
type delivery struct {
	from uint64
	m    *raftpb.Message
}

// orderly is an Order that tests look into.
type orderly struct {
	id    uint64
	came  chan delivery
	stuck chan struct{} // Receive of an append waits while it is open; nil never

	mu        sync.Mutex
	boxes     map[uint64]*[replica.Lanes]*box
	run       uint64
	verdicts  map[uint64]error
	lost      map[uint64]int
	dead      map[uint64]int
	connected map[uint64]int
}

func newOrderly(id uint64) *orderly {
	return &orderly{
		id: id, came: make(chan delivery, 1<<16), boxes: map[uint64]*[replica.Lanes]*box{}, run: 1,
		verdicts: map[uint64]error{}, lost: map[uint64]int{}, dead: map[uint64]int{}, connected: map[uint64]int{},
	}
}

func (o *orderly) Outbox(to uint64, lane replica.Lane) *box {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.boxes[to] == nil {
		o.boxes[to] = &[replica.Lanes]*box{{ready: make(chan struct{}, 1)}, {ready: make(chan struct{}, 1)}}
	}
	return o.boxes[to][lane]
}

func (o *orderly) Receive(from uint64, messages []*raftpb.Message) {
	for _, m := range messages {
		if o.stuck != nil && m.GetType() == raftpb.MsgApp {
			<-o.stuck
		}
		o.came <- delivery{from, m}
	}
}

func (o *orderly) Admit(g replica.Greeting) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.verdicts[g.From]
}

func (o *orderly) judge(id uint64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.verdicts[id] = err
}

func (o *orderly) Greeting() replica.Greeting {
	return replica.Greeting{From: o.id, Incarnation: o.id << 60, Run: o.run, Term: 5, Last: 100, Priority: -3, LeaseReads: true}
}

func (o *orderly) Lost(id uint64, dead bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if dead {
		o.dead[id]++
	} else {
		o.lost[id]++
	}
}

func (o *orderly) Connected(id uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.connected[id]++
}

func (o *orderly) count(of map[uint64]int, id uint64) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return of[id]
}

// tableOf makes the member table of one member. Further ones are added with admit.
func tableOf(t *testing.T, cluster, local uint64, members ...member.Member) *member.Table {
	t.Helper()
	e, err := storage.Open(storage.Options{FS: vfs.NewMem(), Dir: "state"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	b := e.NewBatch()
	defer b.Close()
	member.Found(b, cluster, member.ID(local), members)
	if err := e.Commit(b); err != nil {
		t.Fatal(err)
	}
	table, err := member.Open(e)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// changeTable runs a change of a table, whose batch goes nowhere.
func changeTable(t *testing.T, change func(b *storage.Batch) error) {
	t.Helper()
	e, err := storage.Open(storage.Options{FS: vfs.NewMem(), Dir: "state"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	b := e.NewBatch()
	defer b.Close()
	if err := change(b); err != nil {
		t.Fatal(err)
	}
}

// logged is a log that tests read.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), s)
}

// site is one member: its socket, its mesh, its server.
type site struct {
	t      *testing.T
	id     uint64
	url    string
	order  *orderly
	table  *member.Table
	set    *metrics.Set
	log    *logged
	mesh   *Mesh
	change func(*Options) // of options, before the mesh is built

	listener net.Listener
	server   *http.Server
	stopRun  context.CancelFunc
	ended    chan error
}

// town makes members 1 to n that know each other, and does not start them.
func town(t *testing.T, n int, change func(*Options)) []*site {
	t.Helper()
	sites, members := make([]*site, n), make([]member.Member, n)
	scheme := "http"
	for i := range sites {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		id := uint64(i + 1)
		sites[i] = &site{t: t, id: id, listener: l, order: newOrderly(id), set: metrics.New(), log: new(logged), change: change}
		if change != nil {
			var o Options
			if change(&o); o.TLS != nil {
				scheme = "https"
			}
		}
		sites[i].url = scheme + "://" + l.Addr().String()
		members[i] = member.Member{ID: member.ID(id), Name: fmt.Sprint("m", id), PeerURLs: []string{sites[i].url}}
	}
	for _, s := range sites {
		s.table = tableOf(t, testCluster, s.id, members...)
		t.Cleanup(s.kill)
	}
	return sites
}

// open starts a member, again if it was stopped.
func (s *site) open() {
	s.t.Helper()
	if s.listener == nil {
		l, err := net.Listen("tcp", strings.TrimPrefix(strings.TrimPrefix(s.url, "http://"), "https://"))
		if err != nil {
			s.t.Fatal(err)
		}
		s.listener = l
	}
	o := Options{
		Members: s.table, Metrics: s.set.Network, Version: "3.7.3", Level: 2,
		Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if s.change != nil {
		s.change(&o)
	}
	s.mesh = New(s.order, o)
	s.server = &http.Server{Handler: s.mesh.Handler(), ErrorLog: slog.NewLogLogger(slog.NewTextHandler(s.log, nil), slog.LevelWarn)}
	if l := s.listener; strings.HasPrefix(s.url, "https") {
		config := o.TLS().Clone()
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, config.RootCAs
		s.listener = tls.NewListener(l, config)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stopRun, s.ended = stop, make(chan error, 1)
	go func(l net.Listener) { _ = s.server.Serve(l) }(s.listener)
	go func(m *Mesh, ended chan error) { ended <- m.Run(ctx) }(s.mesh, s.ended)
}

// kill ends a member as the end of its process does: the socket first, and everything that is open.
func (s *site) kill() {
	if s.listener != nil {
		_ = s.listener.Close()
	}
	if s.server != nil {
		_ = s.server.Close()
		s.stopRun()
		<-s.ended
		s.ended <- nil
	}
	s.listener = nil
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen in time: %s", what)
		}
		<-tick.C
	}
}

// meet waits until all members are connected with all.
func meet(t *testing.T, sites ...*site) {
	t.Helper()
	for _, a := range sites {
		for _, b := range sites {
			if a != b {
				eventually(t, fmt.Sprintf("%d and %d connect", a.id, b.id), func() bool {
					_, ok := a.mesh.ActiveSince(b.id)
					return ok && a.order.count(a.order.connected, b.id) > 0
				})
			}
		}
	}
}

// send puts a message into the outbox of its lane.
func (s *site) send(to uint64, lane replica.Lane, m *raftpb.Message) {
	s.t.Helper()
	m.From, m.To = new(s.id), new(to)
	if !s.order.Outbox(to, lane).put(m) {
		s.t.Fatalf("the outbox of %d for %d is closed", s.id, to)
	}
}

// receive waits for the next message.
func (s *site) receive() delivery {
	s.t.Helper()
	select {
	case d := <-s.order.came:
		return d
	case <-time.After(patience):
		s.t.Fatalf("no message came to %d", s.id)
		return delivery{}
	}
}

// metric is what a member shows under a name for the values of its labels, in the order of their names; of a histogram
// it is the number of observations, and 0 of what is not there.
func metric(t *testing.T, s *site, name string, labels ...string) float64 {
	t.Helper()
	families, err := s.set.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == name && slices.Equal(values, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return 0
}
