package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"

	"github.com/keelson-db/keelson/internal/bootstrap"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/rpc"
)

// errReplaceAlive refuses to take the place of a member that is connected: it has lost nothing.
var errReplaceAlive = errors.New("the member whose place is asked for is connected: it has lost nothing, and two servers may have the same settings")

// promotePause is the time between two tries of a learner to become a voter.
const promotePause = time.Second

// welcome takes a new member in as a learner, or a member that lost its data, in the place of what it was.
func (s *Server) welcome(ctx context.Context, r bootstrap.JoinRequest) (bootstrap.Welcome, error) {
	if s.wantsToken() && !s.invitations.check(r.Secret) {
		return bootstrap.Welcome{}, bootstrap.ErrJoinToken
	}
	if err := s.replica.Barrier(ctx); err != nil {
		return bootstrap.Welcome{}, fmt.Errorf("%w: %w", bootstrap.ErrJoinLater, err)
	}
	members := s.data.machine.Members()
	if r.Replaces != 0 {
		if err := s.makeRoom(ctx, r); err != nil {
			return bootstrap.Welcome{}, err
		}
	}
	id, asked := s.askedBefore(r.PeerURLs)
	if !asked {
		added, err := s.membership.AddLearner(ctx, slices.Clone(r.PeerURLs))
		if err != nil {
			return bootstrap.Welcome{}, joinError(err)
		}
		id = member.ID(added)
		s.log.Info("taking in a new member as a learner", "member", hex(added), "name", r.Name, "peer-urls", r.PeerURLs)
	}
	return bootstrap.Welcome{Cluster: members.ClusterID(), Local: id, Members: members.List()}, nil
}

// wantsToken reports whether who wants to join must have been given a token by somebody who may add members. Who is
// known by a certificate needs none. In plain text, and while there are no users, whoever reaches the peer port could as
// well ask the client port.
func (s *Server) wantsToken() bool {
	if s.peers.secure() && s.config.PeerTLS.DemandsCertificates() {
		return false
	}
	return s.peers.secure() || s.data.machine.Auth().View().Enabled()
}

// askedBefore finds a member that was taken in with these URLs and has not started yet.
func (s *Server) askedBefore(urls []string) (member.ID, bool) {
	for _, m := range s.data.machine.Members().List() {
		if m.Incarnation == 0 && m.Name == "" && slices.Equal(slices.Sorted(slices.Values(m.PeerURLs)), slices.Sorted(slices.Values(urls))) {
			return m.ID, true
		}
	}
	return 0, false
}

// makeRoom removes what a member was before it lost its data, if it is there still. Who loses its data more than once
// may know only who it was at first; who is at its addresses now is who it was at last. That one must not be connected.
func (s *Server) makeRoom(ctx context.Context, r bootstrap.JoinRequest) error {
	members := s.data.machine.Members()
	all := members.List()
	at := slices.IndexFunc(all, func(m member.Member) bool {
		return slices.ContainsFunc(m.PeerURLs, func(u string) bool { return slices.Contains(r.PeerURLs, u) })
	})
	if old, ok := members.Get(r.Replaces); ok && (at < 0 || all[at].ID != old.ID) {
		return fmt.Errorf("member %x is at other addresses (%v): it cannot be replaced by one at %v", uint64(old.ID), old.PeerURLs, r.PeerURLs)
	}
	if at < 0 || (all[at].Incarnation == 0 && all[at].Name == "") {
		return nil // nobody is there, or one that was taken in and has not started
	}
	old := all[at]
	if _, connected := s.mesh.ActiveSince(uint64(old.ID)); connected || old.ID == members.Local() {
		return fmt.Errorf("%w: %w", bootstrap.ErrJoinLater, errReplaceAlive)
	}
	s.log.Warn("a member has lost its data: removing what it was, to take it in anew", "member", hex(uint64(old.ID)), "name", old.Name)
	if err := s.membership.Remove(ctx, uint64(old.ID)); err != nil && !errors.Is(err, member.ErrNotFound) && !errors.Is(err, member.ErrRemoved) {
		return joinError(err)
	}
	return nil
}

// joinError tells what may pass from what will not: what a client would try again, and what has to wait for others.
func joinError(err error) error {
	code := rpc.Code(err)
	if code == codes.Unavailable || code == codes.DeadlineExceeded ||
		errors.Is(err, replica.ErrTooManyRequests) || errors.Is(err, rpctypes.ErrGRPCTooManyLearners) {
		return fmt.Errorf("%w: %w", bootstrap.ErrJoinLater, err)
	}
	return err
}

// becomeVoter has a learner that came by itself ask to be made a voter, until it is one.
func (s *Server) becomeVoter(ctx context.Context) error {
	members := s.data.machine.Members()
	if len(s.config.Join) == 0 && !s.config.AutoRejoin {
		return nil
	}
	ticker := time.NewTicker(promotePause)
	defer ticker.Stop()
	for told := ""; ; {
		if local, ok := members.Get(members.Local()); ok && !local.Learner {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := s.membership.Promote(ctx, uint64(members.Local()))
		switch {
		case err == nil:
			s.log.Info("this member has caught up and is a voter now")
			return nil
		case ctx.Err() == nil && err.Error() != told:
			told = err.Error()
			s.log.Info("this learner is not a voter yet: asking again every second", "why", told)
		}
	}
}
