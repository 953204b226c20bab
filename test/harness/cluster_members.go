package harness

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Add asks the cluster to take a new member, as a voter or as a learner, and prepares it; Start makes it join.
func (c *Cluster) Add(t testing.TB, learner bool) *Member {
	t.Helper()
	client := c.Client(t, c.voters()...)
	m := c.addPlace(t)
	url := []string{m.AdvertisedURL()}
	var all []*pb.Member
	// A cluster that has just lost or gained a member refuses the next change for a while.
	Eventually(t, SettleLimit, "add "+m.Name, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), CallLimit)
		defer cancel()
		add := client.MemberAdd
		if learner {
			add = client.MemberAddAsLearner
		}
		resp, err := add(ctx, url)
		if err == nil {
			all, m.ID = resp.Members, resp.Member.ID
			return nil
		}
		if !errors.Is(err, rpctypes.ErrPeerURLExist) {
			return err
		}
		// An attempt whose answer was lost has been done after all.
		list, err := client.MemberList(ctx)
		if err == nil {
			all = list.Members
		}
		return err
	})
	m.opt.InitialCluster = m.clusterAs(all)
	m.SetArgs("--initial-cluster-state", "existing")
	return m
}

// clusterAs spells a list of members as the flag wants it, with the new member's own name.
func (m *Member) clusterAs(all []*pb.Member) string {
	var parts []string
	for _, other := range all {
		name := other.Name
		if slices.Contains(other.PeerURLs, m.AdvertisedURL()) {
			name = m.Name
			m.ID = other.ID
		}
		for _, url := range other.PeerURLs {
			parts = append(parts, name+"="+url)
		}
	}
	return strings.Join(parts, ",")
}

// Remove asks the cluster to do without a member. Its process is left to end by itself.
func (c *Cluster) Remove(t testing.TB, m *Member) {
	t.Helper()
	m.removed = true
	client := c.Client(t, c.voters()...)
	c.change(t, "remove "+m.Name, func(ctx context.Context) error {
		_, err := client.MemberRemove(ctx, m.ID)
		if errors.Is(err, rpctypes.ErrMemberNotFound) {
			return nil // an attempt whose answer was lost
		}
		return err
	})
}

// Promote makes a learner a voter as soon as the cluster finds that it has caught up.
func (c *Cluster) Promote(t testing.TB, m *Member) {
	t.Helper()
	client := c.Client(t, c.voters()...)
	c.change(t, "promote "+m.Name, func(ctx context.Context) error {
		_, err := client.MemberPromote(ctx, m.ID)
		if errors.Is(err, rpctypes.ErrMemberNotLearner) {
			return nil // an attempt whose answer was lost
		}
		return err
	})
}

// change repeats a change of the membership until the cluster is ready for it.
func (c *Cluster) change(t testing.TB, what string, do func(context.Context) error) {
	t.Helper()
	Eventually(t, SettleLimit, what, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), CallLimit)
		defer cancel()
		return do(ctx)
	})
}

// MoveLeader hands leadership over to another member.
func (c *Cluster) MoveLeader(t testing.TB, to *Member) {
	t.Helper()
	c.change(t, "move the leadership to "+to.Name, func(ctx context.Context) error {
		leader := c.Leader(t)
		if leader == to {
			return nil
		}
		conn := leader.connection(t)
		_, err := pb.NewMaintenanceClient(conn).MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: to.ID})
		return err
	})
}

// MemberList asks for the members as the given member knows them.
func (c *Cluster) MemberList(t testing.TB, from *Member) []*pb.Member {
	t.Helper()
	list, err := c.Client(t, from).MemberList(Ctx(t))
	if err != nil {
		t.Fatalf("list the members: %v", err)
	}
	return list.Members
}

// voters are the running members that are not removed and serve clients in full, as far as the harness knows.
func (c *Cluster) voters() []*Member {
	var all []*Member
	for _, m := range c.Running() {
		if !m.removed {
			all = append(all, m)
		}
	}
	return all
}

// SameData checks, when nobody writes any more, that all given members hold the same keys and history.
func (c *Cluster) SameData(t testing.TB, members ...*Member) {
	t.Helper()
	var first *pb.HashKVResponse
	for _, m := range members {
		client := pb.NewMaintenanceClient(m.connection(t))
		rev := int64(0)
		if first != nil {
			rev = first.HashRevision
		}
		resp, err := client.HashKV(Ctx(t), &pb.HashKVRequest{Revision: rev})
		switch {
		case err != nil:
			t.Errorf("hash of %s: %v", m.Name, err)
		case first == nil:
			first = resp
		case resp.Hash != first.Hash || resp.CompactRevision != first.CompactRevision:
			t.Errorf("at revision %d %s holds other data: hash %d compacted at %d, %s has hash %d compacted at %d",
				rev, m.Name, resp.Hash, resp.CompactRevision, members[0].Name, first.Hash, first.CompactRevision)
		}
	}
}
