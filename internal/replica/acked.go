package replica

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// acked is what this member has acknowledged last, and to whom. Run owns it.
//
// A leader tells the others that an entry is committed, and raft has each of them answer. That answer says nothing that the
// acknowledgement of the entry did not say; so it is not given, and neither the log's goroutine nor the leader is woken
// for it. A leader that missed the acknowledgement asks again at a heartbeat, with no news then, and is answered.
type acked struct {
	leader, term, index uint64
	vote                uint64 // with term, the hard state that is written
}

// lost notes that what this member has told another one may not have arrived.
func (a *acked) lost(id uint64) {
	if a.leader == id {
		a.leader = 0
	}
}

// news takes out of an append message the answers that say nothing new, and reports whether anything is left to be
// written or told beside a higher commit index.
func (a *acked) news(m *raftpb.Message) bool {
	notice := m.Commit != nil // a message without it answers what was asked once more
	if notice && (m.GetTerm() != a.term || m.GetVote() != a.vote) {
		*a, notice = acked{term: m.GetTerm(), vote: m.GetVote()}, false
	}
	m.Responses = slices.DeleteFunc(m.Responses, func(one *raftpb.Message) bool { return a.said(one) && notice })
	return !notice || len(m.GetEntries()) > 0 || m.GetSnapshot() != nil || len(m.GetResponses()) > 0
}

// said reports whether an answer is the last acknowledgement again. Another acknowledgement is the last one from now on.
func (a *acked) said(one *raftpb.Message) bool {
	if one.GetType() != raftpb.MsgAppResp || one.GetReject() || one.GetTerm() != a.term {
		return false
	}
	again := one.GetTo() == a.leader && one.GetIndex() == a.index
	a.leader, a.index = one.GetTo(), one.GetIndex()
	return again
}
