package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// cluster is several members that reach each other through wires in memory.
type cluster struct {
	t       testing.TB
	disks   map[uint64]vfs.FS
	members map[uint64]*world
	founded []uint64
	options func(o *Options)

	mu  sync.Mutex
	cut map[[2]uint64]bool // from, to
	// carried counts the messages that arrived.
	carried map[raftpb.MessageType]int
	// stop ends the wires of a member.
	stop map[uint64]context.CancelFunc
	runs atomic.Uint64
}

// newCluster founds members of these IDs and starts them.
func newCluster(t testing.TB, options func(o *Options), ids ...uint64) *cluster {
	t.Helper()
	c := &cluster{
		t: t, disks: map[uint64]vfs.FS{}, members: map[uint64]*world{}, founded: ids, options: options,
		cut: map[[2]uint64]bool{}, carried: map[raftpb.MessageType]int{}, stop: map[uint64]context.CancelFunc{},
	}
	for _, id := range ids {
		c.disks[id] = vfs.NewMem()
		c.start(id)
	}
	return c
}

// start starts a member on its disk.
func (c *cluster) start(id uint64) {
	c.t.Helper()
	fs, w := c.disks[id], new(world)
	var err error
	if w.engine, err = storage.Open(storage.Options{FS: fs, Dir: "state"}); err != nil {
		c.t.Fatal(err)
	}
	o := raftlog.Options{FS: fs, Dir: "log"}
	exists, err := raftlog.Exists(fs, o.Dir)
	if err == nil && exists {
		w.log, err = raftlog.Open(o)
	} else if err == nil {
		w.log, err = raftlog.Create(o, raftlog.Origin{ID: 100*c.runs.Add(1) + id, Index: 1, Term: 1})
		f := state.Founding{Origin: state.Position{Index: 1, Term: 1}, Log: w.log.ID(), Cluster: 5, Local: member.ID(id)}
		for _, m := range c.founded {
			f.Members = append(f.Members, member.Member{ID: member.ID(m), PeerURLs: []string{fmt.Sprint("http://", m)}})
		}
		if err == nil {
			err = state.Found(w.engine, f)
		}
	}
	if err != nil {
		c.t.Fatal(err)
	}
	machine, err := state.Open(w.engine, mvcc.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	opts := Options{
		Log: w.log, Machine: machine, Heartbeat: 100 * time.Millisecond, Election: time.Second,
		MaxRequestBytes: 1 << 20, WarnApply: time.Minute, Seed: c.runs.Add(1) << 40, Metrics: metrics.New(),
		Logger: slog.New(slog.DiscardHandler), TickAdvance: true,
	}
	if c.options != nil {
		c.options(&opts)
	}
	if w.Replica, err = New(opts); err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.group, ctx = errgroup.WithContext(ctx)
	w.group.Go(func() error { return w.Run(ctx) })
	w.group.Go(w.RunAppend)
	w.group.Go(w.RunApply)
	c.mu.Lock()
	c.members[id] = w
	c.mu.Unlock()
	c.wire(ctx, id)
}

// wire carries the messages of a member to the others, and theirs to it, until its context ends.
func (c *cluster) wire(ctx context.Context, id uint64) {
	ctx, c.stop[id] = context.WithCancel(ctx)
	for other := range c.members {
		if other == id {
			continue
		}
		for _, way := range [][2]uint64{{id, other}, {other, id}} {
			from, to := c.members[way[0]], c.members[way[1]]
			if err := to.Admit(from.Greeting()); err != nil {
				c.t.Fatal(err)
			}
			for lane := range Lanes {
				box := from.Outbox(way[1], lane)
				box.Open()
				go c.carry(ctx, box, way[0], way[1], to)
			}
			from.Connected(way[1])
		}
	}
}

func (c *cluster) carry(ctx context.Context, box *Outbox, from, to uint64, target *world) {
	defer box.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-target.stopped:
			return
		case <-box.Ready():
			messages := box.Take()
			c.mu.Lock()
			cut := c.cut[[2]uint64{from, to}]
			if !cut {
				for _, m := range messages {
					c.carried[m.GetType()]++
				}
			}
			c.mu.Unlock()
			if !cut {
				target.Receive(from, messages)
			}
		}
	}
}

// isolate cuts every wire of a member, or mends them.
func (c *cluster) isolate(id uint64, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.members {
		c.cut[[2]uint64{id, other}], c.cut[[2]uint64{other, id}] = cut, cut
	}
}

// deafen cuts the wires to a member, and not those from it, or mends them.
func (c *cluster) deafen(id uint64, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.members {
		c.cut[[2]uint64{other, id}] = cut
	}
}

// kill ends a member as kill -9 does; the others see its connections break.
func (c *cluster) kill(id uint64, seen bool) {
	c.t.Helper()
	w := c.members[id]
	if err := w.stop(); err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	delete(c.members, id)
	c.mu.Unlock()
	for _, other := range c.members {
		other.Lost(id, seen)
	}
}

// leader waits until all members that run agree on a leader that runs, and returns it.
func (c *cluster) leader() uint64 {
	c.t.Helper()
	for range 1000 {
		first, same := uint64(0), true
		for _, w := range c.members {
			l := w.Status().Leader
			same = same && l != 0 && (first == 0 || first == l)
			first = l
		}
		if w := c.members[first]; same && w != nil && w.Machine().Applied().Term == w.Status().Term {
			return first
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Fatal("no leader is agreed on")
	return 0
}

// look is a linearizable look at what a member holds. Without the barrier it may lag behind what another one has answered.
func (c *cluster) look(id uint64) *mvcc.View {
	c.t.Helper()
	if err := c.members[id].Barrier(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	return c.members[id].Machine().KV().View()
}

func (c *cluster) follower() uint64 {
	leader := c.leader()
	for _, id := range slices.Sorted(func(yield func(uint64) bool) {
		for id := range c.members {
			if !yield(id) {
				return
			}
		}
	}) {
		if id != leader {
			return id
		}
	}
	c.t.Fatal("there is no follower")
	return 0
}

// end stops every member.
func (c *cluster) end() {
	for _, w := range c.members {
		if err := w.stop(); err != nil {
			c.t.Error(err)
		}
	}
	synctest.Wait()
}

// value reads a key at a member, after a barrier.
func (c *cluster) value(id uint64, key string) string {
	c.t.Helper()
	w := c.members[id]
	if err := w.Barrier(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	view := w.Machine().KV().View()
	defer view.Close()
	item, ok := view.Get([]byte(key))
	if !ok {
		return ""
	}
	record, err := view.Record(item)
	if err != nil {
		c.t.Fatal(err)
	}
	var kv mvccpb.KeyValue
	if err := proto.Unmarshal(record, &kv); err != nil {
		c.t.Fatal(err)
	}
	return string(kv.Value)
}

func story(t *testing.T, options func(o *Options), tell func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, options, 3, 4, 5)
		defer c.end()
		tell(t, c)
	})
}

func TestEveryMemberTakesWritesAndShowsThemToAll(t *testing.T) {
	story(t, nil, func(t *testing.T, c *cluster) {
		c.leader()
		for id, w := range c.members {
			if _, err := w.put(t.Context(), "k", fmt.Sprint(id)); err != nil {
				t.Fatal(err)
			}
			for other := range c.members {
				if got := c.value(other, "k"); got != fmt.Sprint(id) {
					t.Fatalf("%d wrote and %d reads %q", id, other, got)
				}
			}
		}
	})
}

func TestTheNextLeaderKeepsWhatWasAcknowledged(t *testing.T) {
	story(t, nil, func(t *testing.T, c *cluster) {
		for round := range 6 {
			leader := c.leader()
			value := fmt.Sprint("round", round)
			if _, err := c.members[c.follower()].put(t.Context(), "k", value); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			c.kill(leader, round%2 == 0)
			next := c.leader()
			if took := time.Since(start); round%2 == 0 && took > time.Second {
				t.Errorf("with the leader seen to be dead the next one was there after %v", took)
			}
			if got := c.value(next, "k"); got != value {
				t.Fatalf("%q was acknowledged and the next leader has %q", value, got)
			}
			c.start(leader)
		}
	})
}

func TestALeaderThatIsCutOffAnswersNobody(t *testing.T) {
	story(t, nil, func(t *testing.T, c *cluster) {
		old := c.leader()
		if _, err := c.members[old].put(t.Context(), "k", "before"); err != nil {
			t.Fatal(err)
		}
		c.isolate(old, true)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := c.members[old].Barrier(ctx); err == nil {
			t.Fatal("a leader without a quorum let a reader pass")
		}
		ctx, cancel = context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := c.members[old].put(ctx, "k", "lost"); err == nil {
			t.Fatal("a leader without a quorum acknowledged")
		}
		rest := c.members[old]
		delete(c.members, old)
		next := c.leader()
		c.members[old] = rest
		if _, err := c.members[next].put(t.Context(), "k", "after"); err != nil {
			t.Fatal(err)
		}
		c.isolate(old, false)
		c.leader()
		if got := c.value(old, "k"); got != "after" {
			t.Fatalf("the old leader has %q", got)
		}
	})
}

func TestLeadershipIsHandedOver(t *testing.T) {
	story(t, nil, func(t *testing.T, c *cluster) {
		old, to := c.leader(), c.follower()
		if err := c.members[to].TransferLeader(t.Context(), old); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower hands over: %v", err)
		}
		if err := c.members[old].TransferLeader(t.Context(), 99); !errors.Is(err, ErrTransferee) {
			t.Errorf("to a stranger: %v", err)
		}
		if err := c.members[old].TransferLeader(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		if got := c.leader(); got != to {
			t.Fatalf("%d leads, want %d", got, to)
		}
		if err := c.members[to].HandOver(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := c.leader(); got == to {
			t.Fatal("it leads still")
		}
	})
}

func TestTheMembershipChangesOneMemberAtATime(t *testing.T) {
	story(t, nil, func(t *testing.T, c *cluster) {
		at := c.members[c.follower()]
		change := func(kind command.ChangeKind, id uint64, url string) error {
			r, err := at.Change(t.Context(), command.MemberChange{Kind: kind, Member: id, PeerURLs: []string{url}})
			if err != nil {
				t.Fatal(err)
			}
			return r.Err
		}
		// Several at once wait for each other.
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				if err := change(command.AddLearner, uint64(10+i), fmt.Sprint("http://new", i)); err != nil {
					t.Errorf("add learner %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		for _, step := range []struct {
			kind command.ChangeKind
			id   uint64
			url  string
			want error
		}{
			{command.AddVoter, 10, "http://x", member.ErrExists},
			{command.AddVoter, 20, "http://new1", member.ErrPeerURLExists},
			{command.PromoteMember, 10, "", nil},
			{command.PromoteMember, 10, "", member.ErrNotLearner},
			{command.PromoteMember, 77, "", member.ErrNotFound},
			{command.RemoveMember, 10, "", nil},
			{command.RemoveMember, 10, "", member.ErrRemoved},
			{command.AddLearner, 10, "http://x", member.ErrRemoved},
			{command.RemoveMember, 11, "", nil},
		} {
			if err := change(step.kind, step.id, step.url); !errors.Is(err, step.want) {
				t.Errorf("%+v: %v", step, err)
			}
		}
		conf := at.Machine().ConfState()
		if !slices.Equal(conf.GetVoters(), []uint64{3, 4, 5}) || !slices.Equal(conf.GetLearners(), []uint64{12, 13}) {
			t.Errorf("in the end %v", conf)
		}
		if !at.Machine().Members().Removed(10) || at.Machine().Members().Removed(12) {
			t.Error("who was removed is not remembered")
		}
	})
}

func TestARemovedMemberEnds(t *testing.T) {
	story(t, nil, func(t *testing.T, c *cluster) {
		gone := c.leader()
		w, by, began := c.members[gone], c.members[c.follower()], time.Now()
		if _, err := by.Change(t.Context(), command.MemberChange{Kind: command.RemoveMember, Member: gone}); err != nil {
			t.Fatal(err)
		}
		if _, err := by.put(t.Context(), "at once", "v"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took >= by.opts.Election { // the clock is that of the bubble
			t.Errorf("it took %v until somebody else led: the leader was missed before it was replaced", took)
		}
		if err := w.group.Wait(); !errors.Is(err, ErrRemoved) {
			t.Fatalf("it ended with %v", err)
		}
		delete(c.members, gone)
		if err := errors.Join(w.log.Close(), w.engine.Close()); err != nil {
			t.Fatal(err)
		}
		next := c.leader()
		if _, err := c.members[next].put(t.Context(), "k", "v"); err != nil {
			t.Fatal(err)
		}
		if err := c.members[next].Admit(Greeting{From: gone, Run: 1, Incarnation: w.log.ID()}); !errors.Is(err, ErrRemoved) {
			t.Errorf("its greeting: %v", err)
		}
	})
}

func TestWhoseMemoryIsGoneIsNotListenedTo(t *testing.T) {
	story(t, nil, func(t *testing.T, c *cluster) {
		leader, lost := c.leader(), c.follower()
		if _, err := c.members[lost].put(t.Context(), "k", "v"); err != nil {
			t.Fatal(err)
		}
		good := c.members[lost].Greeting()
		at := c.members[leader]
		for why, spoil := range map[string]func(g *Greeting){
			"wiped":            func(g *Greeting) { g.Incarnation++; g.Last, g.Term = 1, 1 },
			"an older log":     func(g *Greeting) { g.Last = 1 },
			"an older term":    func(g *Greeting) { g.Term-- },
			"not yet a member": func(g *Greeting) { g.From = 99 },
		} {
			g := good
			g.Run += 7
			spoil(&g)
			want := ErrForgotten
			if g.From == 99 {
				want = ErrStranger
			}
			if err := at.Admit(g); !errors.Is(err, want) {
				t.Errorf("%s: %v", why, err)
			}
		}
		good.Run += 8
		if err := at.Admit(good); err != nil {
			t.Errorf("a restart with everything: %v", err)
		}
	})
}

// A heartbeat that tells of more than the log holds would make raft panic.
func TestAHeartbeatBeyondTheLogEndsTheMemberWithAHint(t *testing.T) {
	story(t, nil, func(t *testing.T, c *cluster) {
		leader, f := c.leader(), c.follower()
		w := c.members[f]
		term := w.Status().Term
		w.Receive(leader, []*raftpb.Message{{
			Type: raftpb.MsgHeartbeat.Enum(), From: new(leader), To: new(f), Term: new(term), Commit: new(uint64(1 << 40)),
		}})
		if err := w.group.Wait(); !errors.Is(err, ErrForgotten) {
			t.Fatalf("it ended with %v", err)
		}
		delete(c.members, f)
		if err := errors.Join(w.log.Close(), w.engine.Close()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestALeaderWithASlowDiskHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		c.founded = []uint64{3, 4, 5}
		slow := newStuckDisk()
		for _, id := range c.founded {
			c.disks[id] = vfs.NewMem()
		}
		c.disks[3] = slow
		for _, id := range c.founded {
			c.start(id)
		}
		defer c.end()
		if l := c.leader(); l != 3 {
			if err := c.members[l].TransferLeader(t.Context(), 3); err != nil {
				t.Fatal(err)
			}
		}
		c.leader()
		slow.stuck.Store(true)
		go c.members[3].put(t.Context(), "k", "stuck") // what the others commit without it
		time.Sleep(2 * time.Second)
		if l := c.members[4].Status().Leader; l == 3 || l == 0 {
			t.Errorf("%d leads", l)
		}
		if _, err := c.members[4].put(t.Context(), "k", "v"); err != nil {
			t.Errorf("a write while one disk of three is stuck: %v", err)
		}
		time.Sleep(5 * time.Second)
		if c.members[3].Stalled() == nil {
			t.Error("the member does not know that it is stalled")
		}
		slow.stuck.Store(false)
		close(slow.release)
		c.leader()
		if got := c.value(3, "k"); got != "v" {
			t.Errorf("it has %q afterwards", got)
		}
	})
}

func TestTheMemberThatIsWantedMostComesToLead(t *testing.T) {
	wanted := func(o *Options) {
		if o.Machine.Members().Local() == 5 {
			o.Priority = 2
		}
	}
	story(t, wanted, func(t *testing.T, c *cluster) {
		c.leader()
		time.Sleep(30 * time.Second)
		if l := c.leader(); l != 5 {
			t.Errorf("%d leads", l)
		}
	})
}

func TestReadsByLeaseNeedNoQuorumAndEndWithIt(t *testing.T) {
	story(t, func(o *Options) { o.LeaseReads = true }, func(t *testing.T, c *cluster) {
		leader := c.leader()
		w := c.members[leader]
		if _, err := w.put(t.Context(), "k", "v"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		c.isolate(leader, true)
		if err := w.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !w.knowsByLease() {
			t.Error("a leader that was confirmed a moment ago has no lease")
		}
		time.Sleep(time.Second)
		if w.knowsByLease() {
			t.Error("the lease outlives the election timeout")
		}
		c.isolate(leader, false)
	})
}
