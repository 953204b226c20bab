package rpc

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/expiry"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
	"github.com/keelson-db/keelson/internal/token"
	"github.com/keelson-db/keelson/internal/transport"
	"github.com/keelson-db/keelson/internal/watch"
)

// loneReplica applies what is proposed at once: the order of commands is the order of the calls.
type loneReplica struct {
	mu      sync.Mutex
	machine *state.Machine
	index   uint64

	leader    atomic.Uint64
	proposals atomic.Int64
	barriers  atomic.Int64
	onBarrier atomic.Pointer[func() error]
	refuse    atomic.Pointer[error] // what every proposal is answered with, if set
	took      state.Took            // what every proposal is said to have taken

	cluster
}

// cluster is what a replica is told of others, and what is asked of it about them.
type cluster struct {
	changeMu  sync.Mutex
	changed   chan struct{}
	progress  atomic.Pointer[map[uint64]replica.Progress]
	transfers atomic.Pointer[func(to uint64) error] // hands over to a member; 0 is whoever is best
}

func (c *cluster) LeaderChanged() <-chan struct{} {
	c.changeMu.Lock()
	defer c.changeMu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed
}

func (c *cluster) Progress() map[uint64]replica.Progress {
	if p := c.progress.Load(); p != nil {
		return *p
	}
	return nil
}

func (c *cluster) TransferLeader(_ context.Context, to uint64) error {
	return (*c.transfers.Load())(to)
}

// lead has the replica hear of another leader.
func (r *loneReplica) lead(id uint64) {
	r.leader.Store(id)
	r.changeMu.Lock()
	defer r.changeMu.Unlock()
	if r.changed != nil {
		close(r.changed)
	}
	r.changed = make(chan struct{})
}

func (r *loneReplica) Propose(_ context.Context, op command.Op) (state.Result, error) {
	return r.apply(func() (state.Result, error) { return r.machine.Apply(op) })
}

func (r *loneReplica) Change(_ context.Context, c command.MemberChange) (state.Result, error) {
	return r.apply(func() (state.Result, error) { return r.machine.ApplyChange(c) })
}

func (r *loneReplica) apply(one func() (state.Result, error)) (state.Result, error) {
	r.proposals.Add(1)
	if err := r.refuse.Load(); err != nil {
		return state.Result{}, *err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index++
	r.machine.Begin()
	res, err := one()
	if err != nil {
		return state.Result{}, err
	}
	res.Took = r.took
	return res, r.machine.Commit(state.Position{Index: r.index, Term: 2})
}

func (r *loneReplica) Barrier(context.Context) error {
	r.barriers.Add(1)
	if f := r.onBarrier.Load(); f != nil {
		return (*f)()
	}
	return nil
}

func (r *loneReplica) Status() replica.Status {
	return replica.Status{ID: houseMember, Leader: r.leader.Load(), Term: 2, Commit: 77, Applied: 76}
}

// stillClock is a lease clock whose time does not pass.
type stillClock struct {
	table   *lease.Table
	leading atomic.Bool
	mu      sync.Mutex
	left    map[lease.ID]int64 // where it differs from the full time
}

func (c *stillClock) Renew(_ context.Context, id lease.ID) (int64, error) {
	if !c.leading.Load() {
		return 0, expiry.ErrNotPrimary
	}
	_, granted, _ := c.Remaining(id)
	return granted, nil
}

func (c *stillClock) Remaining(id lease.ID) (left, granted int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.table.Get(id)
	if left, granted = l.TTL, l.TTL; c.left[id] != 0 {
		left = c.left[id]
	}
	if !ok || left < 0 || !c.leading.Load() {
		return 0, 0, false
	}
	return left, granted, true
}

func (c *stillClock) Leads() bool { return c.leading.Load() }

func (c *stillClock) ByExpiry() (ids []lease.ID) {
	for _, l := range c.table.List() {
		ids = append(ids, l.ID)
	}
	slices.SortFunc(ids, func(a, b lease.ID) int {
		left, _, _ := c.Remaining(a)
		other, _, _ := c.Remaining(b)
		return cmp.Or(cmp.Compare(left, other), cmp.Compare(a, b))
	})
	return ids
}

// set says what a lease has left; a negative number says that its time has passed.
func (c *stillClock) set(id lease.ID, left int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left[id] = left
}

const houseCluster, houseMember = 0xc1, 0x11

// house is everything below the services, and a client's connection to them.
type house struct {
	deps     Deps
	replica  *loneReplica
	clock    *stillClock
	services *Services
	conn     *grpc.ClientConn

	kv          pb.KVClient
	lease       pb.LeaseClient
	watch       pb.WatchClient
	cluster     pb.ClusterClient
	maintenance pb.MaintenanceClient
	auth        pb.AuthClient
}

func newMachine(t testing.TB) *state.Machine {
	t.Helper()
	return newMachineOf(t, member.Member{ID: houseMember, Name: "default", PeerURLs: []string{"http://p"}, ClientURLs: []string{"http://c"}})
}

func newMachineOf(t testing.TB, members ...member.Member) *state.Machine {
	t.Helper()
	engine, err := storage.Open(storage.Options{FS: vfs.NewMem(), Dir: "db", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	err = state.Found(engine, state.Founding{
		Origin: state.Position{Index: 1, Term: 1}, Cluster: houseCluster, Local: houseMember,
		Members: members,
	})
	if err != nil {
		t.Fatal(err)
	}
	machine, err := state.Open(engine, mvcc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return machine
}

// newHouse builds a house; change may alter what the services are built from.
func newHouse(t testing.TB, change func(*Deps)) *house {
	t.Helper()
	return newHouseOn(t, newMachine(t), change)
}

func newHouseOn(t testing.TB, machine *state.Machine, change func(*Deps)) *house {
	t.Helper()
	h := &house{
		replica: &loneReplica{machine: machine, index: 1},
		clock:   &stillClock{table: machine.Leases(), left: map[lease.ID]int64{}},
	}
	h.clock.leading.Store(true)
	h.replica.leader.Store(houseMember)
	h.replica.progress.Store(&map[uint64]replica.Progress{})
	hub := watch.New(machine.KV(), watch.Options{})
	tokens, err := token.New(token.Options{Spec: "simple", Cost: bcrypt.MinCost})
	if err != nil {
		t.Fatal(err)
	}
	h.deps = Deps{
		Replica: h.replica, Machine: machine, Hub: hub, Clock: h.clock, Tokens: tokens,
		Metrics: metrics.New(), Log: slog.New(slog.DiscardHandler),
		ClusterID: houseCluster, MemberID: houseMember, Version: "3.7.3", StorageVersion: "3.7.0",
		DatabaseBytes: func() (int64, int64) { return 4096, 1024 },
		Limits: Limits{
			MaxTxnOps: 128, MaxRequestBytes: 1536 << 10, MaxConcurrentStreams: 1 << 20,
			ElectionTimeout: time.Second, QuotaBackendBytes: 2 << 30, StrictReconfigCheck: true, MaxLearners: 1,
		},
	}
	if change != nil {
		change(&h.deps)
	}
	h.services = New(h.deps)
	server := newTransport(h.deps)
	h.services.Register(server)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = hub.Run(ctx) })
	running.Go(func() { _ = h.services.Run(ctx) })
	var dial func(context.Context, string) (net.Conn, error)
	listener, dial := listen(t)
	running.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		server.GracefulStop() // waits for handlers, which may still read
		running.Wait()
	})
	h.conn = conn
	h.kv, h.lease, h.watch = pb.NewKVClient(conn), pb.NewLeaseClient(conn), pb.NewWatchClient(conn)
	h.cluster, h.maintenance = pb.NewClusterClient(conn), pb.NewMaintenanceClient(conn)
	h.auth = pb.NewAuthClient(conn)
	return h
}

// newTransport is what carries the house's calls, as the server chooses it.
func newTransport(d Deps) interface {
	grpc.ServiceRegistrar
	Serve(net.Listener) error
	GracefulStop()
	Stop()
} {
	if d.Stats != nil {
		return grpc.NewServer(ServerOptions(d)...)
	}
	return transport.NewServer(TransportOptions(d))
}

// listen gives tests a network in memory and benchmarks the loopback.
func listen(t testing.TB) (net.Listener, func(context.Context, string) (net.Conn, error)) {
	t.Helper()
	if _, ok := t.(*testing.B); !ok {
		l := bufconn.Listen(1 << 20)
		return l, func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l, func(ctx context.Context, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
}

func (h *house) put(t testing.TB, key, value string) *pb.PutResponse {
	t.Helper()
	r, err := h.kv.Put(context.Background(), &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
