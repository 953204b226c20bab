package replica

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/command"
)

// parcel is what came from another member at once.
type parcel struct {
	from     uint64
	messages []*raftpb.Message
}

// Receive takes in messages of another member that was admitted, and owns them from then on. It never waits; what
// raft makes of them happens in Run. What bounds them is what raft lets members have under way.
func (r *Replica) Receive(from uint64, messages []*raftpb.Message) {
	r.received.put(parcel{from, messages})
}

// do has f done by Run. It never waits.
func (r *Replica) do(f func()) { r.tasks.put(f) }

// receive hands what came from other members to raft.
func (r *Replica) receive() error {
	for _, p := range r.received.take() {
		if r.failover.silenced(p.from) {
			continue
		}
		for _, m := range p.messages {
			if m.GetFrom() != p.from || m.GetTo() != r.id {
				continue
			}
			if err := r.step(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// step hands one message of another member to raft. What raft does not want is dropped, as it may be lost anyway;
// an error means that this member cannot go on.
func (r *Replica) step(m *raftpb.Message) error {
	switch m.GetType() {
	case raftpb.MsgProp:
		r.takeForwarded(m)
		return nil
	case raftpb.MsgSnap:
		if !r.coveredByLog(m) {
			r.lag.offer(r, m)
			return nil
		}
	case raftpb.MsgApp:
		r.lag.goesOn()
	case raftpb.MsgHeartbeat:
		if err := r.checkHeartbeat(m); err != nil {
			return err
		}
	case raftpb.MsgReadIndex:
		if r.onlyVoter() && !r.inCharge {
			// Raft would answer with what it knows to be committed, which after a restart is less than what
			// was acknowledged. Who asks will ask again.
			return nil
		}
	case raftpb.MsgVote, raftpb.MsgPreVote:
		if r.bound(time.Now()) {
			return nil
		}
	case raftpb.MsgAppResp, raftpb.MsgVoteResp:
		r.remember(m)
	}
	if err := r.node.Step(m); err != nil {
		r.logger.Debug("a message of another member was dropped", "from", fmt.Sprintf("%x", m.GetFrom()), "type", m.GetType().String(), "why", err.Error())
	}
	return nil
}

// takeForwarded queues the proposals of another member among one's own. They carry the term whose leader they were
// meant for: nobody else may put them into the log, because who sent them gives them to the next leader by itself.
func (r *Replica) takeForwarded(m *raftpb.Message) {
	if s := r.node.BasicStatus(); s.Lead != r.id || s.HardState.GetTerm() != m.GetTerm() {
		return
	}
	for _, e := range m.GetEntries() {
		ok := true
		switch {
		case e.GetType() == raftpb.EntryConfChange:
			ok = r.changes.add(change{encoded: e.GetData()})
		case e.GetType() == raftpb.EntryNormal && len(e.GetData()) > 0:
			n, err := command.Count(e.GetData())
			if err != nil {
				r.logger.Warn("dropped proposals of another member: they cannot be read", "from", fmt.Sprintf("%x", m.GetFrom()), "error", err.Error())
				continue
			}
			ok = r.proposals.forward(forwarded{e.GetData(), n}, m.GetTerm())
		}
		if !ok {
			r.logger.Warn("dropped proposals of another member: too many wait here", "from", fmt.Sprintf("%x", m.GetFrom()))
		}
	}
}

// remember notes what a member's answer promises. Raft sends these two only when what they say is durable.
func (r *Replica) remember(m *raftpb.Message) {
	kept := uint64(0)
	if m.GetType() == raftpb.MsgAppResp && !m.GetReject() {
		kept = min(m.GetIndex(), r.status.Load().Commit)
	}
	r.memories.heard(m.GetFrom(), m.GetTerm(), kept)
}

// checkHeartbeat makes sure that this member holds what the leader knows it to hold. A leader tells a member no
// commit index above what that member has confirmed durably, so one beyond the log's end means that the data
// directory was changed for an older one.
func (r *Replica) checkHeartbeat(m *raftpb.Message) error {
	last, err := r.log.LastIndex()
	if err != nil {
		return fmt.Errorf("read the log's bounds: %w", err)
	}
	if m.GetTerm() < r.status.Load().Term || m.GetCommit() <= last {
		return nil
	}
	return fmt.Errorf("%w (the log ends at entry %d and this member had confirmed entry %d)", ErrForgotten, last, m.GetCommit())
}

// coveredByLog reports whether this member needs no copy of the state to get where a snapshot is: raft then
// answers the leader how far it is.
func (r *Replica) coveredByLog(m *raftpb.Message) bool {
	meta := m.GetSnapshot().GetMetadata()
	if meta.GetIndex() <= r.status.Load().Commit {
		return true
	}
	term, err := r.log.Term(meta.GetIndex())
	return err == nil && term == meta.GetTerm()
}

// Connected tells that the connections to a member stand, new ones. What was on its way on older ones is lost.
func (r *Replica) Connected(id uint64) {
	r.do(func() {
		r.acked.lost(id)
		r.node.ReportUnreachable(id)
		// If it was fetching a copy it has it now, or has to begin again; either way it says where it is.
		r.node.ReportSnapshot(id, raft.SnapshotFinish)
		r.failover.connected(r, id)
	})
}

// Lost tells that a member's connection broke. dead says that nobody listens at its address any more: its
// process has ended, as far as one can see from here.
func (r *Replica) Lost(id uint64, dead bool) {
	r.do(func() {
		r.node.ReportUnreachable(id)
		if dead {
			r.failover.died(r, id)
		}
	})
}

// deliverOutside sends what raft has for another member. Appends that are lost are reported, so that raft
// probes instead of flooding.
func (r *Replica) deliverOutside(m *raftpb.Message) {
	if r.office.muted && (m.GetType() == raftpb.MsgApp || m.GetType() == raftpb.MsgHeartbeat) {
		return
	}
	if m.GetType() == raftpb.MsgProp {
		m.Term = new(r.node.BasicStatus().HardState.GetTerm()) // see takeForwarded
	}
	if sent := r.send(m); !sent {
		switch m.GetType() {
		case raftpb.MsgApp:
			r.node.ReportUnreachable(m.GetTo())
		case raftpb.MsgHeartbeat:
			r.opts.Metrics.Server.HeartbeatFailures.Inc()
		}
	}
	if m.GetType() == raftpb.MsgSnap {
		r.lag.sent(m.GetTo())
	}
}

// stepOwn hands raft the answer of one of this member's own goroutines.
func (r *Replica) stepOwn(m *raftpb.Message) error {
	err := r.node.Step(m)
	if err != nil && !errors.Is(err, raft.ErrStepPeerNotFound) {
		return fmt.Errorf("step raft: %w", err)
	}
	return nil
}
