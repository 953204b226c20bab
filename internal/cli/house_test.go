package cli

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// house is a cluster of members that know each other, as far as commands on members can tell. Only root may change it
// when a password is set.
type house struct {
	pb.UnimplementedClusterServer
	pb.UnimplementedAuthServer

	mu       sync.Mutex
	list     []*pb.Member
	leader   uint64
	password string
}

// room is what one member of a house answers.
type room struct {
	pb.UnimplementedMaintenanceServer
	house *house
	id    uint64
}

// build starts a house of two voters and a learner, and returns it with the address of its first member, who does not lead.
func build(t *testing.T) (*house, string) {
	t.Helper()
	h := &house{leader: 0xb2}
	for i, name := range []string{"m1", "m2", "m3"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		m := &pb.Member{ID: 0xa1 + uint64(i)*0x11, Name: name, PeerURLs: []string{"http://" + name + ":2380"}, ClientURLs: []string{"http://" + l.Addr().String()}, IsLearner: i == 2}
		h.list = append(h.list, m)
		g := grpc.NewServer()
		pb.RegisterClusterServer(g, h)
		pb.RegisterAuthServer(g, h)
		pb.RegisterMaintenanceServer(g, &room{house: h, id: m.ID})
		go func() { _ = g.Serve(l) }()
		t.Cleanup(g.Stop)
	}
	return h, strings.TrimPrefix(h.list[0].ClientURLs[0], "http://")
}

func (h *house) Authenticate(_ context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	if r.Name != "root" || r.Password != h.password {
		return nil, rpctypes.ErrGRPCAuthFailed
	}
	return &pb.AuthenticateResponse{Header: &pb.ResponseHeader{}, Token: "t." + r.Name}, nil
}

func (h *house) may(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if h.password != "" && !slices.Contains(md.Get(rpctypes.TokenFieldNameGRPC), "t.root") {
		return rpctypes.ErrGRPCUserEmpty
	}
	return nil
}

func (h *house) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Linearizable && h.leader == 0 {
		return nil, rpctypes.ErrGRPCNoLeader
	}
	return &pb.MemberListResponse{Header: &pb.ResponseHeader{}, Members: h.list}, h.may(ctx)
}

func (h *house) MemberAdd(_ context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := &pb.Member{ID: 0xd4, PeerURLs: r.PeerURLs, IsLearner: r.IsLearner}
	h.list = append(h.list, m)
	return &pb.MemberAddResponse{Header: &pb.ResponseHeader{}, Member: m, Members: h.list}, nil
}

func (h *house) find(id uint64) (int, error) {
	i := slices.IndexFunc(h.list, func(m *pb.Member) bool { return m.ID == id })
	if i < 0 {
		return 0, rpctypes.ErrGRPCMemberNotFound
	}
	return i, nil
}

func (h *house) MemberRemove(_ context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, err := h.find(r.ID)
	if err != nil {
		return nil, err
	}
	h.list = slices.Delete(h.list, i, i+1)
	return &pb.MemberRemoveResponse{Header: &pb.ResponseHeader{}, Members: h.list}, nil
}

func (h *house) MemberPromote(_ context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, err := h.find(r.ID)
	if err != nil {
		return nil, err
	}
	if !h.list[i].IsLearner {
		return nil, rpctypes.ErrGRPCMemberNotLearner
	}
	h.list[i].IsLearner = false
	return &pb.MemberPromoteResponse{Header: &pb.ResponseHeader{}, Members: h.list}, nil
}

func (h *house) MemberUpdate(_ context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, err := h.find(r.ID)
	if err != nil {
		return nil, err
	}
	if r.PeerURLs[0] == "http://unhealthy:1" {
		return nil, rpctypes.ErrGRPCUnhealthy
	}
	h.list[i].PeerURLs = r.PeerURLs
	return &pb.MemberUpdateResponse{Header: &pb.ResponseHeader{}, Members: h.list}, nil
}

func (r *room) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	r.house.mu.Lock()
	defer r.house.mu.Unlock()
	i, err := r.house.find(r.id)
	if err != nil {
		return nil, err
	}
	return &pb.StatusResponse{
		Header:  &pb.ResponseHeader{ClusterId: 0xc1, MemberId: r.id, Revision: 7},
		Version: "3.7.0", Leader: r.house.leader, RaftTerm: 2, RaftIndex: 9, RaftAppliedIndex: 8, IsLearner: r.house.list[i].IsLearner,
	}, nil
}

func (r *room) MoveLeader(_ context.Context, q *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	r.house.mu.Lock()
	defer r.house.mu.Unlock()
	if r.id != r.house.leader {
		return nil, rpctypes.ErrGRPCNotLeader
	}
	r.house.leader = q.TargetID
	return &pb.MoveLeaderResponse{Header: &pb.ResponseHeader{}}, nil
}

// conversation is what is typed and what is seen.
type conversation []struct {
	line string
	code int
	says string // all of standard output, or part of standard error where the code is not 0
}

func (talk conversation) check(t *testing.T, addr string) {
	t.Helper()
	for _, step := range talk {
		code, out, errs := call(t, step.line+" --endpoints "+addr, "")
		if code != step.code || code == 0 && (out != step.says || errs != "") || code != 0 && (!strings.Contains(errs, step.says) || out != "") {
			t.Errorf("keelson %s: exit %d\n%s%s\nwant %d\n%s", step.line, code, out, errs, step.code, step.says)
		}
	}
}

func TestMembersAreListedAddedAndChanged(t *testing.T) {
	h, addr := build(t)
	url := func(i int) string { return h.list[i].ClientURLs[0] }
	conversation{
		{"member list", 0, "ID  NAME  KIND     PEER URLS       CLIENT URLS\n" +
			"a1  m1    voter    http://m1:2380  " + url(0) + "\n" +
			"b2  m2    voter    http://m2:2380  " + url(1) + "\n" +
			"c3  m3    learner  http://m3:2380  " + url(2) + "\n"},
		{"member promote m3", 0, "promoted m3 (c3), a voter\n"},
		{"member promote c3", exitError, "can only promote a learner"},
		{"member update a1 --peer-urls http://new:1,http://new:2 -o json", 0, `{"done":"updated","member":{"id":"a1","name":"m1","peer_urls":["http://new:1","http://new:2"],"client_urls":["` + url(0) + `"]},` +
			`"members":[{"id":"a1","name":"m1","peer_urls":["http://new:1","http://new:2"],"client_urls":["` + url(0) + `"]},` +
			`{"id":"b2","name":"m2","peer_urls":["http://m2:2380"],"client_urls":["` + url(1) + `"]},` +
			`{"id":"c3","name":"m3","peer_urls":["http://m3:2380"],"client_urls":["` + url(2) + `"]}]}` + "\n"},
		{"member remove m3", 0, "removed m3 (c3), a voter\n"},
		{"member remove m3", exitArguments, `no member is called "m3": those who are there are m1 (a1), m2 (b2)`},
		{"member add m4 --learner --peer-urls http://m4:2380", 0, "added m4 (d4), a learner\nStart it with an empty data directory and these flags beside its own:\n\n" +
			"  --name m4 --initial-cluster-state existing \\\n  --initial-advertise-peer-urls http://m4:2380 \\\n" +
			"  --initial-cluster m1=http://new:1,m1=http://new:2,m2=http://m2:2380,m4=http://m4:2380\n\nand once it has caught up: keelson member promote d4\n"},
		{"member list -o json", 0, `{"members":[{"id":"a1","name":"m1","peer_urls":["http://new:1","http://new:2"],"client_urls":["` + url(0) + `"]},` +
			`{"id":"b2","name":"m2","peer_urls":["http://m2:2380"],"client_urls":["` + url(1) + `"]},` +
			`{"id":"d4","learner":true,"peer_urls":["http://m4:2380"]}]}` + "\n"},
		{"member add m4", exitArguments, "--peer-urls is missing"},
		{"member update m1 --peer-urls http://unhealthy:1", exitError, "unhealthy cluster; the leader has not been connected"},
		{"member update m1", exitArguments, "--peer-urls is missing"},
		{"member remove", exitArguments, "remove MEMBER"},
		{"member lits", exitArguments, "unknown flag"},
	}.check(t, addr)
}

func TestTheLeaderIsMoved(t *testing.T) {
	h, addr := build(t)
	conversation{
		{"move-leader m1", 0, "m1 (a1) leads now, and m2 (b2) did before\n"},
		{"move-leader m1", 0, "m1 (a1) leads already\n"},
		{"move-leader b2 -o json", 0, `{"from":"a1","to":"b2"}` + "\n"},
		{"move-leader nobody", exitArguments, "no member is called"},
	}.check(t, addr)
	h.leader = 0
	conversation{
		{"member list --timeout 1s", exitError, "no leader"},
		{"member list --stale --timeout 5s -o json", 0, mustJSON(t, h)},
	}.check(t, addr)
}

func mustJSON(t *testing.T, h *house) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"members": readableMembers(h.list)})
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

func TestTheStatusOfAClusterIsThatOfAllItsMembers(t *testing.T) {
	_, addr := build(t)
	code, out, errs := call(t, "status --cluster --endpoints "+addr, "")
	for _, part := range []string{"member a1, follower", "member b2, leader", "member c3, learner"} {
		if !strings.Contains(out, part) {
			t.Errorf("%q is missing in\n%s", part, out)
		}
	}
	if code != 0 || errs != "" {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestAUserIsNamedAndCheckedAtOnce(t *testing.T) {
	h, addr := build(t)
	h.password = "secret"
	conversation{
		{"member list", exitError, "user name is empty"},
		{"member list --user root:wrong", exitError, "log in as root: etcdserver: authentication failed"},
		{"member list --user root", exitArguments, "NAME:PASSWORD"},
		{"member list --user root:secret -o json", 0, mustJSON(t, h)},
		{"member list --cacert /nowhere", exitArguments, "read --cacert"},
		{"member list --cert x", exitArguments, "--cert and --key go together"},
	}.check(t, addr)
	t.Setenv("ETCDCTL_USER", "root:wrong")
	t.Setenv("KEELSON_USER", "root:secret")
	conversation{{"member list -o json", 0, mustJSON(t, h)}}.check(t, addr)
	t.Setenv("KEELSON_INSECURE_SKIP_TLS_VERIFY", "perhaps")
	conversation{{"member list -o json", exitArguments, "KEELSON_INSECURE_SKIP_TLS_VERIFY=perhaps"}}.check(t, addr)
}

// tokens gives out join tokens as a member does.
type tokens struct{ t *testing.T }

func (s tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != joinTokenPath || r.Method != http.MethodPost:
		http.NotFound(w, r)
	case r.Header.Get("Authorization") == "forbidden":
		http.Error(w, "permission denied", http.StatusForbidden)
	default:
		_, err := w.Write([]byte(`{"token":"k1.a.b","join":["https://m1:2380"],"expires":"2026-01-02T03:04:05Z"}`))
		if err != nil {
			s.t.Error(err)
		}
	}
}
