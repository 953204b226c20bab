package replica

import (
	"slices"
	"time"

	"go.etcd.io/raft/v3"
)

const (
	// campaignStep is the time between the campaigns of two members that have seen the leader die at the same
	// time. It is enough for the first to have won.
	campaignStep = 60 * time.Millisecond
	// noticeTime is what the first of them waits, so that the others have noticed too.
	noticeTime = 20 * time.Millisecond
	// campaignTries is how often a member campaigns on evidence, one round of all after the other, before it
	// leaves the rest to raft's timeout.
	campaignTries = 5
	// quorumWait is how long after the start a first connected quorum may shorten the wait for a leader.
	quorumWait = 30 * time.Second
)

// failover makes a change of the leader fast where there is evidence that it is due, and leaves raft's own timeout
// to the rest. The evidence is that the leader's process has closed its connections and nobody listens at its
// address: then followers forget it and campaign, one after the other. PreVote keeps that safe: who has heard from
// the leader since, or is further ahead, refuses, and a leader that lives is not disturbed.
type failover struct {
	// campaign fires when this member is to campaign; nil otherwise.
	campaign <-chan time.Time
	timer    *time.Timer
	tries    int // that are left
	// gone is the leader that died and until when it is not listened to: what it sent before may still arrive, and
	// would make it the leader again. It counts for an election timeout, or until the member is connected anew.
	gone      uint64
	goneUntil time.Time
	// met are the voters that were connected since the start; nil once their number was used.
	met  map[uint64]bool
	used bool
}

// died acts on the leader's death.
func (f *failover) died(r *Replica, id uint64) {
	s := r.status.Load()
	if s.Leader != id || r.opts.LeaseReads || r.memories.leaseReads(id) {
		// A leader that answers reads by its lease trusts followers to wait for their election timeout.
		return
	}
	conf := r.machine.ConfState()
	if !slices.Contains(conf.GetVoters(), r.id) {
		return
	}
	if r.node.ForgetLeader() != nil {
		return
	}
	r.logger.Warn("the leader's process is gone: not waiting for the election timeout")
	f.gone, f.goneUntil = id, time.Now().Add(r.opts.Election)
	f.tries = campaignTries
	f.campaignIn(noticeTime + time.Duration(r.rank(conf.GetVoters(), id))*campaignStep)
}

// rank is this member's place among the voters that may follow a leader: who is wanted more comes first.
func (r *Replica) rank(voters []uint64, without uint64) (place int) {
	for _, id := range voters {
		if id == r.id || id == without {
			continue
		}
		theirs := r.memories.priority(id)
		if theirs > r.opts.Priority || (theirs == r.opts.Priority && id < r.id) {
			place++
		}
	}
	return place
}

// silenced reports whether what a member says now was said before it died.
func (f *failover) silenced(id uint64) bool {
	return f.gone == id && id != 0 && time.Now().Before(f.goneUntil)
}

func (f *failover) campaignIn(wait time.Duration) {
	if f.timer == nil {
		f.timer = time.NewTimer(wait)
	} else {
		f.timer.Reset(wait)
	}
	f.campaign = f.timer.C
}

// due campaigns if there is still no leader.
func (f *failover) due(r *Replica) {
	f.campaign = nil
	if r.node.BasicStatus().Lead != raft.None {
		return
	}
	if err := r.node.Campaign(); err != nil {
		r.logger.Warn("campaign", "error", err.Error())
	}
	if f.tries--; f.tries > 0 {
		// The one that campaigned first may have been refused for an older log, or not been heard.
		f.campaignIn(time.Duration(len(r.machine.ConfState().GetVoters())) * campaignStep)
	}
}

// connected shortens the wait for a first leader: while members start one after the other their timeouts run, and
// once a quorum is there nothing is left to wait for.
func (f *failover) connected(r *Replica, id uint64) {
	if f.gone == id {
		f.gone = 0
	}
	if f.used || !r.opts.TickAdvance {
		return
	}
	voters := r.machine.ConfState().GetVoters()
	if f.met == nil {
		f.met = map[uint64]bool{r.id: true}
	}
	f.met[id] = true
	there := 0
	for _, v := range voters {
		if f.met[v] {
			there++
		}
	}
	if there <= len(voters)/2 {
		return
	}
	f.used, f.met = true, nil
	if time.Duration(r.ticks)*r.opts.Heartbeat > quorumWait || r.status.Load().Leader != raft.None || !slices.Contains(voters, r.id) || r.opts.LeaseReads {
		return
	}
	// A leader that is there is heard within a heartbeat or two.
	f.tries = campaignTries
	f.campaignIn(2*r.opts.Heartbeat + time.Duration(r.rank(voters, 0))*campaignStep)
}
