package peer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/keelson-db/keelson/internal/member"
)

// someone is a Local for tests.
type someone struct{}

func (someone) ClusterVersion() string { return "" }
func (someone) StorageVersion() string { return "3.7.0" }
func (someone) DowngradeEnabled() bool { return true }

func (someone) HashKV(_ context.Context, revision int64) (*pb.HashKVResponse, error) {
	if revision > 9 {
		return nil, errors.New("mvcc: required revision is a future revision")
	}
	return &pb.HashKVResponse{Header: &pb.ResponseHeader{MemberId: 1, Revision: 9}, Hash: 7, CompactRevision: 2, HashRevision: revision}, nil
}

func (someone) Promote(_ context.Context, id uint64, authorization string) error {
	switch {
	case authorization == "":
		return rpctypes.ErrGRPCUserEmpty
	case authorization != "root":
		return rpctypes.ErrGRPCPermissionDenied
	case id == 404:
		return rpctypes.ErrGRPCMemberNotFound
	case id == 412:
		return rpctypes.ErrGRPCLearnerNotReady
	case id == 503:
		return rpctypes.ErrGRPCNoLeader
	case id == 500:
		return errors.New("trouble")
	}
	return nil
}

// exchange is a request and the answer to it.
type exchange struct {
	method, path string
	headers      map[string]string
	body         string
	status       int
	want         string
}

// exchanges are what etcd's peer port is asked, with its answers.
func exchanges() []exchange {
	const members = `[{"id":1,"peerURLs":["http://a:2380"],"name":"a","clientURLs":["http://a:2379"]},` +
		`{"id":9223372036854775808,"peerURLs":["http://b:2380"],"isLearner":true}]` + "\n"
	root := map[string]string{"Authorization": "root"}
	return []exchange{
		{"GET", "/members", nil, "", 200, members},
		{"POST", "/members", nil, "", 405, "Method Not Allowed\n"},
		{"HEAD", "/members", nil, "", 405, ""},
		{"GET", "/version", nil, "", 200, `{"etcdserver":"3.7.3","etcdcluster":"not_decided","storage":"3.7.0"}`},
		{"GET", "/downgrade/enabled", nil, "", 200, "true"},
		{"GET", "/members/hashkv", nil, `{"revision":5}`, 200, `{"header":{"member_id":1,"revision":9},"hash":7,"compact_revision":2,"hash_revision":5}`},
		{"GET", "/members/hashkv", nil, `{"revision":10}`, 400, "mvcc: required revision is a future revision\n"},
		{"GET", "/members/hashkv", nil, `{`, 400, "error unmarshalling request\n"},
		{"GET", "/members/hashkv", nil, strings.Repeat(" ", maxRequestBytes+1), 400, "error reading body\n"},
		{"GET", "/members/hashkv", map[string]string{headerCluster: "c2"}, `{"revision":5}`, 412, "cluster ID mismatch\n"},
		{"POST", "/members/promote/2", root, "", 200, members},
		{"GET", "/members/promote/2", root, "", 405, "Method Not Allowed\n"},
		{"POST", "/members/promote/x", root, "", 404, "member x not found in cluster\n"},
		{"POST", "/members/promote/404", root, "", 404, "etcdserver: member not found\n"},
		{"POST", "/members/promote/412", root, "", 412, "etcdserver: can only promote a learner member which is in sync with leader\n"},
		{"POST", "/members/promote/503", root, "", 503, "etcdserver: no leader\n"},
		{"POST", "/members/promote/500", root, "", 500, "trouble\n"},
		{"POST", "/members/promote/2", nil, "", 401, "etcdserver: user name is empty\n"},
		{"POST", "/members/promote/2", map[string]string{"Authorization": "x"}, "", 403, "etcdserver: permission denied\n"},
		{"GET", "/health", nil, "", 404, "404 page not found\n"},
		{"GET", "/raft/snapshot", nil, "", 404, "404 page not found\n"},
	}
}

// TestThePortAnswersAsEtcds holds answers against those of etcd's peer port.
func TestThePortAnswersAsEtcds(t *testing.T) {
	one := town(t, 1, func(o *Options) { o.Local = someone{} })[0]
	one.table = tableOf(t, testCluster, 1, member.Member{ID: 1 << 63, PeerURLs: []string{"http://b:2380"}, Learner: true},
		member.Member{ID: 1, Name: "a", PeerURLs: []string{"http://a:2380"}, ClientURLs: []string{"http://a:2379"}})
	// Both answer before Run, as they must: who starts asks those who start.
	one.mesh = New(one.order, Options{Members: one.table, Metrics: one.set.Network, Local: someone{}, Version: "3.7.3"})
	one.server = &http.Server{Handler: one.mesh.Handler()}
	go func() { _ = one.server.Serve(one.listener) }()
	defer one.server.Close()
	defer func() { one.server = nil }()
	for _, c := range exchanges() {
		request, err := http.NewRequestWithContext(inTime(t), c.method, one.url+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range c.headers {
			request.Header.Set(name, value)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || answer.StatusCode != c.status || string(got) != c.want {
			t.Errorf("%s %s %.20s: %d %q, %v, want %d %q", c.method, c.path, c.body, answer.StatusCode, got, err, c.status, c.want)
		}
		if answer.Header.Get(headerCluster) != hex(testCluster) && c.status != 404 {
			t.Errorf("%s %s does not name the cluster", c.method, c.path)
		}
	}
	answer, err := http.Get(one.url + "/raft/probing")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var health struct {
		OK  bool
		Now time.Time
	}
	if err := json.NewDecoder(answer.Body).Decode(&health); err != nil || !health.OK || time.Since(health.Now).Abs() > time.Hour {
		t.Errorf("probing: %+v, %v", health, err)
	}
	// A lane cannot begin before Run.
	if answer, _ := call(t, one, "GET", streamPath+"urgent", greetingOf()); answer.StatusCode != http.StatusNotFound {
		t.Errorf("a lane before Run: %d", answer.StatusCode)
	}
}
