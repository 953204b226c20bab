package rpc

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/state"
)

// clusterServer answers the cluster service. Whether somebody may change the membership is decided here and not
// where the change is applied, as in etcd: a change carries no name.
type clusterServer struct {
	headers
	access
	replica     Replica
	table       *member.Table
	rules       reconfig
	promoter    *Promoter
	leader      Leader
	updates     proposing[[]*pb.Member]
	maxLearners int
	limit       time.Duration // of a question to the leader
	log         *slog.Logger

	adding sync.Mutex // held while a learner is counted and added
}

func newClusterServer(d Deps) *clusterServer {
	return &clusterServer{
		headers: d.headers(), access: d.access(), replica: d.Replica, table: d.Machine.Members(),
		rules: d.reconfig(), promoter: NewPromoter(d), leader: d.Leader,
		updates:     newProposing[[]*pb.Member](d, "ClusterMemberUpdate"),
		maxLearners: d.MaxLearners, limit: d.requestTime(), log: d.Log,
	}
}

func clusterMethods(d Deps) built {
	c := newClusterServer(d)
	return built{unary: map[string]unaryMethod{
		"MemberAdd":     askingMethod(c.memberAdd),
		"MemberRemove":  checkedMethod(c.access, c.memberRemove),
		"MemberUpdate":  proposedMethod(c.memberUpdate),
		"MemberPromote": checkedMethod(c.access, c.memberPromote),
		"MemberList":    askingMethod(c.memberList),
	}}
}

// memberList asks for the right last, when it is sure what it is a right of.
func (s *clusterServer) memberList(ctx context.Context, r *pb.MemberListRequest) (any, error) {
	if r.Linearizable {
		if err := s.replica.Barrier(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.may(ctx, r); err != nil {
		return nil, err
	}
	return &pb.MemberListResponse{Header: s.plain(), Members: state.MemberList(s.table)}, nil
}

// memberAdd looks at the URLs before it asks who wants to know.
func (s *clusterServer) memberAdd(ctx context.Context, r *pb.MemberAddRequest) (any, error) {
	urls, err := peerURLs(r.PeerURLs)
	if err != nil {
		return nil, rpctypes.ErrGRPCMemberBadURLs
	}
	if err := s.may(ctx, r); err != nil {
		return nil, err
	}
	id, list, err := s.add(ctx, urls, r.IsLearner)
	if err != nil {
		return nil, err
	}
	return &pb.MemberAddResponse{
		Header: s.plain(), Members: list, Member: &pb.Member{ID: id, PeerURLs: urls, IsLearner: r.IsLearner},
	}, nil
}

// add takes in a member if the rules let it, and returns its ID and the members after it. It sorts the URLs.
func (s *clusterServer) add(ctx context.Context, urls []string, learner bool) (id uint64, list []*pb.Member, err error) {
	if err := s.rules.mayAdd(learner); err != nil {
		return 0, nil, err
	}
	slices.Sort(urls)
	c := command.MemberChange{Kind: command.AddVoter, Member: newMemberID(urls, time.Now()), PeerURLs: urls}
	if learner {
		c.Kind = command.AddLearner
		list, err = s.addLearner(ctx, c)
	} else {
		list, err = change(ctx, s.replica, s.rules.links, c)
	}
	if err != nil {
		return 0, nil, err
	}
	s.tell(ctx, "member added", c.Member)
	return c.Member, list, nil
}

// addLearner adds a learner if there may be one more. What else is wrong with it is said first, by the state.
func (s *clusterServer) addLearner(ctx context.Context, add command.MemberChange) ([]*pb.Member, error) {
	s.adding.Lock()
	defer s.adding.Unlock()
	if err := s.replica.Barrier(ctx); err != nil {
		return nil, err
	}
	learners, known := 0, s.table.Removed(member.ID(add.Member))
	for _, m := range s.table.List() {
		if m.Learner {
			learners++
		}
		taken := func(u string) bool { return slices.Contains(add.PeerURLs, u) }
		known = known || uint64(m.ID) == add.Member || slices.ContainsFunc(m.PeerURLs, taken)
	}
	if !known && learners >= s.maxLearners {
		return nil, rpctypes.ErrGRPCTooManyLearners
	}
	return change(ctx, s.replica, s.rules.links, add)
}

// memberRemove takes a member out.
func (s *clusterServer) memberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (any, error) {
	list, err := s.remove(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return &pb.MemberRemoveResponse{Header: s.plain(), Members: list}, nil
}

// remove takes a member out if the rules let it, and returns those that are left.
func (s *clusterServer) remove(ctx context.Context, id uint64) ([]*pb.Member, error) {
	if err := s.rules.mayRemove(id); err != nil {
		return nil, err
	}
	list, err := change(ctx, s.replica, s.rules.links, command.MemberChange{Kind: command.RemoveMember, Member: id})
	if err != nil {
		return nil, err
	}
	s.tell(ctx, "member removed", id)
	return list, nil
}

// memberUpdate gives a member other peer URLs. etcd takes whatever it is given, and its members end when they come to
// use it; here it must be URLs.
func (s *clusterServer) memberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (any, error) {
	if err := s.may(ctx, r); err != nil {
		return nil, err
	}
	urls, bad := peerURLs(r.PeerURLs)
	if bad != nil {
		if err := s.replica.Barrier(ctx); err != nil {
			return nil, err
		}
		if _, ok := s.table.Get(member.ID(r.ID)); !ok {
			return nil, member.ErrNotFound
		}
		return nil, rpctypes.ErrGRPCMemberBadURLs
	}
	list, _, err := s.updates.propose(ctx, &command.MemberUpdate{ID: r.ID, PeerURLs: urls})
	if err != nil {
		return nil, err
	}
	s.tell(ctx, "peer URLs of a member changed", r.ID)
	return &pb.MemberUpdateResponse{Header: s.plain(), Members: list}, nil
}

// memberPromote makes a voter of a learner; the leader judges whether it is ready for that.
func (s *clusterServer) memberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (any, error) {
	list, err := s.promote(ctx, r.ID)
	if err == nil && list == nil {
		err = s.replica.Barrier(ctx) // the leader may be ahead
		list = state.MemberList(s.table)
	}
	if err != nil {
		return nil, err
	}
	s.tell(ctx, "learner promoted", r.ID)
	return &pb.MemberPromoteResponse{Header: s.plain(), Members: list}, nil
}

// promote asks the leader to make a voter of a learner. The members after it come only from this member itself.
func (s *clusterServer) promote(ctx context.Context, id uint64) ([]*pb.Member, error) {
	return question[[]*pb.Member]{
		here:  func(ctx context.Context) ([]*pb.Member, error) { return s.promoter.promote(ctx, id) },
		there: func(ctx context.Context) ([]*pb.Member, error) { return nil, s.leader.Promote(ctx, id) },
		final: isVerdict,
	}.ask(ctx, s.replica, s.limit)
}

// isVerdict reports whether an error is what the leader has to say to a client.
func isVerdict(err error) bool {
	var has interface{ GRPCStatus() *status.Status }
	return errors.As(err, &has) && rpctypes.ErrorDesc(err) != rpctypes.ErrorDesc(rpctypes.ErrGRPCNotLeader)
}

// tell notes who changed the membership: it is not done often, and somebody will ask.
func (s *clusterServer) tell(ctx context.Context, what string, id uint64) {
	attrs := append(callerOf(ctx), slog.String("member", strconv.FormatUint(id, 16)))
	s.log.LogAttrs(ctx, slog.LevelInfo, what, attrs...)
}
