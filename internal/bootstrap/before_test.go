package bootstrap

import (
	"context"
	"fmt"
	"testing"

	"github.com/keelson-db/keelson/internal/member"
)

// A member that came by --join and lost its data finds out who it was from the addresses, where it may come back.
func TestWhoJoinedAndLostItsDataSaysWhoItWas(t *testing.T) {
	other := newPeer(t, 0xabc)
	const own = "http://127.0.0.1:1"
	other.members = []remoteMember{
		{ID: 5, PeerURLs: []string{other.URL}, ClientURLs: []string{"http://c"}},
		{ID: 7, PeerURLs: []string{own}, ClientURLs: []string{"http://c"}},
	}
	var got JoinRequest
	other.join = func(_ context.Context, r JoinRequest) (Welcome, error) {
		got = r
		return Welcome{Cluster: 0xabc, Local: 9, Members: append(memberList(9, own), memberList(5, other.URL)...)}, nil
	}
	for _, c := range []struct {
		flags   string
		started bool
		want    member.ID
	}{
		{"--auto-rejoin", true, 7},
		{"--auto-rejoin", false, 0}, // it was taken in and never started
		{"", true, 0},
	} {
		other.members[1].ClientURLs = nil
		if c.started {
			other.members[1].ClientURLs = []string{"http://c"}
		}
		args := fmt.Sprintf("%s --join=%s,%s --initial-advertise-peer-urls=%s", c.flags, own, other.URL, own)
		if _, err := resolveArgs(t, args, nil); err != nil || got.Replaces != c.want {
			t.Errorf("%+v: it says it was %x, %v", c, uint64(got.Replaces), err)
		}
	}
}
