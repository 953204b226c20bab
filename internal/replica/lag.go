package replica

import (
	"sync"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

const (
	// fetchPatience is how long a member that was told to fetch a copy of the state has, before the leader tells it
	// again: who is at it takes no notice.
	fetchPatience = 10 * time.Second
	// answerTicks is how long the leader has, after it heard how far this member is, to go on from there, in ticks. Then
	// its log does not reach back that far, and only a copy helps.
	answerTicks = 5
	// fetchMemory is how long the log is kept for copies that were being fetched when they were last heard of.
	fetchMemory = time.Minute
	// lagMemory is how long the log is kept for a follower that was last heard so long ago.
	lagMemory = 30 * time.Second
)

// Behind says that the log of the cluster no longer reaches back to where this member is: it needs a copy of the
// state that reaches Index at least.
type Behind struct {
	From  uint64 // the leader
	Index uint64
}

// lag is about members that have fallen behind: this one, and those that fetch copies.
type lag struct {
	wanted chan struct{} // holds a token when behind was set

	mu       sync.Mutex
	behind   *Behind
	fetching map[fetch]time.Time  // and when they were last heard of
	waiting  map[uint64]time.Time // members that were told to fetch, and when

	// Owned by Run: what the leader would send a snapshot up to, and the tick at which it is believed.
	offered *Behind
	due     int
}

// fetch is a copy of the state that is being fetched: who does will need the log behind the index.
type fetch struct{ from, index uint64 }

func newLag() *lag {
	return &lag{wanted: make(chan struct{}, 1), fetching: make(map[fetch]time.Time), waiting: make(map[uint64]time.Time)}
}

// offer notes that the leader would send a snapshot. It may only have forgotten how far this member is, so that is said
// first: what is committed here the leader has, too. A leader whose log reaches there goes on with appends.
func (l *lag) offer(r *Replica, m *raftpb.Message) {
	l.offered = &Behind{From: m.GetFrom(), Index: m.GetSnapshot().GetMetadata().GetIndex()}
	l.due = r.ticks + answerTicks
	s := r.node.BasicStatus()
	last, err := r.log.LastIndex()
	if err != nil || m.GetTerm() != s.HardState.GetTerm() {
		return
	}
	r.send(&raftpb.Message{
		Type: raftpb.MsgAppResp.Enum(), From: new(r.id), To: new(m.GetFrom()), Term: new(m.GetTerm()),
		Index: new(min(s.HardState.GetCommit(), last)),
	})
}

// goesOn notes that the leader sends appends.
func (l *lag) goesOn() { l.offered = nil }

// look believes an offer that nothing came after.
func (l *lag) look(r *Replica) {
	if l.offered == nil || r.ticks < l.due {
		return
	}
	l.mu.Lock()
	l.behind, l.offered = l.offered, nil
	l.mu.Unlock()
	select {
	case l.wanted <- struct{}{}:
	default:
	}
}

// sent notes that a member was told to fetch.
func (l *lag) sent(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting[id] = time.Now()
}

// Wanted returns a channel that holds a token when this member was told that it needs a copy of the state.
func (r *Replica) Wanted() <-chan struct{} { return r.lag.wanted }

// Behind returns what copy this member needs, nil if none.
func (r *Replica) Behind() *Behind {
	r.lag.mu.Lock()
	defer r.lag.mu.Unlock()
	return r.lag.behind
}

// Fetching notes that copies of the state are being fetched from a member, the oldest of which goes up to an index, so
// that the log behind it is kept.
func (r *Replica) Fetching(from, index uint64) {
	l := r.lag
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fetching[fetch{from, index}] = time.Now()
}

// retrySilent has those told again that were to fetch a copy and are not heard any more.
func (l *lag) retrySilent(r *Replica, now time.Time) {
	l.mu.Lock()
	var silent []uint64
	for id, heard := range l.waiting {
		if now.Sub(heard) > fetchPatience {
			silent = append(silent, id)
			delete(l.waiting, id)
		}
	}
	l.mu.Unlock()
	for _, id := range silent {
		r.node.ReportSnapshot(id, raft.SnapshotFailure)
	}
}

// Progress is how far the leader knows another member to be.
type Progress struct {
	Match   uint64 // it holds this entry durably
	Learner bool
	Active  bool // heard within the last election timeout
	Fetches bool // it needs a copy of the state
	heard   time.Time
}

// Silent is for how long the member was not heard, as of a time. A leader that is new has heard everybody.
func (p Progress) Silent(now time.Time) time.Duration { return now.Sub(p.heard) }

// Progress returns how far the other members are, by ID; nil on a member that does not lead.
func (r *Replica) Progress() map[uint64]Progress {
	p := r.progress.Load()
	if p == nil {
		return nil
	}
	return *p
}

// publishProgress makes what the leader knows of the others readable.
func (r *Replica) publishProgress(now time.Time) {
	if s := r.status.Load(); s.Leader != s.ID {
		r.progress.Store(nil)
		return
	}
	before := r.Progress()
	all := make(map[uint64]Progress, len(before))
	r.node.WithProgress(func(id uint64, kind raft.ProgressType, pr tracker.Progress) {
		if id == r.id {
			return
		}
		p := Progress{
			Match: pr.Match, Learner: kind == raft.ProgressTypeLearner, Active: pr.RecentActive,
			Fetches: pr.State == tracker.StateSnapshot, heard: before[id].heard,
		}
		if p.Active || p.heard.IsZero() {
			p.heard = now
		}
		all[id] = p
	})
	r.progress.Store(&all)
}

// KeepBehind returns the index behind which the log may still be needed by other members: those that follow and
// those that fetch copies.
func (r *Replica) KeepBehind() uint64 {
	keep, now := r.machine.Applied().Index, time.Now()
	for _, p := range r.Progress() {
		if !p.Fetches && now.Sub(p.heard) < lagMemory {
			keep = min(keep, p.Match)
		}
	}
	l := r.lag
	l.mu.Lock()
	defer l.mu.Unlock()
	for f, heard := range l.fetching {
		if now.Sub(heard) > fetchMemory {
			delete(l.fetching, f)
			continue
		}
		keep = min(keep, f.index)
	}
	return keep
}
