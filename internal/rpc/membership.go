package rpc

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Membership changes who is in the cluster by the same rules as for clients. Whether somebody may ask for that is
// decided by whoever calls.
type Membership struct{ server *clusterServer }

// NewMembership builds it from the same Deps as the services.
func NewMembership(d Deps) *Membership { return &Membership{newClusterServer(d.complete())} }

// AddLearner takes in a learner and returns its ID.
func (m *Membership) AddLearner(ctx context.Context, addresses []string) (uint64, error) {
	urls, err := peerURLs(addresses)
	if err != nil {
		return 0, rpctypes.ErrGRPCMemberBadURLs
	}
	id, _, err := m.server.add(ctx, urls, true)
	return id, err
}

// Remove takes a member out.
func (m *Membership) Remove(ctx context.Context, id uint64) error {
	_, err := m.server.remove(ctx, id)
	return err
}

// Promote makes a voter of a learner; the leader judges whether it is ready.
func (m *Membership) Promote(ctx context.Context, id uint64) error {
	_, err := m.server.promote(ctx, id)
	return err
}
