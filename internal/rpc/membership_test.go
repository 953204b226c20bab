package rpc

import (
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
)

// TestMembersOfTheirOwnAccordMeetTheSameRules: who asks on the peer port is told what clients are told.
func TestMembersOfTheirOwnAccordMeetTheSameRules(t *testing.T) {
	v := newVillage(t, nil)
	m := NewMembership(v.deps)
	for _, bad := range [][]string{nil, {"nonsense"}, {newURL(1)[0], "http://a:1/path"}} {
		_, err := m.AddLearner(t.Context(), bad)
		wantError(t, "no URLs", err, rpctypes.ErrGRPCMemberBadURLs)
	}
	given := []string{"http://b:1", " http://a:1"}
	id, err := m.AddLearner(t.Context(), given)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := v.deps.Machine.Members().Get(member.ID(id)); !ok || !got.Learner || len(got.PeerURLs) != 2 || got.PeerURLs[0] != "http://a:1" {
		t.Errorf("%x is %+v", id, got)
	}
	if given[0] != "http://b:1" {
		t.Error("the caller's list was changed")
	}
	_, err = m.AddLearner(t.Context(), newURL(2))
	wantError(t, "a second learner", err, rpctypes.ErrGRPCTooManyLearners)
	wantError(t, "too early", m.Promote(t.Context(), id), rpctypes.ErrGRPCLearnerNotReady)
	v.reach(map[uint64]uint64{id: 77})
	if err := m.Promote(t.Context(), id); err != nil {
		t.Error(err)
	}
	if _, err := v.replica.Propose(t.Context(), &command.MemberPublish{ID: id, Name: "started"}); err != nil {
		t.Fatal(err)
	}
	v.move(t, 7, command.AddVoter, "")
	wantError(t, "what would leave too few", m.Remove(t.Context(), houseMember), errNotEnoughStarted)
	if err := m.Remove(t.Context(), 7); err != nil {
		t.Errorf("one that has never started: %v", err)
	}
	if err := m.Remove(t.Context(), 7); !errors.Is(err, member.ErrRemoved) {
		t.Errorf("once more: %v", err)
	}
}
