package rpc

import (
	"errors"
	"time"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/replica"
)

// errConnectionLost means that a request was not answered because this member had lost the others meanwhile.
var errConnectionLost = errors.New("request timed out, possibly due to connection lost")

// links are this member's connections to the others.
type links struct {
	self    uint64
	replica Proposer
	members *member.Table
	active  Connectivity
}

func (d Deps) links() links {
	return links{self: d.MemberID, replica: d.Replica, members: d.Machine.Members(), active: d.Connectivity}
}

// connected reports whether a member is connected with this one since before a time.
func (l links) connected(id uint64, before time.Time) bool {
	if id == l.self {
		return true
	}
	since, ok := l.active.ActiveSince(id)
	return ok && since.Before(before)
}

// count is how many of some members are connected since before a time, this one included.
func (l links) count(members []member.Member, before time.Time) (n int) {
	for _, m := range members {
		if l.connected(uint64(m.ID), before) {
			n++
		}
	}
	return n
}

// blame says why a request that began at a time was not answered in time, if that is because connections were lost
// since: those to the leader, or the leader's to a quorum.
func (l links) blame(err error, begun time.Time) error {
	if !errors.Is(err, replica.ErrTimeout) {
		return err
	}
	switch leader := l.replica.Status().Leader; {
	case leader == 0:
		return err
	case leader == l.self:
		if all := l.members.List(); l.count(all, begun) >= quorum(len(all)) {
			return err
		}
	case l.connected(leader, begun):
		return err
	}
	return errConnectionLost
}

// quorum is how many of so many voters decide.
func quorum(voters int) int { return voters/2 + 1 }
