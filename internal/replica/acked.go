package replica

import "go.etcd.io/raft/v3/raftpb"

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

// news reports whether an append message has something to write or to tell, beside a higher commit index.
func (a *acked) news(m *raftpb.Message) bool {
	news := len(m.GetEntries()) > 0 || m.GetSnapshot() != nil
	if m.Commit == nil {
		news = true // no higher commit index either: it was asked once more
	} else if m.GetTerm() != a.term || m.GetVote() != a.vote {
		*a, news = acked{term: m.GetTerm(), vote: m.GetVote()}, true
	}
	for _, one := range m.GetResponses() {
		if one.GetType() != raftpb.MsgAppResp || one.GetReject() || one.GetTerm() != a.term {
			news = true
			continue
		}
		if one.GetTo() != a.leader || one.GetIndex() != a.index {
			a.leader, a.index, news = one.GetTo(), one.GetIndex(), true
		}
	}
	return news
}
