package cluster

import (
	"context"
	"slices"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/test/harness"
)

// services are a member's services, by calls whose errors are all that counts.
type services struct {
	t    *testing.T
	conn *grpc.ClientConn
}

func servicesOf(t *testing.T, m *harness.Member) services {
	t.Helper()
	return services{t, m.Conn(t)}
}

func (s services) add(url string, learner bool) error {
	_, err := pb.NewClusterClient(s.conn).MemberAdd(harness.Ctx(s.t), &pb.MemberAddRequest{PeerURLs: []string{url}, IsLearner: learner})
	return err
}

func (s services) promote(id uint64) error {
	_, err := pb.NewClusterClient(s.conn).MemberPromote(harness.Ctx(s.t), &pb.MemberPromoteRequest{ID: id})
	return err
}

func (s services) remove(id uint64) error {
	_, err := pb.NewClusterClient(s.conn).MemberRemove(harness.Ctx(s.t), &pb.MemberRemoveRequest{ID: id})
	return err
}

func (s services) list(linearizable bool) error {
	_, err := pb.NewClusterClient(s.conn).MemberList(harness.Ctx(s.t), &pb.MemberListRequest{Linearizable: linearizable})
	return err
}

func (s services) move(id uint64) error {
	_, err := pb.NewMaintenanceClient(s.conn).MoveLeader(harness.Ctx(s.t), &pb.MoveLeaderRequest{TargetID: id})
	return err
}

func (s services) read(ctx context.Context, serializable bool) error {
	_, err := pb.NewKVClient(s.conn).Range(ctx, &pb.RangeRequest{Key: []byte("a"), Serializable: serializable})
	return err
}

func (s services) timeToLive(id int64) (*pb.LeaseTimeToLiveResponse, error) {
	return pb.NewLeaseClient(s.conn).LeaseTimeToLive(harness.Ctx(s.t), &pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
}

func (s services) keepAlive(id int64) (*pb.LeaseKeepAliveResponse, error) {
	stream, err := pb.NewLeaseClient(s.conn).LeaseKeepAlive(harness.Ctx(s.t))
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
		return nil, err
	}
	return stream.Recv()
}

func wantAnswer(t *testing.T, what string, err, want error) {
	t.Helper()
	if status.Convert(err).String() != status.Convert(want).String() {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// TestEveryMemberAnswersAlike asks for changes of the members, hand-overs and leases, at members of every kind.
func TestEveryMemberAnswersAlike(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: quick()})
	leader, follower := c.Leader(t), c.Followers(t)[0]
	first, second := servicesOf(t, leader), servicesOf(t, follower)
	learner := c.Add(t, true)
	for name, at := range map[string]services{"the leader": first, "a follower": second} {
		wantAnswer(t, "promote one that has not started at "+name, at.promote(learner.ID), rpctypes.ErrGRPCLearnerNotReady)
		wantAnswer(t, "promote nobody at "+name, at.promote(404), rpctypes.ErrGRPCMemberNotFound)
		wantAnswer(t, "promote the leader at "+name, at.promote(leader.ID), rpctypes.ErrGRPCMemberNotLearner)
		wantAnswer(t, "promote a follower at "+name, at.promote(follower.ID), rpctypes.ErrGRPCMemberNotLearner)
		wantAnswer(t, "a second learner at "+name, at.add("http://127.0.0.1:1", true), rpctypes.ErrGRPCTooManyLearners)
		wantAnswer(t, "a known URL at "+name, at.add(follower.AdvertisedURL(), false), rpctypes.ErrGRPCPeerURLExist)
		wantAnswer(t, "no URL at "+name, at.add("nonsense", false), rpctypes.ErrGRPCMemberBadURLs)
		wantAnswer(t, "remove nobody at "+name, at.remove(404), rpctypes.ErrGRPCMemberNotFound)
		wantAnswer(t, "list at "+name, at.list(true), nil)
	}
	wantAnswer(t, "hand over to a learner", first.move(learner.ID), rpctypes.ErrGRPCBadLeaderTransferee)
	wantAnswer(t, "hand over to nobody", first.move(404), rpctypes.ErrGRPCBadLeaderTransferee)
	wantAnswer(t, "hand over to itself", first.move(leader.ID), nil)
	wantAnswer(t, "a follower hands over", second.move(follower.ID), rpctypes.ErrGRPCNotLeader)
	c.Start(t, learner)
	askLearner(t, servicesOf(t, learner))
	askAboutLeases(t, first, second)
	// The follower asks the leader, and shows what became of it.
	c.Promote(t, learner)
	wantAnswer(t, "promote once more", second.promote(learner.ID), rpctypes.ErrGRPCMemberNotLearner)
	wantAnswer(t, "hand over to who was a learner", first.move(learner.ID), nil)
	wantAnswer(t, "hand over again", first.move(follower.ID), rpctypes.ErrGRPCNotLeader)
}

// askLearner asks a learner for what it answers and for what it does not.
func askLearner(t *testing.T, at services) {
	t.Helper()
	ctx, no := harness.Ctx(t), rpctypes.ErrGRPCNotSupportedForLearner
	wantAnswer(t, "serializable range", at.read(ctx, true), nil)
	wantAnswer(t, "range", at.read(ctx, false), no)
	wantAnswer(t, "member list", at.list(false), no)
	wantAnswer(t, "hand over", at.move(404), no)
	_, err := at.timeToLive(1)
	wantAnswer(t, "time to live", err, no)
	_, err = at.keepAlive(1)
	wantAnswer(t, "keepalive", err, no)
	_, err = healthpb.NewHealthClient(at.conn).Check(ctx, &healthpb.HealthCheckRequest{})
	wantAnswer(t, "health", err, no)
	_, err = pb.NewMaintenanceClient(at.conn).Alarm(ctx, &pb.AlarmRequest{})
	wantAnswer(t, "alarm", err, no)
	if s, err := pb.NewMaintenanceClient(at.conn).Status(ctx, &pb.StatusRequest{}); err != nil || !s.IsLearner || s.Leader == 0 {
		t.Errorf("status: %v, %v", s, err)
	}
	snapshot, err := pb.NewMaintenanceClient(at.conn).Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = snapshot.Recv()
	wantAnswer(t, "snapshot", err, nil)
	watch, err := pb.NewWatchClient(at.conn).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = watch.Recv()
	wantAnswer(t, "watch", err, no)
}

// askAboutLeases grants at one member and asks at both, at once: what one has answered the other knows.
func askAboutLeases(t *testing.T, first, second services) {
	t.Helper()
	members := []services{first, second}
	for round := range 20 {
		at, id := members[round%2], int64(1000+round)
		if _, err := pb.NewLeaseClient(at.conn).LeaseGrant(harness.Ctx(t), &pb.LeaseGrantRequest{ID: id, TTL: 60}); err != nil {
			t.Fatal(err)
		}
		if _, err := pb.NewKVClient(at.conn).Put(harness.Ctx(t), &pb.PutRequest{Key: []byte("leased"), Lease: id}); err != nil {
			t.Fatal(err)
		}
		for _, asked := range slices.Backward(members) {
			if r, err := asked.timeToLive(id); err != nil || r.TTL < 50 || r.GrantedTTL != 60 || len(r.Keys) != 1 {
				t.Errorf("time to live of lease %d: %v, %v", id, r, err)
			}
			if r, err := asked.keepAlive(id); err != nil || r.TTL != 60 {
				t.Errorf("keepalive of lease %d: %v, %v", id, r, err)
			}
			if r, err := asked.timeToLive(404); err != nil || r.TTL != -1 || r.GrantedTTL != 0 {
				t.Errorf("time to live of no lease: %v, %v", r, err)
			}
			if r, err := asked.keepAlive(404); err != nil || r.TTL != 0 {
				t.Errorf("keepalive of no lease: %v, %v", r, err)
			}
		}
	}
}

// TestAMemberAloneSaysSo asks a member that has lost the others.
func TestAMemberAloneSaysSo(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: quick()})
	alone, others := c.Members[0], c.Members[1:]
	at := servicesOf(t, alone)
	for _, m := range others {
		m.Kill9(t)
	}
	harness.Eventually(t, harness.SettleLimit, "no leader", func() error {
		s, err := alone.Status(t)
		if err == nil && s.Leader != 0 {
			err = rpctypes.ErrGRPCLeaderChanged
		}
		if err == nil && !slices.Contains(s.Errors, rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader)) {
			t.Errorf("a status without a leader says %q", s.Errors)
		}
		return err
	})
	wantsLeader := metadata.AppendToOutgoingContext(harness.Ctx(t), rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	var questions sync.WaitGroup
	// Only one of them needs a quorum to read: etcd keeps a second one waiting for the first.
	for what, q := range map[string]struct {
		ask  func() error
		want error
	}{
		"serializable range":                 {func() error { return at.read(harness.Ctx(t), true) }, nil},
		"serializable range, wants a leader": {func() error { return at.read(wantsLeader, true) }, rpctypes.ErrGRPCNoLeader},
		"range":                              {func() error { return at.read(harness.Ctx(t), false) }, rpctypes.ErrGRPCTimeout},
		"member list":                        {func() error { return at.list(false) }, nil},
		"hand over":                          {func() error { return at.move(others[0].ID) }, rpctypes.ErrGRPCNotLeader},
		"add":                                {func() error { return at.add("http://127.0.0.1:1", false) }, rpctypes.ErrGRPCUnhealthy},
		"add a learner":                      {func() error { return at.add("http://127.0.0.1:2", true) }, rpctypes.ErrGRPCUnhealthy},
		"remove itself":                      {func() error { return at.remove(alone.ID) }, rpctypes.ErrGRPCUnhealthy},
		"promote":                            {func() error { return at.promote(others[0].ID) }, rpctypes.ErrGRPCNoLeader},
		"time to live":                       {func() error { _, err := at.timeToLive(1); return err }, rpctypes.ErrGRPCNoLeader},
		"keepalive":                          {func() error { _, err := at.keepAlive(1); return err }, rpctypes.ErrGRPCNoLeader},
	} {
		questions.Go(func() { wantAnswer(t, what, q.ask(), q.want) })
	}
	questions.Wait()
}
