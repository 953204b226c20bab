package rpc

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/lock"
	"github.com/keelson-db/keelson/internal/lock/electionpb"
	"github.com/keelson-db/keelson/internal/lock/lockpb"
)

// recipes are the lock and election services over a house.
type recipes struct {
	*house
	*lock.Service
	t *testing.T
}

func newRecipes(t *testing.T) *recipes {
	t.Helper()
	h := newHouse(t, nil)
	r := &recipes{house: h, Service: lock.New(h.conn), t: t}
	for id := int64(1); id <= 20; id++ {
		if _, err := h.lease.LeaseGrant(t.Context(), &pb.LeaseGrantRequest{ID: id, TTL: 600}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// until waits for something that happens soon.
func (r *recipes) until(what string, ok func() bool) {
	r.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			r.t.Fatalf("never: %s", what)
		}
	}
}

// watchers waits until as many watchers exist: two for each who waits, one for each who observes.
func (r *recipes) watchers(n int) {
	r.t.Helper()
	r.until(fmt.Sprintf("%d watchers", n), func() bool { return r.deps.Hub.Stats().Watchers == n })
}

// quiet checks that nothing is left of the calls that have ended.
func (r *recipes) quiet() {
	r.t.Helper()
	r.until("no watch streams", func() bool { return r.deps.Hub.Stats().Streams == 0 })
}

// keys are the keys below a prefix, the oldest first.
func (r *recipes) keys(prefix string) string {
	r.t.Helper()
	got, err := r.kv.Range(r.t.Context(), &pb.RangeRequest{Key: []byte(prefix), RangeEnd: []byte(prefix + "\xff"), SortTarget: pb.RangeRequest_CREATE})
	if err != nil {
		r.t.Fatal(err)
	}
	var list []string
	for _, kv := range got.Kvs {
		list = append(list, string(kv.Key))
	}
	return strings.Join(list, " ")
}

func (r *recipes) revoke(id int64) {
	r.t.Helper()
	if _, err := r.lease.LeaseRevoke(r.t.Context(), &pb.LeaseRevokeRequest{ID: id}); err != nil {
		r.t.Fatal(err)
	}
}

// outcome is how a call ended: the key or value it answered with, or the error.
type outcome struct {
	text string
	code codes.Code
}

// lockLater begins to lock and gives the outcome when there is one.
func (r *recipes) lockLater(ctx context.Context, name string, lease int64) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		got, err := r.Lock(ctx, &lockpb.LockRequest{Name: []byte(name), Lease: lease})
		done <- result(string(got.GetKey()), err)
	}()
	return done
}

func (r *recipes) campaignLater(ctx context.Context, lease int64, value string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		got, err := r.Campaign(ctx, &electionpb.CampaignRequest{Name: []byte("e"), Lease: lease, Value: []byte(value)})
		done <- result(string(got.GetLeader().GetKey()), err)
	}()
	return done
}

func result(text string, err error) outcome {
	if err != nil {
		text = status.Convert(err).Message()
	}
	return outcome{text, status.Code(err)}
}

func (r *recipes) want(what string, got, want outcome) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s: %q (%s), want %q (%s)", what, got.text, got.code, want.text, want.code)
	}
}

func TestALockGoesFromOneToTheNextInTheOrderOfArrival(t *testing.T) {
	r := newRecipes(t)
	first, err := r.Lock(t.Context(), &lockpb.LockRequest{Name: []byte("n"), Lease: 0x0a})
	if err != nil || string(first.Key) != "n/a" || first.Header.GetRevision() != 2 {
		t.Fatalf("the first gets %v, %v", first, err)
	}
	again, err := r.Lock(t.Context(), &lockpb.LockRequest{Name: []byte("n"), Lease: 0x0a})
	if err != nil || string(again.Key) != "n/a" {
		t.Fatalf("who holds it asks again and gets %v, %v", again, err)
	}
	second := r.lockLater(t.Context(), "n", 3)
	r.watchers(2)
	third := r.lockLater(t.Context(), "n", 2)
	r.watchers(4)
	if keys := r.keys("n/"); keys != "n/a n/3 n/2" {
		t.Errorf("the row is %s", keys)
	}
	if _, err := r.Unlock(t.Context(), &lockpb.UnlockRequest{Key: first.Key}); err != nil {
		t.Fatal(err)
	}
	r.want("the second", <-second, outcome{"n/3", codes.OK})
	r.revoke(3)
	r.want("the third, after the lease of the second", <-third, outcome{"n/2", codes.OK})
	if _, err := r.Unlock(t.Context(), &lockpb.UnlockRequest{Key: []byte("n/nobody")}); err != nil {
		t.Errorf("what nobody holds is unlocked with %v", err)
	}
	r.quiet()
}

func TestANewLeaseIsDrawnForWhoNamesNone(t *testing.T) {
	r := newRecipes(t)
	got, err := r.Lock(t.Context(), &lockpb.LockRequest{Name: []byte("n")})
	if err != nil {
		t.Fatal(err)
	}
	var id int64
	if _, err := fmt.Sscanf(string(got.Key), "n/%x", &id); err != nil {
		t.Fatalf("the key is %q", got.Key)
	}
	lease, err := r.lease.LeaseTimeToLive(t.Context(), &pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
	if err != nil || lease.GrantedTTL != 60 || len(lease.Keys) != 1 {
		t.Errorf("the drawn lease is %v, %v", lease, err)
	}
}

func TestWhoWaitsWithoutALeaseOrACallerDoesNotStayInTheRow(t *testing.T) {
	r := newRecipes(t)
	_, err := r.Lock(t.Context(), &lockpb.LockRequest{Name: []byte("n"), Lease: 99})
	r.want("an unknown lease", result("", err), outcome{"etcdserver: requested lease not found", codes.Unknown})
	if _, err := r.Lock(t.Context(), &lockpb.LockRequest{Name: []byte("n"), Lease: 1}); err != nil {
		t.Fatal(err)
	}

	dying := r.lockLater(t.Context(), "n", 2)
	r.watchers(2)
	r.revoke(2)
	r.want("a lease that dies while waiting", <-dying, outcome{"mutex: session is expired", codes.Unknown})

	ctx, cancel := context.WithCancel(t.Context())
	leaving, drawn := r.lockLater(ctx, "n", 3), r.lockLater(ctx, "n", 0)
	r.watchers(4)
	cancel()
	r.want("a caller that goes away", <-leaving, outcome{"context canceled", codes.Canceled})
	r.want("a caller without a lease that goes away", <-drawn, outcome{"context canceled", codes.Canceled})
	if keys := r.keys("n/"); keys != "n/1" {
		t.Errorf("the row is %s", keys)
	}
	leases, err := r.lease.LeaseLeases(t.Context(), &pb.LeaseLeasesRequest{})
	if err != nil || len(leases.Leases) != 19 {
		t.Errorf("after a drawn lease was given back there are %d leases, want 19; %v", len(leases.GetLeases()), err)
	}

	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	r.want("a caller out of patience", <-r.lockLater(ctx, "n", 3), outcome{"context deadline exceeded", codes.DeadlineExceeded})
	if keys := r.keys("n/"); keys != "n/1" {
		t.Errorf("the row is %s", keys)
	}
	r.quiet()
}

func TestAKeyThatWasReplacedIsNoPlaceInTheRow(t *testing.T) {
	r := newRecipes(t)
	if _, err := r.Lock(t.Context(), &lockpb.LockRequest{Name: []byte("n"), Lease: 1}); err != nil {
		t.Fatal(err)
	}
	waiting := r.lockLater(t.Context(), "n", 2)
	r.watchers(2)
	// In one transaction the key goes and comes back and its predecessor goes: it looks alive and is another.
	del := func(key string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key)}}}
	}
	if _, err := r.kv.Txn(t.Context(), &pb.TxnRequest{Success: []*pb.RequestOp{del("n/1"), del("n/2")}}); err != nil {
		t.Fatal(err)
	}
	r.put(t, "n/2", "")
	r.want("the place", <-waiting, outcome{"mutex: session is expired", codes.Unknown})
	if keys := r.keys("n/"); keys != "n/2" {
		t.Errorf("what another wrote is gone: %q", keys)
	}
}

func TestWaitingSurvivesCompaction(t *testing.T) {
	r := newRecipes(t)
	if _, err := r.Lock(t.Context(), &lockpb.LockRequest{Name: []byte("n"), Lease: 1}); err != nil {
		t.Fatal(err)
	}
	waiting := r.lockLater(t.Context(), "n", 2)
	r.watchers(2)
	rev := r.put(t, "other", "").Header.GetRevision()
	if _, err := r.kv.Compact(t.Context(), &pb.CompactionRequest{Revision: rev}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Unlock(t.Context(), &lockpb.UnlockRequest{Key: []byte("n/1")}); err != nil {
		t.Fatal(err)
	}
	r.want("who waited", <-waiting, outcome{"n/2", codes.OK})
}

func TestAnElection(t *testing.T) {
	r := newRecipes(t)
	ctx := t.Context()
	_, err := r.Leader(ctx, &electionpb.LeaderRequest{Name: []byte("e")})
	r.want("nobody leads", result("", err), outcome{"election: no leader", codes.Unknown})

	first, err := r.Campaign(ctx, &electionpb.CampaignRequest{Name: []byte("e"), Lease: 1, Value: []byte("one")})
	if err != nil || string(first.Leader.Key) != "e/1" || string(first.Leader.Name) != "e" || first.Leader.Lease != 1 || first.Leader.Rev != 2 {
		t.Fatalf("the first is %v, %v", first, err)
	}
	second := r.campaignLater(ctx, 2, "two")
	r.watchers(2)
	if _, err := r.Proclaim(ctx, &electionpb.ProclaimRequest{Leader: first.Leader, Value: []byte("uno")}); err != nil {
		t.Fatal(err)
	}
	leader, err := r.Leader(ctx, &electionpb.LeaderRequest{Name: []byte("e")})
	if err != nil || string(leader.Kv.Value) != "uno" || leader.Kv.CreateRevision != 2 || leader.Kv.Lease != 1 {
		t.Errorf("the leader is %v, %v", leader, err)
	}
	if _, err := r.Campaign(ctx, &electionpb.CampaignRequest{Name: []byte("e"), Lease: 1, Value: []byte("eins")}); err != nil {
		t.Fatal(err)
	}
	if leader, err = r.Leader(ctx, &electionpb.LeaderRequest{Name: []byte("e")}); err != nil || string(leader.Kv.Value) != "eins" {
		t.Errorf("a leader who runs again shows %v, %v", leader, err)
	}
	if _, err := r.Resign(ctx, &electionpb.ResignRequest{Leader: first.Leader}); err != nil {
		t.Fatal(err)
	}
	r.want("the second", <-second, outcome{"e/2", codes.OK})
	_, err = r.Proclaim(ctx, &electionpb.ProclaimRequest{Leader: first.Leader, Value: []byte("x")})
	r.want("who leads no longer proclaims", result("", err), outcome{"election: not leader", codes.Unknown})
	if _, err := r.Resign(ctx, &electionpb.ResignRequest{Leader: first.Leader}); err != nil {
		t.Errorf("who leads no longer resigns with %v", err)
	}

	third := r.campaignLater(ctx, 3, "three")
	r.watchers(2)
	r.revoke(3)
	r.want("a candidate whose lease dies", <-third, outcome{"election: not leader", codes.Unknown})
	if keys := r.keys("e/"); keys != "e/2" {
		t.Errorf("the candidates are %s", keys)
	}
	r.quiet()
}

// news is an Observe call: what it sends.
type news struct {
	grpc.ServerStream
	ctx  context.Context
	said chan string
}

func (n *news) Context() context.Context { return n.ctx }

func (n *news) Send(m *electionpb.LeaderResponse) error {
	n.said <- fmt.Sprintf("%s=%s", m.Kv.Key, m.Kv.Value)
	return nil
}

func TestObserversHearOfEveryValueAndEveryLeader(t *testing.T) {
	r := newRecipes(t)
	ctx, cancel := context.WithCancel(t.Context())
	heard := &news{ctx: ctx, said: make(chan string)}
	over := make(chan error, 1)
	go func() { over <- r.Observe(&electionpb.LeaderRequest{Name: []byte("e")}, heard) }()
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-heard.said:
			if got != want {
				t.Errorf("heard %s, want %s", got, want)
			}
		case err := <-over:
			t.Fatalf("Observe ended with %v before %s", err, want)
		}
	}
	r.watchers(1) // it waits for somebody to lead
	r.put(t, "e0", "no candidate")
	first, err := r.Campaign(t.Context(), &electionpb.CampaignRequest{Name: []byte("e"), Lease: 1, Value: []byte("one")})
	if err != nil {
		t.Fatal(err)
	}
	expect("e/1=one")
	second := r.campaignLater(t.Context(), 2, "two")
	r.watchers(3)
	for _, value := range []string{"uno", "eins"} {
		if _, err := r.Proclaim(t.Context(), &electionpb.ProclaimRequest{Leader: first.Leader, Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
		expect("e/1=" + value)
	}
	r.revoke(1)
	expect("e/2=two")
	<-second
	r.revoke(2)
	r.watchers(1)
	third := r.campaignLater(t.Context(), 3, "three")
	expect("e/3=three")
	<-third
	cancel()
	if err := <-over; status.Code(err) != codes.Canceled {
		t.Errorf("an observer that goes away ends with %v", err)
	}
	r.quiet()
}
