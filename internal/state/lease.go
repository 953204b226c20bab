package state

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/lease"
)

func (m *Machine) grant(r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if err := m.leases.Grant(m.batch, lease.Lease{ID: lease.ID(r.ID), TTL: r.TTL}); err != nil {
		return nil, err
	}
	m.counts.LeasesGranted++
	return &pb.LeaseGrantResponse{ID: r.ID, TTL: r.TTL}, nil
}

// revoke ends leases, each with its keys in one revision. What a client names must exist, all of it before
// the first is ended; those that the clock found expired may have been revoked in the meantime.
func (m *Machine) revoke(r *command.LeaseRevoke) error {
	if !r.Expired {
		for _, id := range r.IDs {
			if _, ok := m.leases.Get(lease.ID(id)); !ok {
				return lease.ErrNotFound
			}
		}
	}
	for _, id := range r.IDs {
		if _, ok := m.leases.Get(lease.ID(id)); !ok {
			continue
		}
		tx := m.writer.NewTx()
		for _, key := range m.leases.Keys(lease.ID(id)) {
			if _, err := tx.Delete([]byte(key), nil); err != nil {
				return err
			}
			m.counts.Deletes++
		}
		tx.End()
		if err := m.leases.Revoke(m.batch, lease.ID(id)); err != nil {
			return err
		}
		m.counts.LeasesRevoked++
	}
	return nil
}
