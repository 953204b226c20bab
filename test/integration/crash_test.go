package integration

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/test/harness"
)

const (
	crashSeedEnv = "KEELSON_CRASH_SEED"
	crashWriters = 8
	// crashKill bounds the time from the first write of a round to its kill.
	crashKill = 200 * time.Millisecond
)

// TestAcknowledgedWritesSurviveKill kills the server at random moments while eight writers write, restarts it, and
// checks after each restart that every acknowledged write stands at its revision, that no revision is missing, and
// that leases live on. At the end the whole history is read once more and must be what was seen before.
func TestAcknowledgedWritesSurviveKill(t *testing.T) {
	t.Parallel()
	rounds := 50
	if !onKeelson() {
		rounds = 3 // a restart of etcd takes about a second
	} else if testing.Short() {
		rounds = 10
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(crashSeedEnv); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("read %s: %v", crashSeedEnv, err)
		}
		seed = n
	}
	t.Logf("%s=%d fixes the moments of the kills and the writes", crashSeedEnv, seed)
	rng := rand.New(rand.NewPCG(seed, 1))

	n := harness.Start(t, harness.Options{})
	l := newLedger()
	for round := range rounds {
		conn := n.Conn(t)
		if round == 0 {
			grantForEver(t, pb.NewLeaseClient(conn), pb.NewKVClient(conn), l)
		}
		stop := make(chan struct{})
		var group sync.WaitGroup
		for w := range crashWriters {
			wr := &writer{id: w, round: round, rng: rand.New(rand.NewPCG(seed, uint64(round*100+w))), kv: pb.NewKVClient(conn), ledger: l}
			group.Go(func() { wr.run(stop) })
		}
		<-time.After(time.Duration(rng.Int64N(int64(crashKill))))
		n.Kill9(t)
		close(stop)
		group.Wait()
		_ = conn.Close()
		if rng.IntN(5) == 0 {
			// A second kill falls into the recovery from the first.
			n.Launch(t)
			<-time.After(time.Duration(rng.Int64N(int64(crashKill))))
			n.Kill9(t)
		}
		n.Restart(t)
		compact := round%10 == 9
		l.check(t, n, compact)
		if t.Failed() {
			t.Fatalf("round %d of %s=%d", round, crashSeedEnv, seed)
		}
	}
	l.checkAll(t, n)
	t.Logf("%d rounds, %d revisions, %d acknowledged writes", rounds, l.seenTo, l.total)
}

// writer writes until the server is gone. What it writes depends on its seed alone.
type writer struct {
	id, round int
	rng       *rand.Rand
	kv        pb.KVClient
	ledger    *ledger
	mine      []string // keys it has put and not deleted
}

func (w *writer) run(stop <-chan struct{}) {
	for seq := 0; ; seq++ {
		select {
		case <-stop:
			return
		default:
		}
		if !w.write(seq) {
			return
		}
	}
}

// write makes one change and records it when it is acknowledged; an error ends the round, its outcome is unknown.
func (w *writer) write(seq int) bool {
	ctx, cancel := context.WithTimeout(context.Background(), harness.CallLimit)
	defer cancel()
	key := fmt.Sprintf("w/%d/%d/%d", w.id, w.round, seq)
	value := bytes.Repeat([]byte(key), 1+w.rng.IntN(60))
	var rev int64
	var events []string
	switch kind := w.rng.IntN(10); {
	case kind == 0 && len(w.mine) > 0:
		key = w.mine[len(w.mine)-1]
		w.mine = w.mine[:len(w.mine)-1]
		resp, err := w.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte(key)})
		if err != nil {
			return false
		}
		rev, events = resp.Header.Revision, []string{"DELETE " + key}
	case kind == 1:
		var ops []*pb.RequestOp
		for i := range 3 {
			k := fmt.Sprintf("%s.%d", key, i)
			ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(k), Value: value}}})
			events = append(events, putEvent(k, value))
		}
		resp, err := w.kv.Txn(ctx, &pb.TxnRequest{Success: ops})
		if err != nil {
			return false
		}
		rev = resp.Header.Revision
	default:
		if kind == 2 || kind == 3 {
			key = fmt.Sprintf("hot/%d", w.rng.IntN(3))
		}
		resp, err := w.kv.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: value})
		if err != nil {
			return false
		}
		rev, events = resp.Header.Revision, []string{putEvent(key, value)}
		if kind > 3 {
			w.mine = append(w.mine, key)
		}
	}
	w.ledger.acknowledge(rev, strings.Join(events, ", "))
	return true
}

func putEvent(key string, value []byte) string {
	return fmt.Sprintf("PUT %s %d bytes %08x", key, len(value), crc32.ChecksumIEEE(value))
}

// ledger holds what was acknowledged and what was seen.
type ledger struct {
	mu    sync.Mutex
	acked map[int64]string // revision to its events, of writes not yet checked
	total int

	seen    map[int64]string // revision to its events, as read from history
	seenTo  int64            // the newest revision read
	oldest  int64            // the oldest revision that history still holds
	state   map[string]*mvccpb.KeyValue
	lease   int64
	leaseAt int64 // revision of the key on the lease
}

const leasedKey = "leased"

func newLedger() *ledger {
	return &ledger{
		acked: map[int64]string{}, seen: map[int64]string{}, seenTo: 1, oldest: 2, state: map[string]*mvccpb.KeyValue{},
	}
}

func (l *ledger) acknowledge(rev int64, events string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if before, twice := l.acked[rev]; twice {
		events = before + " and also " + events
	}
	l.acked[rev] = events
	l.total++
}

func grantForEver(t *testing.T, lease pb.LeaseClient, kv pb.KVClient, l *ledger) {
	t.Helper()
	grant, err := lease.LeaseGrant(harness.Ctx(t), &pb.LeaseGrantRequest{TTL: 3600})
	if err != nil {
		t.Fatal(err)
	}
	put, err := kv.Put(harness.Ctx(t), &pb.PutRequest{Key: []byte(leasedKey), Lease: grant.ID})
	if err != nil {
		t.Fatal(err)
	}
	l.lease, l.leaseAt = grant.ID, put.Header.Revision
	l.acknowledge(put.Header.Revision, putEvent(leasedKey, nil))
}

// check reads the history since the last check and compares it with what was acknowledged.
func (l *ledger) check(t *testing.T, n *harness.Node, compact bool) {
	t.Helper()
	conn := n.Conn(t)
	defer conn.Close()
	kv := pb.NewKVClient(conn)
	now := currentRevision(t, kv)
	for rev, events := range history(t, n, l.seenTo+1, now, l.state) {
		l.seen[rev] = events
	}
	for rev := l.seenTo + 1; rev <= now; rev++ {
		if l.seen[rev] == "" {
			t.Errorf("revision %d is missing", rev)
		}
	}
	for rev, want := range l.acked {
		if got := l.seen[rev]; got != want {
			t.Errorf("revision %d holds %q, acknowledged was %q; the store is at %d", rev, got, want, now)
		}
	}
	l.acked = map[int64]string{}
	l.seenTo = now

	ttl, err := pb.NewLeaseClient(conn).LeaseTimeToLive(harness.Ctx(t), &pb.LeaseTimeToLiveRequest{ID: l.lease, Keys: true})
	if err != nil || ttl.TTL <= 0 || len(ttl.Keys) != 1 || string(ttl.Keys[0]) != leasedKey {
		t.Errorf("the lease is %v, %v", ttl, err)
	}
	if compact && now > l.oldest+10 {
		rev := l.oldest + (now-l.oldest)/2
		if _, err := kv.Compact(harness.Ctx(t), &pb.CompactionRequest{Revision: rev}); err != nil {
			t.Errorf("compact at %d: %v", rev, err)
		}
		l.oldest = rev + 1
	}
}

// checkAll reads the whole history and all keys once more.
func (l *ledger) checkAll(t *testing.T, n *harness.Node) {
	t.Helper()
	again := history(t, n, l.oldest, l.seenTo, map[string]*mvccpb.KeyValue{})
	for rev := l.oldest; rev <= l.seenTo; rev++ {
		if again[rev] != l.seen[rev] {
			t.Errorf("revision %d was %q and is now %q", rev, l.seen[rev], again[rev])
		}
	}
	all, err := pb.NewKVClient(n.Conn(t)).Range(harness.CtxFor(t, 30*time.Second), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Kvs) != len(l.state) || all.Count != int64(len(l.state)) {
		t.Errorf("%d keys, count %d; history leaves %d", len(all.Kvs), all.Count, len(l.state))
	}
	for _, kv := range all.Kvs {
		want := l.state[string(kv.Key)]
		if want == nil || !proto.Equal(kv, want) {
			t.Errorf("the key is %v, history leaves %v", kv, want)
		}
	}
}

func currentRevision(t *testing.T, kv pb.KVClient) int64 {
	t.Helper()
	resp, err := kv.Range(harness.Ctx(t), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, CountOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

// history reads all events of the given revisions with one watch, checks their order, and plays them into state.
func history(t *testing.T, n *harness.Node, from, to int64, state map[string]*mvccpb.KeyValue) map[int64]string {
	t.Helper()
	got := map[int64]string{}
	if from > to {
		return got
	}
	w := harness.OpenWatch(t, n.WatchClient(t))
	w.Create(t, &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: from})
	for last := from - 1; last < to; {
		resp, err := w.Next(harness.ArriveLimit)
		if err != nil || resp.Canceled {
			t.Fatalf("history from %d broke off at %d of %d: %v, %v", from, last, to, resp, err)
		}
		for _, ev := range resp.Events {
			rev := ev.Kv.ModRevision
			if rev < last || rev > last+1 {
				t.Errorf("revision %d follows %d", rev, last)
			}
			last = rev
			text := "DELETE " + string(ev.Kv.Key)
			delete(state, string(ev.Kv.Key))
			if ev.Type == mvccpb.PUT {
				text = putEvent(string(ev.Kv.Key), ev.Kv.Value)
				state[string(ev.Kv.Key)] = ev.Kv
			}
			if got[rev] != "" {
				text = got[rev] + ", " + text
			}
			got[rev] = text
		}
	}
	return got
}

// TestLeasesKeepTheirPromiseOverAKill gives a lease of 4 s, kills the server after 1 s and looks when the key goes.
func TestLeasesKeepTheirPromiseOverAKill(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	conn := n.Conn(t)
	lease, kv := pb.NewLeaseClient(conn), pb.NewKVClient(conn)
	grant, err := lease.LeaseGrant(harness.Ctx(t), &pb.LeaseGrantRequest{TTL: 4})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(harness.Ctx(t), &pb.PutRequest{Key: []byte(leasedKey), Lease: grant.ID}); err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Second)
	alive, err := lease.LeaseKeepAlive(harness.Ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := alive.Send(&pb.LeaseKeepAliveRequest{ID: grant.ID}); err != nil {
		t.Fatal(err)
	}
	promised := time.Now()
	if r, err := alive.Recv(); err != nil || r.TTL != 4 {
		t.Fatalf("keepalive: %v, %v", r, err)
	}
	n.Kill9(t)
	n.Restart(t)
	restarted := time.Now()
	kv = pb.NewKVClient(n.Conn(t))
	harness.Eventually(t, 15*time.Second, "the end of the lease", func() error {
		asked := time.Now()
		r, err := kv.Range(harness.Ctx(t), &pb.RangeRequest{Key: []byte(leasedKey)})
		if err != nil {
			return err
		}
		if r.Count > 0 {
			return fmt.Errorf("the key is there %v after the restart", time.Since(restarted))
		}
		if kept := asked.Sub(promised); kept < 4*time.Second {
			t.Errorf("the key went after %v, promised were 4 s", kept)
		}
		return nil
	})
}
