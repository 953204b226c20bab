package rpc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/replica"
)

// wires are the connections of a house to other members.
type wires struct {
	mu    sync.Mutex
	since map[uint64]time.Time
}

func (w *wires) ActiveSince(id uint64) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	since, ok := w.since[id]
	return since, ok
}

// connect has a member be connected for so long; for less than nothing, only from some moment of the future on.
func (w *wires) connect(id uint64, age time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since[id] = time.Now().Add(-age)
}

// cut ends all connections.
func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.since)
}

// far is the member that leads, in another house.
type far struct {
	promote func(id uint64) error
	renew   func(id lease.ID) (int64, error)
	look    func(id lease.ID) (left, granted int64, ok bool, err error)
}

func (f *far) Promote(_ context.Context, id uint64) error { return f.promote(id) }

func (f *far) Renew(_ context.Context, id lease.ID) (int64, error) { return f.renew(id) }

func (f *far) TimeToLive(_ context.Context, id lease.ID) (left, granted int64, ok bool, err error) {
	return f.look(id)
}

// village is a house whose cluster has more members.
type village struct {
	*house
	wires *wires
	far   *far
}

func newVillage(t *testing.T, change func(*Deps)) *village {
	t.Helper()
	v := &village{wires: &wires{since: map[uint64]time.Time{}}, far: new(far)}
	v.house = newHouse(t, func(d *Deps) {
		d.Connectivity, d.Leader = v.wires, v.far
		if change != nil {
			change(d)
		}
	})
	return v
}

// move lets a member come, as the log would; it has a name once it has started.
func (v *village) move(t *testing.T, id uint64, kind command.ChangeKind, name string) {
	t.Helper()
	change := command.MemberChange{Kind: kind, Member: id, PeerURLs: []string{fmt.Sprintf("http://m%d:1", id)}}
	if res, err := v.replica.Change(t.Context(), change); err != nil || res.Err != nil {
		t.Fatal(err, res.Err)
	}
	if _, err := v.replica.Propose(t.Context(), &command.MemberPublish{ID: id, Name: name}); err != nil {
		t.Fatal(err)
	}
}

func newURL(n int) []string { return []string{fmt.Sprintf("http://new%d:1", n)} }

func TestMembersComeAndGo(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	added, err := h.cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{" http://b:2", "http://a:1 "}})
	if err != nil {
		t.Fatal(err)
	}
	wantHeader(t, "add", added.Header, 0)
	urls := []string{"http://a:1", "http://b:2"}
	if m := added.Member; !slices.Equal(m.PeerURLs, urls) || m.IsLearner || m.Name != "" || len(m.ClientURLs) != 0 || len(added.Members) != 2 {
		t.Errorf("added %v", added)
	}
	now := time.Now()
	if id := added.Member.ID; id != newMemberID(urls, now) && id != newMemberID(urls, now.Add(-time.Second)) {
		t.Errorf("the ID is %x", id)
	}
	updated, err := h.cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: added.Member.ID, PeerURLs: []string{"http://d:1", "http://c:1"}})
	if err != nil {
		t.Fatal(err)
	}
	wantHeader(t, "update", updated.Header, 0)
	list, err := h.cluster.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
	if err != nil || len(list.Members) != 2 || len(updated.Members) != 2 {
		t.Fatal(list, updated, err)
	}
	for _, m := range list.Members {
		if m.ID == added.Member.ID && !slices.Equal(m.PeerURLs, []string{"http://d:1", "http://c:1"}) {
			t.Errorf("after the update: %v", m)
		}
	}
	removed, err := h.cluster.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: added.Member.ID})
	if err != nil || len(removed.Members) != 1 || removed.Members[0].ID != houseMember {
		t.Fatal(removed, err)
	}
	wantHeader(t, "remove", removed.Header, 0)
	for name, ask := range map[string]func(id uint64) error{
		"remove": func(id uint64) error {
			_, err := h.cluster.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
			return err
		},
		"update": func(id uint64) error {
			_, err := h.cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: id, PeerURLs: newURL(1)})
			return err
		},
		"update to no URL": func(id uint64) error {
			_, err := h.cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: id})
			return err
		},
		"promote": func(id uint64) error {
			_, err := h.cluster.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
			return err
		},
	} {
		for _, id := range []uint64{added.Member.ID, 404, 0} {
			wantError(t, name, ask(id), rpctypes.ErrGRPCMemberNotFound)
		}
	}
}

func TestPeerURLsAreChecked(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	for _, bad := range [][]string{
		nil, {""}, {"nonsense"}, {"ftp://a:1"}, {"http://a"}, {"http://a:1/"}, {"http://a:1/path"}, {"http://a:1", "b"}, {"http://%zz:1"},
	} {
		_, err := h.cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: bad})
		wantError(t, fmt.Sprintf("add %q", bad), err, rpctypes.ErrGRPCMemberBadURLs)
		_, err = h.cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: houseMember, PeerURLs: bad})
		wantError(t, fmt.Sprintf("update to %q", bad), err, rpctypes.ErrGRPCMemberBadURLs)
	}
	for _, good := range [][]string{{"https://a:1", "http://[::1]:2"}, {"unix://some/path"}, {"unixs://a:1"}, {"http://:0"}} {
		if _, err := h.cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: houseMember, PeerURLs: good}); err != nil {
			t.Errorf("update to %q: %v", good, err)
		}
	}
	if _, err := h.cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: houseMember, PeerURLs: newURL(1)}); err != nil {
		t.Fatal(err)
	}
	_, err := h.cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://x:1", newURL(1)[0]}})
	wantError(t, "add with a URL that is taken", err, rpctypes.ErrGRPCPeerURLExist)
}

// TestMemberIDsAreEtcds holds the rule against an ID that a real etcd 3.7.3 gave.
func TestMemberIDsAreEtcds(t *testing.T) {
	if id := newMemberID([]string{"http://127.0.0.1:32381", "http://127.0.0.1:32380"}, time.Unix(1795840080, 0)); id != 0x810fcc67dd1898fc {
		t.Errorf("got %x", id)
	}
}

func TestLearnersAreCounted(t *testing.T) {
	h, ctx := newHouse(t, func(d *Deps) { d.MaxLearners = 2 }), context.Background()
	add := func(urls []string, learner bool) error {
		_, err := h.cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: urls, IsLearner: learner})
		return err
	}
	for n := range 2 {
		if err := add(newURL(n), true); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, "a third learner", add(newURL(3), true), rpctypes.ErrGRPCTooManyLearners)
	// What else is wrong is said first.
	wantError(t, "a third learner of a known URL", add([]string{newURL(0)[0], "http://else:1"}, true), rpctypes.ErrGRPCPeerURLExist)
	if err := add(newURL(4), false); err != nil {
		t.Errorf("a voter: %v", err)
	}
}

// TestStrictChangesKeepAQuorum tries changes in clusters of every kind. A member is up and named (u), named and down
// (d), up for a moment only (n), or added and never started (a); in capitals it is a learner. This member is always up.
func TestStrictChangesKeepAQuorum(t *testing.T) {
	const few, sick = "not enough started", "unhealthy"
	for _, tc := range []struct{ others, voter, learner, self, last string }{
		{"", "", "", few, ""},
		{"u", "", "", "", ""},
		{"n", sick, sick, sick, sick},
		{"d", sick, sick, sick, ""},
		{"a", few, sick, few, ""},
		{"U", "", "", few, ""},
		{"uu", "", "", "", ""},
		{"un", sick, sick, sick, sick},
		{"ud", sick, sick, sick, ""},
		{"ua", few, sick, few, ""},
		{"dd", sick, sick, sick, ""},
		{"aa", few, sick, few, few},
		{"uuu", "", "", "", ""},
		{"uud", "", "", "", ""},
		{"uudd", sick, sick, sick, ""},
		{"uuA", "", "", "", ""},
	} {
		for _, strict := range []bool{true, false} {
			v := newVillage(t, func(d *Deps) { d.StrictReconfigCheck = strict })
			for i, kind := range tc.others {
				id, name, as := uint64(i+1), "named", command.AddVoter
				if kind < 'a' {
					as = command.AddLearner
				}
				switch kind | 0x20 {
				case 'u':
					v.wires.connect(id, time.Minute)
				case 'n':
					v.wires.connect(id, healthyTime/2)
				case 'a':
					name = ""
				}
				v.move(t, id, as, name)
			}
			rules := v.deps.complete().reconfig()
			for what, got := range map[string]struct {
				err  error
				want string
			}{
				"add a voter":      {rules.mayAdd(false), tc.voter},
				"add a learner":    {rules.mayAdd(true), tc.learner},
				"remove this":      {rules.mayRemove(houseMember), tc.self},
				"remove the last":  {rules.mayRemove(uint64(len(tc.others))), tc.last},
				"remove a learner": {rules.mayRemove(uint64(strings.IndexFunc(tc.others, func(r rune) bool { return r < 'a' }) + 1)), ""},
			} {
				if what == "remove a learner" && strings.ToLower(tc.others) == tc.others || what == "remove the last" && tc.others == "" {
					continue
				}
				want := got.want
				if !strict {
					want = ""
				}
				if text := fmt.Sprint(got.err); (got.err != nil) != (want != "") || !strings.Contains(text, want) {
					t.Errorf("members %q, strict %v: %s: %v, want %q", tc.others, strict, what, got.err, want)
				}
			}
		}
	}
}

func TestRefusedChangesAreNotProposed(t *testing.T) {
	v := newVillage(t, nil)
	v.move(t, 2, command.AddVoter, "two")
	before := v.replica.proposals.Load()
	_, err := v.cluster.MemberAdd(t.Context(), &pb.MemberAddRequest{PeerURLs: newURL(1)})
	wantError(t, "add", err, rpctypes.ErrGRPCUnhealthy)
	_, err = v.cluster.MemberRemove(t.Context(), &pb.MemberRemoveRequest{ID: houseMember})
	wantError(t, "remove", err, rpctypes.ErrGRPCUnhealthy)
	if n := v.replica.proposals.Load() - before; n != 0 {
		t.Errorf("%d proposals", n)
	}
}

func TestChangesThatNobodyAnsweredBlameTheConnections(t *testing.T) {
	v := newVillage(t, func(d *Deps) { d.StrictReconfigCheck = false })
	v.move(t, 2, command.AddVoter, "two")
	v.move(t, 3, command.AddVoter, "three")
	timeout := replica.ErrTimeout
	for _, tc := range []struct {
		leader uint64
		ages   map[uint64]time.Duration
		want   error
	}{
		{houseMember, nil, rpctypes.ErrGRPCTimeoutDueToConnectionLost},
		{houseMember, map[uint64]time.Duration{2: time.Hour}, rpctypes.ErrGRPCTimeout},
		{houseMember, map[uint64]time.Duration{2: -time.Hour}, rpctypes.ErrGRPCTimeoutDueToConnectionLost},
		{2, map[uint64]time.Duration{2: time.Hour}, rpctypes.ErrGRPCTimeout},
		{2, map[uint64]time.Duration{3: time.Hour}, rpctypes.ErrGRPCTimeoutDueToConnectionLost},
		{0, nil, rpctypes.ErrGRPCTimeout},
	} {
		v.replica.lead(tc.leader)
		v.wires.cut()
		for id, age := range tc.ages {
			v.wires.connect(id, age)
		}
		v.replica.refuse.Store(&timeout)
		_, err := v.kv.Put(t.Context(), &pb.PutRequest{Key: []byte("a")})
		wantError(t, fmt.Sprintf("put with leader %x and %v", tc.leader, tc.ages), err, tc.want)
		_, err = v.cluster.MemberAdd(t.Context(), &pb.MemberAddRequest{PeerURLs: newURL(1)})
		wantError(t, fmt.Sprintf("add with leader %x and %v", tc.leader, tc.ages), err, tc.want)
	}
}
