package snapshot

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"

	"go.etcd.io/etcd/api/v3/authpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/etcdfile"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/state"
)

// Versions are what a file says of those who wrote it.
type Versions struct {
	Cluster string // of the cluster, such as "3.7.0"
	Storage string // of the file, such as "3.7.0"
}

// Buckets of etcd's database.
const (
	bucketAlarm    = "alarm"
	bucketAuth     = "auth"
	bucketRoles    = "authRoles"
	bucketUsers    = "authUsers"
	bucketCluster  = "cluster"
	bucketKey      = "key"
	bucketLease    = "lease"
	bucketMembers  = "members"
	bucketRemoved  = "members_removed"
	bucketMeta     = "meta"
	metaConsistent = "consistent_index"
	metaTerm       = "term"
	metaStorage    = "storageVersion"
	metaConfState  = "confState"
	metaScheduled  = "scheduledCompactRev"
	metaFinished   = "finishedCompactRev"
	clusterVersion = "clusterVersion"
	clusterBack    = "downgrade"
	authEnabled    = "authEnabled"
	authRevision   = "authRevision"
	leaseID        = 1 // fields of etcd's lease message
	leaseTTL       = 2
	leaseRemaining = 3
	memberIDBase   = 16
)

// table is a bucket whose rows are in memory.
type table struct {
	name string
	rows []etcdfile.Row
}

func (t *table) add(key string, value []byte) {
	t.rows = append(t.rows, etcdfile.Row{Key: []byte(key), Value: value})
}

// tables are all buckets but the one of the keys.
func tables(s *state.Snapshot, v Versions) ([]table, error) {
	meta, err := metaTable(s, v)
	if err != nil {
		return nil, err
	}
	cluster, err := clusterTable(s, v)
	if err != nil {
		return nil, err
	}
	members, err := memberTable(s.Members)
	if err != nil {
		return nil, err
	}
	alarms := table{name: bucketAlarm}
	for _, a := range s.Alarms {
		key, err := proto.Marshal(a)
		if err != nil {
			return nil, fmt.Errorf("encode an alarm: %w", err)
		}
		alarms.add(string(key), nil)
	}
	users, roles, err := peopleTables(s.Auth)
	if err != nil {
		return nil, err
	}
	return []table{meta, cluster, members, {name: bucketRemoved}, alarms, authTable(s.Auth), users, roles, leaseTable(s.Leases)}, nil
}

func metaTable(s *state.Snapshot, v Versions) (table, error) {
	t := table{name: bucketMeta}
	t.add(metaConsistent, binary.BigEndian.AppendUint64(nil, s.Applied.Index))
	t.add(metaTerm, binary.BigEndian.AppendUint64(nil, s.Applied.Term))
	t.add(metaStorage, []byte(v.Storage))
	conf, err := json.Marshal(s.ConfState)
	if err != nil {
		return table{}, fmt.Errorf("encode the voters: %w", err)
	}
	t.add(metaConfState, conf)
	for name, rev := range map[string]mvcc.Rev{metaScheduled: s.KV.Compact, metaFinished: s.KV.Swept} {
		if rev > 0 {
			at := mvcc.Row{Pos: mvcc.Pos{Rev: rev}}
			t.add(name, at.AppendRawKey(nil))
		}
	}
	return t, nil
}

func clusterTable(s *state.Snapshot, v Versions) (table, error) {
	t := table{name: bucketCluster}
	t.add(clusterVersion, []byte(v.Cluster))
	if s.Downgrade == "" {
		return t, nil
	}
	row, err := json.Marshal(struct {
		Target  string `json:"target-version"`
		Enabled bool   `json:"enabled"`
	}{s.Downgrade, true})
	if err != nil {
		return table{}, fmt.Errorf("encode the downgrade: %w", err)
	}
	t.add(clusterBack, row)
	return t, nil
}

func memberTable(members []member.Member) (table, error) {
	t := table{name: bucketMembers}
	for _, m := range members {
		row, err := json.Marshal(struct {
			ID         uint64   `json:"id"`
			PeerURLs   []string `json:"peerURLs"`
			Learner    bool     `json:"isLearner,omitempty"`
			Name       string   `json:"name,omitempty"`
			ClientURLs []string `json:"clientURLs,omitempty"`
		}{uint64(m.ID), m.PeerURLs, m.Learner, m.Name, m.ClientURLs})
		if err != nil {
			return table{}, fmt.Errorf("encode a member: %w", err)
		}
		t.add(strconv.FormatUint(uint64(m.ID), memberIDBase), row)
	}
	return t, nil
}

func authTable(v *auth.View) table {
	t := table{name: bucketAuth}
	on := byte(0)
	if v.Enabled() {
		on = 1
	}
	t.add(authEnabled, []byte{on})
	t.add(authRevision, binary.BigEndian.AppendUint64(nil, v.Revision()))
	return t
}

func peopleTables(v *auth.View) (users, roles table, err error) {
	users.name, roles.name = bucketUsers, bucketRoles
	for _, name := range v.Users() {
		u, _ := v.User(name)
		row, err := proto.Marshal(&authpb.User{
			Name: []byte(u.Name), Password: u.Hash, Roles: u.Roles,
			Options: &authpb.UserAddOptions{NoPassword: u.NoPassword},
		})
		if err != nil {
			return users, roles, fmt.Errorf("encode a user: %w", err)
		}
		users.add(name, row)
	}
	for _, name := range v.Roles() {
		r, _ := v.Role(name)
		role := &authpb.Role{Name: []byte(r.Name)}
		for _, p := range r.Permissions {
			role.KeyPermission = append(role.KeyPermission, &authpb.Permission{PermType: permissionType(p), Key: p.Key, RangeEnd: p.End})
		}
		row, err := proto.Marshal(role)
		if err != nil {
			return users, roles, fmt.Errorf("encode a role: %w", err)
		}
		roles.add(name, row)
	}
	return users, roles, nil
}

func permissionType(p auth.Permission) authpb.Permission_Type {
	switch {
	case p.Read && p.Write:
		return authpb.READWRITE
	case p.Write:
		return authpb.WRITE
	}
	return authpb.READ
}

// leaseTable encodes leases by hand, because the message belongs to etcd's server and not to its API.
func leaseTable(leases []lease.Lease) table {
	t := table{name: bucketLease}
	for _, l := range leases {
		var row []byte
		for _, f := range []struct {
			field protowire.Number
			value int64
		}{{leaseID, int64(l.ID)}, {leaseTTL, l.TTL}, {leaseRemaining, l.Remaining}} {
			if f.value != 0 {
				row = protowire.AppendVarint(protowire.AppendTag(row, f.field, protowire.VarintType), uint64(f.value))
			}
		}
		t.add(string(binary.BigEndian.AppendUint64(nil, uint64(l.ID))), row)
	}
	return t
}
