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

// revoke ends leases, each with its keys in one revision. A client names one, which must exist; those that
// the clock found expired may have been revoked in the meantime.
func (m *Machine) revoke(r *command.LeaseRevoke) error {
	for _, id := range r.IDs {
		if _, ok := m.leases.Get(lease.ID(id)); !ok {
			if r.Expired {
				continue
			}
			return lease.ErrNotFound
		}
		tx := m.writer.NewTx()
		for _, key := range m.leases.Keys(lease.ID(id)) {
			if _, err := tx.Delete([]byte(key), nil); err != nil {
				return err
			}
		}
		tx.End()
		if err := m.leases.Revoke(m.batch, lease.ID(id)); err != nil {
			return err
		}
		m.counts.LeasesRevoked++
	}
	return nil
}
