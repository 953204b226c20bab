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
			if err := r.apply(m.GetEntries()); err != nil {
				return err
			}
			r.answers.put(answer{messages: m.GetResponses()})
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

// apply carries out entries as one group and then answers those who proposed them.
func (r *Replica) apply(entries []*raftpb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	begun := time.Now()
	r.machine.Begin()
	var done []settled
	var err error
	for _, e := range entries {
		if done, err = r.applyEntry(e, done); err != nil {
			return fmt.Errorf("apply entry %d: %w", e.GetIndex(), err)
		}
	}
	last := entries[len(entries)-1]
	start := time.Now()
	if err := r.machine.Commit(state.Position{Index: last.GetIndex(), Term: last.GetTerm()}); err != nil {
		return fmt.Errorf("apply entry %d: %w", last.GetIndex(), err)
	}
	ended := time.Now()
	r.opts.Metrics.Disk.BackendCommit.Observe(ended.Sub(start).Seconds())
	for _, s := range done {
		s.result.Took = s.proposal.took(begun, ended)
		s.proposal.done <- outcome{result: s.result}
	}
	r.count(r.machine.TakeCounts())
	return nil
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

func (r *Replica) applyEntry(e *raftpb.Entry, done []settled) ([]settled, error) {
	if e.GetType() != raftpb.EntryNormal {
		return done, fmt.Errorf("%s: this release does not change the membership: the log was written by a newer one; start that one instead", e.GetType())
	}
	var failed error
	err := command.Split(e.GetData(), func(word command.Encoded) bool {
		one := r.proposals.take(word.ID)
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
			done = append(done, settled{one, result})
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return done, err
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
	byKind [command.SetDowngrade + 1]metrics.Outcomes
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
	} {
		t.byKind[kind] = m.Server.ApplyOutcomes(name)
	}
	return t
}
