package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/replica"
)

// node is the server as the HTTP door sees it.
type node struct{ s *Server }

// Leader implements web.Node.
func (n node) Leader() (id uint64, ok bool) {
	id = n.s.replica.Status().Leader
	return id, id != 0
}

// IsLearner implements web.Node.
func (n node) IsLearner() bool {
	members := n.s.data.machine.Members()
	local, _ := members.Get(members.Local())
	return local.Learner
}

// Alarms implements web.Node.
func (n node) Alarms() (names []string) {
	for _, a := range n.s.data.machine.Alarms() {
		names = append(names, a.Alarm.String())
	}
	return names
}

// ReadCheck implements web.Node.
func (n node) ReadCheck(ctx context.Context, serializable bool) error {
	if !serializable {
		if err := n.s.replica.Barrier(ctx); err != nil {
			return err
		}
	}
	if err := n.s.data.engine.Err(); err != nil {
		return err
	}
	if err := n.s.replica.Stalled(); err != nil {
		return err
	}
	view := n.s.data.machine.KV().View()
	defer view.Close()
	result, err := view.Range(ctx, mvcc.RangeQuery{Key: []byte{0}, End: []byte{0}, Limit: 1})
	if err != nil {
		return err
	}
	result.Release()
	return ctx.Err()
}

// RaftStatusJSON implements web.Node, in the form that etcd's raft gives its status.
func (n node) RaftStatusJSON() string {
	st := n.s.replica.Status()
	text, err := json.Marshal(map[string]any{
		"id": hex(st.ID), "term": st.Term, "commit": st.Commit, "applied": st.Applied,
		"lead": hex(st.Leader), "raftState": st.Role,
	})
	if err != nil {
		return "{}"
	}
	return string(text)
}

// ClusterVersion implements web.Node.
func (n node) ClusterVersion() string { return n.versionOr(clusterVersion) }

// StorageVersion implements web.Node.
func (n node) StorageVersion() string { return n.versionOr(storageVersion) }

// versionOr is the release that the cluster prepares to go back to, or else its own.
func (n node) versionOr(own string) string { return cmp.Or(n.s.data.machine.DowngradeTarget(), own) }

// leadership is the replica as the lease clock sees it.
type leadership struct{ *replica.Replica }

// Leading reports whether this member leads, and since which term. It leads once it has applied an entry of
// its own term: before, what earlier terms decided about leases may not be applied yet.
func (l leadership) Leading() (term uint64, ok bool) {
	st := l.Status()
	return st.Term, st.Leader == st.ID && l.Machine().Applied().Term == st.Term
}

// databaseBytes is what counts for the quota. There is nothing between the two figures that a defragmentation
// could win back, so they are one.
func (s *Server) databaseBytes() (total, inUse int64) {
	size := s.upkeep.quota.Size()
	return size, size
}

// observe tells the metrics where values are read that the rooms keep anyway.
func (s *Server) observe() {
	kv, r := s.data.machine.KV(), s.replica
	is := func(ok bool) float64 {
		if ok {
			return 1
		}
		return 0
	}
	s.metrics.Server.SetIdentity(uint64(s.data.machine.Members().Local()), config.APIVersion())
	s.metrics.Server.Quota.Set(float64(s.config.QuotaBackendBytes))
	for gate, on := range s.config.FeatureGates {
		s.metrics.Server.SetFeature(gate, config.FeatureStage(gate), on)
	}
	s.metrics.Observe(metrics.Sources{
		HasLeader:        func() float64 { return is(r.Status().Leader != 0) },
		IsLeader:         func() float64 { st := r.Status(); return is(st.Leader == st.ID) },
		IsLearner:        func() float64 { return is(node{s}.IsLearner()) },
		CommittedIndex:   func() float64 { return float64(r.Status().Commit) },
		AppliedIndex:     func() float64 { return float64(r.Status().Applied) },
		PendingProposals: func() float64 { return float64(r.Status().Pending) },
		Revision:         func() float64 { return float64(kv.Stats().Rev) },
		CompactRevision:  func() float64 { return float64(kv.Stats().CompactRev) },
		Keys:             func() float64 { return float64(kv.Stats().Keys) },
		DBSize:           func() float64 { total, _ := s.databaseBytes(); return float64(total) },
		DBSizeInUse:      func() float64 { _, used := s.databaseBytes(); return float64(used) },
		WatchStreams:     func() float64 { return float64(s.hub.Stats().Streams) },
		Watchers:         func() float64 { return float64(s.hub.Stats().Watchers) },
		SlowWatchers:     func() float64 { return float64(s.hub.Stats().Slow) },
		PendingEvents:    func() float64 { return float64(s.hub.Stats().Pending) },
		AuthRevision:     func() float64 { return float64(s.data.machine.Auth().View().Revision()) },
		DiskBytes:        func() float64 { return float64(s.data.engine.Stats().DiskBytes) },
		OpenReads:        func() float64 { return float64(kv.OpenReads()) },
		Alarms:           s.raised,
		ClusterVersion:   func() string { return strings.TrimSuffix(node{s}.ClusterVersion(), ".0") },
	})
}

// raised are the alarms as the metrics show them.
func (s *Server) raised() (list []metrics.Alarm) {
	for _, a := range s.data.machine.Alarms() {
		list = append(list, metrics.Alarm{Member: a.MemberID, Type: a.Alarm.String()})
	}
	return list
}

func hex(id uint64) string { return fmt.Sprintf("%x", id) }

func texts(urls []url.URL) []string {
	var list []string
	for _, u := range urls {
		list = append(list, u.String())
	}
	return list
}
