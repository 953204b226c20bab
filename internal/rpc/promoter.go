package rpc

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/replica"
)

const (
	// readyTenths is how many tenths of the log a learner must hold to become a voter.
	readyTenths = 9
	// readyWait is how long the leader may take to learn how far another member is by now: it looks once a heartbeat.
	readyWait = 300 * time.Millisecond
)

// Promoter makes voters of learners, on the member that leads: only there it is known how far a learner is. It is
// asked by this member's clients and by other members; whether somebody may ask is decided where they ask.
type Promoter struct {
	replica Replica
	members *member.Table
	rules   reconfig
	set     *metrics.Server
	log     *slog.Logger
}

// NewPromoter builds a promoter. Of the Deps the services alone need Hub, Clock, Leader, Tokens, Lock, Election, Quota
// and what stands behind those; they may be missing here.
func NewPromoter(d Deps) *Promoter {
	d = d.complete()
	return &Promoter{replica: d.Replica, members: d.Machine.Members(), rules: d.reconfig(), set: d.Metrics.Server, log: d.Log}
}

// Promote makes a voter of a learner that has caught up. What it returns is what the client is told: a gRPC status.
// On a member that does not lead that is rpctypes.ErrGRPCNotLeader, which means that another one is to be asked.
func (p *Promoter) Promote(ctx context.Context, id uint64) error {
	_, err := p.promote(ctx, id)
	return wireError(err)
}

// promote also returns the members after it.
func (p *Promoter) promote(ctx context.Context, id uint64) ([]*pb.Member, error) {
	list, err := p.try(ctx, id)
	switch {
	case err == nil:
		p.set.LearnerPromoteSuccesses.Inc()
		p.log.Info("a learner became a voter", slog.String("member", strconv.FormatUint(id, 16)))
	case !errors.Is(err, replica.ErrNotLeader):
		p.set.LearnerPromoteFailures.WithLabelValues(rpctypes.ErrorDesc(wireError(err))).Inc()
		p.log.Warn("a learner was not promoted", slog.String("member", strconv.FormatUint(id, 16)), slog.String("error", err.Error()))
	}
	return list, err
}

func (p *Promoter) try(ctx context.Context, id uint64) ([]*pb.Member, error) {
	if err := p.caughtUp(ctx, id); err != nil {
		return nil, err
	}
	if err := p.rules.mayPromote(); err != nil {
		return nil, err
	}
	return change(ctx, p.replica, p.rules.links, command.MemberChange{Kind: command.PromoteMember, Member: id})
}

// caughtUp refuses a member that is far behind. That it is no learner is said only after that, as in etcd.
func (p *Promoter) caughtUp(ctx context.Context, id uint64) error {
	if !leads(p.replica) {
		return replica.ErrNotLeader
	}
	if err := catchUp(ctx, p.replica); err != nil {
		return err
	}
	if _, ok := p.members.Get(member.ID(id)); !ok {
		return member.ErrNotFound
	}
	s, late := p.replica.Status(), time.After(readyWait)
	for {
		all := p.replica.Progress()
		switch {
		case all == nil || !leads(p.replica):
			return replica.ErrNotLeader
		case id == s.ID || all[id].Match*10 >= s.Commit*readyTenths: // who has just come is not among all yet
			return nil
		}
		select {
		case <-time.After(askPause):
		case <-late:
			return rpctypes.ErrGRPCLearnerNotReady
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// change carries out a change of the membership and returns the members after it.
func change(ctx context.Context, r Replica, l links, c command.MemberChange) ([]*pb.Member, error) {
	begun := time.Now()
	res, err := r.Change(ctx, c)
	if err = l.blame(err, begun); err == nil {
		err = res.Err
	}
	if err != nil {
		return nil, err
	}
	return res.Response.([]*pb.Member), nil
}
