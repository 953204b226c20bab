package rpc

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/lease"
)

func (h *house) grant(t *testing.T, id, ttl int64) *pb.LeaseGrantResponse {
	t.Helper()
	r, err := h.lease.LeaseGrant(context.Background(), &pb.LeaseGrantRequest{ID: id, TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLeasesLiveAtLeastAnElectionAndAHalf(t *testing.T) {
	for election, want := range map[time.Duration]int64{
		time.Second: 2, 100 * time.Millisecond: 1, 2 * time.Second: 3, 50 * time.Second: 75, 1500 * time.Millisecond: 3,
	} {
		if got := minLeaseSeconds(election); got != want {
			t.Errorf("election timeout %v: shortest lease %d s, want %d s", election, got, want)
		}
	}
	h := newHouse(t, nil)
	for i, tc := range [][2]int64{{0, 2}, {-5, 2}, {1, 2}, {2, 2}, {3, 3}, {lease.MaxTTL, lease.MaxTTL}} {
		if got := h.grant(t, int64(i+1), tc[0]).TTL; got != tc[1] {
			t.Errorf("asked for %d s, got %d s, want %d s", tc[0], got, tc[1])
		}
	}
}

func TestLeaseIDsAreDrawnUntilOneIsFree(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	first := h.grant(t, 0, 60)
	if first.ID <= 0 {
		t.Errorf("drew the ID %d", first.ID)
	}
	wantHeader(t, "grant", first.Header, 1)
	_, err := h.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: first.ID, TTL: 60})
	wantError(t, "a chosen ID that is taken", err, rpctypes.ErrGRPCLeaseExist)

	// A second server with the same seed draws the same numbers, and they are taken.
	twin := newHouse(t, nil)
	if id := twin.grant(t, 0, 60).ID; id != first.ID {
		t.Fatalf("the same seed drew %d and %d", first.ID, id)
	}
	l := leaseMethods(Deps{
		Replica: twin.replica, Machine: twin.deps.Machine, Clock: twin.clock, Metrics: twin.deps.Metrics,
		MemberID: houseMember, Limits: twin.deps.Limits,
	})
	grant := l.unary["LeaseGrant"].bind(twin.services.gate, "/etcdserverpb.Lease/LeaseGrant")
	out, err := grant(nil, ctx, func(in any) error { in.(*pb.LeaseGrantRequest).TTL = 60; return nil }, nil)
	if err != nil || out.(*pb.LeaseGrantResponse).ID == first.ID {
		t.Errorf("with the first ID taken: %v, %v", out, err)
	}
}

func TestRevokingALeaseDeletesItsKeys(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	h.grant(t, 7, 60)
	for _, k := range []string{"b", "a"} {
		if _, err := h.kv.Put(ctx, &pb.PutRequest{Key: []byte(k), Lease: 7}); err != nil {
			t.Fatal(err)
		}
	}
	revoked, err := h.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 7})
	if err != nil {
		t.Fatal(err)
	}
	wantHeader(t, "revoke", revoked.Header, 4)
	left, err := h.kv.Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if err != nil || left.Count != 0 {
		t.Errorf("%v, %v are left", left, err)
	}
	_, err = h.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 7})
	wantError(t, "second revoke", err, rpctypes.ErrGRPCLeaseNotFound)
}

func TestKeepAliveAnswersEveryRequest(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	h.grant(t, 7, 60)
	h.grant(t, 8, 90)
	h.grant(t, 9, 90)
	h.clock.set(9, -1)
	stream, err := h.lease.LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range [][2]int64{{7, 60}, {8, 90}, {99, 0}, {9, 0}, {7, 60}} {
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: tc[0]}); err != nil {
			t.Fatal(err)
		}
		got, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		wantHeader(t, "keepalive", got.Header, 1)
		if got.ID != tc[0] || got.TTL != tc[1] {
			t.Errorf("lease %d was answered with %d: %d s, want %d s", tc[0], got.ID, got.TTL, tc[1])
		}
	}
	h.clock.leading.Store(false)
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: 8}); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	wantError(t, "a member that does not lead", err, status.Error(codes.Unknown, "not a primary lessor"))
}

func TestKeepAliveEndsWithItsClient(t *testing.T) {
	h := newHouse(t, nil)
	stream, err := h.lease.LeaseKeepAlive(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("a stream whose client has nothing more to ask: %v", err)
	}
}

// TestALeaseIsDeadOnlyWhenTheLeaderSaysSo: after a restart a member serves before it leads, and its clock
// knows nothing yet.
func TestALeaseIsDeadOnlyWhenTheLeaderSaysSo(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	h.grant(t, 7, 60)
	h.clock.leading.Store(false)
	caughtUp := func() error {
		h.clock.leading.Store(true)
		return nil
	}
	h.replica.onBarrier.Store(&caughtUp)
	for name, ask := range map[string]func() (int64, error){
		"time to live": func() (int64, error) {
			r, err := h.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 7})
			return r.GetTTL(), err
		},
		"keepalive": func() (int64, error) { return h.keepAlive(7) },
	} {
		h.clock.leading.Store(false)
		if ttl, err := ask(); err != nil || ttl != 60 {
			t.Errorf("%s of a member that leads in a moment: %d, %v", name, ttl, err)
		}

		h.clock.leading.Store(false)
		h.replica.lead(0)
		go h.replica.lead(houseMember)
		if ttl, err := ask(); err != nil || ttl != 60 {
			t.Errorf("%s of a member that is elected in a moment: %d, %v", name, ttl, err)
		}
	}
	nothing := func() error { return nil }
	h.replica.onBarrier.Store(&nothing)
	h.clock.leading.Store(false)
	_, err := h.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 7})
	wantError(t, "a clock that does not come to count", err, rpctypes.ErrGRPCLeaderChanged)
}

// keepAlive renews a lease on a stream of its own.
func (h *house) keepAlive(id int64) (int64, error) {
	stream, err := h.lease.LeaseKeepAlive(context.Background())
	if err != nil {
		return 0, err
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
		return 0, err
	}
	r, err := stream.Recv()
	return r.GetTTL(), err
}

// stuckReplica never passes a barrier.
type stuckReplica struct{ *loneReplica }

func (r *stuckReplica) Barrier(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestTimeToLiveTellsWhatIsLeft(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	h.grant(t, 7, 60)
	h.clock.set(lease.ID(7), 41)
	for _, k := range []string{"b", "a"} {
		if _, err := h.kv.Put(ctx, &pb.PutRequest{Key: []byte(k), Lease: 7}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := h.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 7, Keys: true})
	if err != nil {
		t.Fatal(err)
	}
	wantHeader(t, "time to live", got.Header, 3)
	if got.ID != 7 || got.TTL != 41 || got.GrantedTTL != 60 || len(got.Keys) != 2 {
		t.Errorf("got %v", got)
	}
	got, err = h.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 99, Keys: true})
	if err != nil || got.ID != 99 || got.TTL != -1 || got.GrantedTTL != 0 || len(got.Keys) != 0 {
		t.Errorf("a lease that never was: %v, %v", got, err)
	}
}

func TestLeasesAreListedByWhenTheyEnd(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	for id, ttl := range map[int64]int64{1: 50, 2: 10, 3: 70, 4: 50} {
		h.grant(t, id, ttl)
	}
	h.clock.set(3, 5)
	list, err := h.lease.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var ids []int64
	for _, l := range list.Leases {
		ids = append(ids, l.ID)
	}
	if !slices.Equal(ids, []int64{3, 2, 1, 4}) {
		t.Errorf("got %v", ids)
	}
}
