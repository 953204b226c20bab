package rpc

import (
	"log/slog"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"

	"github.com/keelson-db/keelson/internal/member"
)

// healthyTime is how long a member must have been connected to be counted on.
const healthyTime = 5 * time.Second

// errNotEnoughStarted loses its code on the way in etcd, and who looks at it has learnt to expect that.
var errNotEnoughStarted = withCode(codes.Unknown, rpctypes.ErrGRPCMemberNotEnoughStarted)

// reconfig refuses changes of the membership after which the cluster might have no quorum. A voter counts as started
// when it has told its name, and as there when it has been connected for a while. The rules, and the order in which
// they are asked, are etcd's.
type reconfig struct {
	links
	strict bool // without it, everything is let pass
	log    *slog.Logger
}

func (d Deps) reconfig() reconfig {
	return reconfig{links: d.links(), strict: d.StrictReconfigCheck, log: d.Log}
}

// voters are all voters but one.
func (c reconfig) voters(without uint64) []member.Member {
	return slices.DeleteFunc(c.members.List(), func(m member.Member) bool { return m.Learner || uint64(m.ID) == without })
}

func started(members []member.Member) (n int) {
	for _, m := range members {
		if m.Name != "" {
			n++
		}
	}
	return n
}

// mayAdd takes the new member for one that is not there.
func (c reconfig) mayAdd(learner bool) error {
	if !c.strict {
		return nil
	}
	voters := c.voters(0)
	// The second member of a cluster never has a quorum without it, and there has to be a way to get one.
	if one := len(voters) == 1 && started(voters) == 1; !learner && !one && started(voters) < quorum(len(voters)+1) {
		return c.refuse("add a member", errNotEnoughStarted, voters)
	}
	if len(voters) != 1 && c.count(voters, time.Now().Add(-healthyTime)) < quorum(len(voters)+1) {
		return c.refuse("add a member", rpctypes.ErrGRPCUnhealthy, voters)
	}
	return nil
}

// mayRemove lets go whoever is not there anyway.
func (c reconfig) mayRemove(id uint64) error {
	if m, ok := c.members.Get(member.ID(id)); !c.strict || (ok && m.Learner) {
		return nil
	}
	left, voters := c.voters(id), c.voters(0)
	if started(left) < quorum(len(left)) {
		return c.refuse("remove a member", errNotEnoughStarted, voters)
	}
	if _, there := c.active.ActiveSince(id); id != c.self && !there {
		return nil
	}
	if c.count(voters, time.Now().Add(-healthyTime))-1 < quorum(len(voters)-1) {
		return c.refuse("remove a member", rpctypes.ErrGRPCUnhealthy, voters)
	}
	return nil
}

// mayPromote takes the new voter for one that has started.
func (c reconfig) mayPromote() error {
	if voters := c.voters(0); c.strict && started(voters)+1 < quorum(len(voters)+1) {
		return c.refuse("promote a learner", errNotEnoughStarted, voters)
	}
	return nil
}

// refuse tells the log what the client is not told: of whom it depends.
func (c reconfig) refuse(what string, why error, voters []member.Member) error {
	c.log.Warn("refused to "+what, slog.String("why", rpctypes.ErrorDesc(why)), slog.Int("voters", len(voters)),
		slog.Int("started", started(voters)), slog.Int("connected", c.count(voters, time.Now().Add(-healthyTime))))
	return why
}
