package frames

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// carried reports whether members send each other messages of a type. All others are raft talking to itself, and
// from outside they are refused.
func carried(t raftpb.MessageType) bool {
	switch t {
	case raftpb.MsgProp, raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgSnap,
		raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp, raftpb.MsgTransferLeader, raftpb.MsgTimeoutNow,
		raftpb.MsgReadIndex, raftpb.MsgReadIndexResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp:
		return true
	}
	return false
}

// check refuses messages that no raft sends and on which the one here would panic.
func check(m *raftpb.Message) error {
	if !carried(m.GetType()) {
		return fmt.Errorf("%w: message type %d does not travel", ErrMalformed, m.GetType())
	}
	t, entries := m.GetType(), m.GetEntries()
	// Raft takes a message without a term for one of its own, which this one is in a way.
	if alone := t == raftpb.MsgReadIndex; alone != (m.GetTerm() == 0) {
		return fmt.Errorf("%w: %s of term %d", ErrMalformed, t, m.GetTerm())
	}
	if (t == raftpb.MsgSnap) != (m.GetSnapshot().GetMetadata().GetIndex() > 0) {
		return fmt.Errorf("%w: %s and snapshot do not fit", ErrMalformed, t)
	}
	switch t {
	case raftpb.MsgApp:
		return checkAppend(m)
	case raftpb.MsgProp:
		if len(entries) == 0 {
			return fmt.Errorf("%w: %s proposes nothing", ErrMalformed, t)
		}
	case raftpb.MsgReadIndex, raftpb.MsgReadIndexResp:
		if len(entries) != 1 {
			return fmt.Errorf("%w: %s of %d entries", ErrMalformed, t, len(entries))
		}
	default:
		if len(entries) > 0 {
			return fmt.Errorf("%w: %s of %d entries", ErrMalformed, t, len(entries))
		}
	}
	for _, e := range entries {
		if e.GetType() > raftpb.EntryConfChangeV2 {
			return fmt.Errorf("%w: an entry of type %d", ErrMalformed, e.GetType())
		}
	}
	return nil
}

// checkAppend wants the entries of an append to continue each other and the message.
func checkAppend(m *raftpb.Message) error {
	term, index := m.GetLogTerm(), m.GetIndex()
	if index+uint64(len(m.GetEntries())) < index {
		return fmt.Errorf("%w: entries behind index %d", ErrMalformed, index)
	}
	for _, e := range m.GetEntries() {
		index++
		if e.GetIndex() != index || e.GetTerm() < term || e.GetTerm() > m.GetTerm() || e.GetType() > raftpb.EntryConfChangeV2 {
			return fmt.Errorf("%w: entry %d of term %d and type %d, where entry %d of terms %d to %d belongs", ErrMalformed,
				e.GetIndex(), e.GetTerm(), e.GetType(), index, term, m.GetTerm())
		}
		term = e.GetTerm()
	}
	return nil
}
