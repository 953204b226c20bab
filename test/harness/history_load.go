package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// loadKeys is how many keys the clients fight for.
	loadKeys = 5
	// loadPrefix stands before them.
	loadPrefix = "load/"
	// clientsOfMember and clientsOfAll are how many clients talk to one member alone and to the whole cluster.
	clientsOfMember, clientsOfAll = 2, 2
	// loadPace is the mean pause between two calls of a client; machines that run tests have other work too.
	loadPace = 8 * time.Millisecond
	// loadCall bounds one call of a client.
	loadCall = 5 * time.Second
	// afterError is the pause after a failed call: each write without an answer doubles the orders to be tried.
	afterError = 50 * time.Millisecond
)

// Load is clients and watchers that work on a cluster while a test breaks it, and remember all that they hear.
type Load struct {
	History *History

	cluster  *Cluster
	first    int64 // the first revision that the history can have
	watchers []*Watcher
	stop     chan struct{}             // ends the clients
	over     chan struct{}             // ends the watchers
	alone    map[*Member]chan struct{} // ends the clients of one member
	calling  sync.WaitGroup            // the clients
	watching sync.WaitGroup            // the watchers
	clients  int
	wide     []*clientv3.Client // those that talk to the whole cluster
	seed     uint64
	cut      bool // the history is compacted meanwhile
}

// Load starts clients and watchers on every member, and some on the cluster as a whole.
func (c *Cluster) Load(t testing.TB) *Load {
	t.Helper()
	return c.load(t, false)
}

// LoadCompacted is Load while somebody compacts: watchers may then find that what they have missed is gone.
func (c *Cluster) LoadCompacted(t testing.TB) *Load {
	t.Helper()
	return c.load(t, true)
}

func (c *Cluster) load(t testing.TB, cut bool) *Load {
	t.Helper()
	l := &Load{
		History: NewHistory(), cluster: c, stop: make(chan struct{}), over: make(chan struct{}),
		alone: map[*Member]chan struct{}{}, seed: rand.Uint64(), cut: cut,
	}
	client := c.Client(t)
	resp, err := client.Get(Ctx(t), loadPrefix, clientv3.WithCountOnly())
	if err != nil {
		t.Fatalf("begin the load: %v", err)
	}
	l.first = resp.Header.Revision + 1
	l.wide = append(l.wide, client)
	l.watch(client, "", nil)
	l.watch(l.wideClient(t), loadPrefix, nil)
	for range clientsOfAll {
		l.client(l.wideClient(t), l.stop)
	}
	for _, m := range c.voters() {
		l.Join(t, m)
	}
	t.Cleanup(func() { l.endClients(); l.endWatchers() })
	return l
}

// Join gives a member clients and a watcher of its own.
func (l *Load) Join(t testing.TB, m *Member) {
	t.Helper()
	l.alone[m] = make(chan struct{})
	for range clientsOfMember {
		l.client(l.cluster.Client(t, m), l.alone[m])
	}
	l.watch(l.cluster.Client(t, m), "", m)
	for _, client := range l.wide {
		client.SetEndpoints(l.cluster.Endpoints()...)
	}
}

// wideClient opens a client of the whole cluster, which hears of members that join.
func (l *Load) wideClient(t testing.TB) *clientv3.Client {
	t.Helper()
	client := l.cluster.Client(t)
	l.wide = append(l.wide, client)
	return client
}

// watch starts a watcher; without a member it is the cluster's.
func (l *Load) watch(client *clientv3.Client, prefix string, m *Member) {
	w := NewWatcher(client, prefix, l.first)
	w.member, w.cut = m, l.cut
	l.watchers = append(l.watchers, w)
	l.watching.Go(func() { w.run(l.over) })
}

// Watch adds a watcher of the whole cluster, which begins with what has happened already.
func (l *Load) Watch(t testing.TB) {
	t.Helper()
	l.watch(l.wideClient(t), loadPrefix, nil)
}

// Leave ends the clients of one member, which is about to go for good.
func (l *Load) Leave(m *Member) {
	close(l.alone[m])
	delete(l.alone, m)
}

func (l *Load) client(client *clientv3.Client, stop <-chan struct{}) {
	l.clients++
	c := &loadClient{
		id: l.clients, rng: rand.New(rand.NewPCG(l.seed, uint64(l.clients))),
		kv: client, history: l.History, last: make([]string, loadKeys),
	}
	l.calling.Go(func() { c.run(stop) })
}

// Await waits until so many more calls have been answered by a majority: the cluster works, whatever is broken.
func (l *Load) Await(t testing.TB, calls int) {
	t.Helper()
	known, more := l.History.Answered()
	target := known + calls
	limit := time.After(SettleLimit)
	for known < target {
		select {
		case <-more:
		case <-limit:
			t.Fatalf("the cluster does not serve: %d of %d calls were answered within %v", known-target+calls, calls, SettleLimit)
		}
		known, more = l.History.Answered()
	}
}

// endClients ends all clients and waits for their last calls.
func (l *Load) endClients() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
		for m := range l.alone {
			l.Leave(m)
		}
	}
	l.calling.Wait()
}

func (l *Load) endWatchers() {
	select {
	case <-l.over:
	default:
		close(l.over)
	}
	l.watching.Wait()
}

// loadClient is one client that uses a few keys at random.
type loadClient struct {
	id      int
	rng     *rand.Rand
	kv      *clientv3.Client
	history *History
	last    []string // what it saw last in each key, to guess well in swaps
}

// failed is the answer of a call that ended with an error. One that was never sent is no call at all.
func failed(err error) Answer {
	return Answer{Unknown: true, Unsent: strings.Contains(err.Error(), "Error while dialing")}
}

func (c *loadClient) run(stop <-chan struct{}) {
	for seq := 0; ; seq++ {
		call, key := c.choose(seq)
		begin := c.history.now()
		answer := c.call(call, stop)
		end := c.history.now()
		pause := rand.N(2 * loadPace)
		if answer.Unknown {
			end, pause = forEver, afterError
		} else if call.Kind == Get {
			c.last[key] = answer.Value
		}
		c.history.add(Op{Client: c.id, Call: call, Answer: answer, Begin: begin, End: end})
		select {
		case <-stop:
			return
		case <-time.After(pause):
		}
	}
}

// choose takes a call at random; each writes a value that nobody else writes.
func (c *loadClient) choose(seq int) (Call, int) {
	key := c.rng.IntN(len(c.last))
	call := Call{Kind: Get, Key: fmt.Sprint(loadPrefix, key), Value: fmt.Sprintf("%d.%d", c.id, seq)}
	switch dice := c.rng.IntN(20); {
	case dice < 6:
		call.Kind = Put
	case dice < 10:
		call.Kind, call.Expect = Swap, c.last[key]
	case dice < 11:
		call.Kind = Delete
	case dice < 13:
		call.Kind = GetAnywhere
	}
	return call, key
}

// call makes one call. Where a member is away it waits for it, so that few calls end without an answer; a call that is
// under way when the load ends is given up soon.
func (c *loadClient) call(call Call, stop <-chan struct{}) Answer {
	ctx, cancel := context.WithTimeout(context.Background(), loadCall)
	defer cancel()
	go func() {
		select {
		case <-stop:
			time.AfterFunc(time.Second, cancel)
		case <-ctx.Done():
		}
	}()
	key := call.Key
	switch call.Kind {
	case Put:
		r, err := c.kv.Put(ctx, key, call.Value)
		if err != nil {
			return failed(err)
		}
		return Answer{Revision: r.Header.Revision, Done: true}
	case Swap:
		return c.swap(ctx, call)
	case Delete:
		r, err := c.kv.Delete(ctx, key)
		if err != nil {
			return failed(err)
		}
		return Answer{Revision: r.Header.Revision, Done: r.Deleted > 0}
	default:
		var opts []clientv3.OpOption
		if call.Kind == GetAnywhere {
			opts = append(opts, clientv3.WithSerializable())
		}
		r, err := c.kv.Get(ctx, key, opts...)
		if err != nil {
			return failed(err)
		}
		return readAnswer((*pb.RangeResponse)(r))
	}
}

func (c *loadClient) swap(ctx context.Context, call Call) Answer {
	holds := clientv3.Compare(clientv3.Value(call.Key), "=", call.Expect)
	if call.Expect == "" {
		holds = clientv3.Compare(clientv3.Version(call.Key), "=", 0)
	}
	r, err := c.kv.Txn(ctx).If(holds).Then(clientv3.OpPut(call.Key, call.Value)).Else(clientv3.OpGet(call.Key)).Commit()
	if err != nil {
		return failed(err)
	}
	if r.Succeeded {
		return Answer{Revision: r.Header.Revision, Done: true}
	}
	answer := readAnswer(r.Responses[0].GetResponseRange())
	answer.Revision = r.Header.Revision
	return answer
}

func readAnswer(r *pb.RangeResponse) Answer {
	a := Answer{Revision: r.GetHeader().GetRevision()}
	if len(r.Kvs) > 0 {
		kv := r.Kvs[0]
		a.Found, a.Value, a.Mod, a.Version = true, string(kv.Value), kv.ModRevision, kv.Version
	}
	return a
}
