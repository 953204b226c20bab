package replica

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/state"
)

// RunApply applies committed entries until Run has ended. An error is final: this member can no longer do
// what the others do.
func (r *Replica) RunApply() error {
	for {
		for _, m := range r.applies.take() {
			r.work.begin(&r.work.apply)
			changes, err := r.apply(m.GetEntries())
			if err != nil {
				return err
			}
			r.work.end(&r.work.apply)
			r.answers.put(answer{changes: changes, messages: m.GetResponses()})
		}
		select {
		case <-r.applies.ready:
		case <-r.stopped:
			return nil
		}
	}
}

// settled is a proposal and its result, to be delivered once the result is visible.
type settled struct {
	proposal *proposal
	result   state.Result
}

// group is what becomes of entries that are applied together.
type group struct {
	done    []settled
	changes []*changed // of the membership
	after   []func()   // tell those who proposed them
}

// apply carries out entries as one group and then answers those who proposed them. It returns what Run has to tell
// raft about the membership.
func (r *Replica) apply(entries []*raftpb.Entry) ([]*changed, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	begun := time.Now()
	r.machine.Begin()
	var g group
	for _, e := range entries {
		if err := r.applyEntry(e, &g); err != nil {
			return nil, fmt.Errorf("apply entry %d: %w", e.GetIndex(), err)
		}
	}
	last := entries[len(entries)-1]
	before := r.machine.Applied().Term
	start := time.Now()
	if err := r.machine.Commit(state.Position{Index: last.GetIndex(), Term: last.GetTerm()}); err != nil {
		return nil, fmt.Errorf("apply entry %d: %w", last.GetIndex(), err)
	}
	ended := time.Now()
	r.opts.Metrics.Disk.BackendCommit.Observe(ended.Sub(start).Seconds())
	for _, s := range g.done {
		s.result.Took = s.proposal.took(begun, ended)
		s.proposal.done <- outcome{result: s.result}
	}
	for _, tell := range g.after {
		tell()
	}
	if last.GetTerm() > before {
		if n := r.proposals.revive(last.GetTerm()); n > 0 {
			r.logger.Info("requests that the last leader took with it are given to the next one", "requests", n, "term", last.GetTerm())
		}
	}
	r.count(r.machine.TakeCounts())
	return g.changes, nil
}

func (r *Replica) count(c state.Counts) {
	kv := r.opts.Metrics.MVCC
	kv.Puts.Add(c.Puts)
	kv.PutBytes.Add(c.PutBytes)
	kv.Deletes.Add(c.Deletes)
	kv.Ranges.Add(c.Ranges)
	kv.Txns.Add(c.Txns)
	r.opts.Metrics.Lease.Granted.Add(float64(c.LeasesGranted))
	r.opts.Metrics.Lease.Revoked.Add(float64(c.LeasesRevoked))
}

func (r *Replica) applyEntry(e *raftpb.Entry, g *group) error {
	switch e.GetType() {
	case raftpb.EntryNormal:
	case raftpb.EntryConfChange:
		c, tell, err := r.applyChange(e)
		if err != nil {
			return err
		}
		g.changes, g.after = append(g.changes, c), append(g.after, tell)
		return nil
	default:
		return fmt.Errorf("%s: this release does not change several members at once: the log was written by a newer one; start that one instead", e.GetType())
	}
	var failed error
	err := command.Split(e.GetData(), func(word command.Encoded) bool {
		one := r.proposals.settle(word)
		var op command.Op
		if one != nil {
			op = one.op
		} else if op, failed = word.Decode(); failed != nil {
			return false
		}
		var result state.Result
		if result, failed = r.applyOne(word.Plain(), op); failed != nil {
			return false
		}
		if one != nil {
			g.done = append(g.done, settled{one, result})
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return err
}

func (r *Replica) applyOne(kind command.Kind, op command.Op) (state.Result, error) {
	start := time.Now()
	result, err := r.machine.Apply(op)
	took := time.Since(start)
	r.applyTimings.byKind[kind].Observe(took, errors.Join(err, result.Err))
	if took >= r.opts.WarnApply {
		r.opts.Metrics.Server.SlowApply.Inc()
		r.logger.Warn("apply request took too long", "took", took.String(), "expected-duration", r.opts.WarnApply.String(), "request", fmt.Sprintf("%T", op))
	}
	return result, err
}

// applyTimings are the histograms of apply times, by kind of command.
type applyTimings struct {
	byKind [command.ReportDigest + 1]metrics.Outcomes
}

func newApplyTimings(m *metrics.Set) (t applyTimings) {
	for kind, name := range map[command.Kind]string{
		command.Put: "Put", command.DeleteRange: "DeleteRange", command.Txn: "Txn", command.Compact: "Compaction",
		command.GrantLease: "LeaseGrant", command.RevokeLeases: "LeaseRevoke",
		command.CheckpointLease: "LeaseCheckpoint", command.PublishMember: "ClusterMemberAttrSet",
		command.EnableAuth: "AuthEnable", command.DisableAuth: "AuthDisable",
		command.AddUser: "AuthUserAdd", command.DeleteUser: "AuthUserDelete", command.ChangePassword: "AuthUserChangePassword",
		command.GrantRole: "AuthUserGrantRole", command.RevokeRole: "AuthUserRevokeRole",
		command.AddRole: "AuthRoleAdd", command.DeleteRole: "AuthRoleDelete",
		command.GrantPermission: "AuthRoleGrantPermission", command.RevokePermission: "AuthRoleRevokePermission",
		command.RaiseAlarm: "Alarm", command.SetDowngrade: "DowngradeInfoSet",
		command.AnnounceMember: "ClusterMemberAttrSet", command.UpdateMember: "ClusterMemberUpdate", command.SetLevel: "ClusterVersionSet",
		command.MarkDigest: "DigestMark", command.ReportDigest: "DigestReport",
	} {
		t.byKind[kind] = m.Server.ApplyOutcomes(name)
	}
	return t
}
