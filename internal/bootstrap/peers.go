package bootstrap

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/version"

	"github.com/keelson-db/keelson/internal/member"
)

const (
	// maxAnswerBytes is the largest answer of another member in bytes.
	maxAnswerBytes = 4 << 20
	// clusterIDHeader carries the cluster's id in hexadecimal digits.
	clusterIDHeader = "X-Etcd-Cluster-ID"
)

// peers asks other members over HTTP.
type peers struct {
	client *http.Client
	log    *slog.Logger
}

// remoteMember is a member as the path /members tells it.
type remoteMember struct {
	ID         member.ID `json:"id"`
	PeerURLs   []string  `json:"peerURLs"`
	IsLearner  bool      `json:"isLearner,omitempty"`
	Name       string    `json:"name,omitempty"`
	ClientURLs []string  `json:"clientURLs,omitempty"`
}

// remoteCluster is a running cluster as one of its members tells it, its members by id.
type remoteCluster struct {
	id      uint64
	members []remoteMember
}

// String is etcd's form of it, which stands in one of its errors.
func (c *remoteCluster) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "{ClusterID:%x Members:[", c.id)
	for i, m := range c.members {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "&{ID:%x RaftAttributes:{PeerURLs:%v IsLearner:%t} Attributes:{Name:%s ClientURLs:%v}}",
			uint64(m.ID), m.PeerURLs, m.IsLearner, m.Name, m.ClientURLs)
	}
	b.WriteString("] RemovedMemberIDs:[]}")
	return b.String()
}

func (c *remoteCluster) find(id member.ID) (remoteMember, bool) {
	for _, m := range c.members {
		if m.ID == id {
			return m, true
		}
	}
	return remoteMember{}, false
}

// sources are the peer URLs of all members but one.
func (c *remoteCluster) sources(local member.ID) []string {
	var all []string
	for _, m := range c.members {
		if m.ID != local {
			all = append(all, m.PeerURLs...)
		}
	}
	slices.Sort(all)
	return all
}

// plan is how a member of a running cluster begins.
func (c *remoteCluster) plan(local member.ID) Plan {
	p := Plan{Cluster: c.id, Local: local, Existing: true, Sources: c.sources(local)}
	if m, ok := c.find(local); ok {
		p.Lost = len(m.ClientURLs) > 0
	}
	for _, m := range c.members {
		p.Members = append(p.Members, member.Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, Learner: m.IsLearner})
	}
	return p
}

// members asks one peer URL who is in its cluster.
func (p peers) members(ctx context.Context, u string, limit time.Duration) (*remoteCluster, error) {
	body, header, err := p.get(ctx, u+"/members", limit)
	if err != nil {
		return nil, err
	}
	return parseCluster(body, header)
}

var errNoMembers = errors.New("failed to get raft cluster member(s) from the given URLs")

func parseCluster(body []byte, header http.Header) (*remoteCluster, error) {
	var members []remoteMember
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, fmt.Errorf("read the list of members: %w", err)
	}
	return newRemoteCluster(header, members)
}

// newRemoteCluster checks what a member tells of its cluster.
func newRemoteCluster(header http.Header, members []remoteMember) (*remoteCluster, error) {
	id, err := strconv.ParseUint(header.Get(clusterIDHeader), 16, 64)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's id: %w", err)
	}
	if len(members) == 0 {
		return nil, errNoMembers
	}
	slices.SortFunc(members, func(a, b remoteMember) int { return cmp.Compare(a.ID, b.ID) })
	for i, m := range members {
		if m.ID == 0 || i > 0 && m.ID == members[i-1].ID {
			return nil, fmt.Errorf("read the list of members: the id %x cannot be", uint64(m.ID))
		}
	}
	return &remoteCluster{id: id, members: members}, nil
}

// version asks a member for its version and its cluster's.
func (p peers) version(ctx context.Context, m remoteMember, limit time.Duration) (v version.Versions, err error) {
	err = p.ask(ctx, m, "/version", limit, func(body []byte) error { return json.Unmarshal(body, &v) })
	return v, err
}

// downgrades asks a member whether its cluster is on its way to an older version.
func (p peers) downgrades(ctx context.Context, m remoteMember, limit time.Duration) (on bool, err error) {
	err = p.ask(ctx, m, "/downgrade/enabled", limit, func(body []byte) (err error) {
		on, err = strconv.ParseBool(string(body))
		return err
	})
	return on, err
}

var errNoURLs = errors.New("the member has no peer URL")

// ask puts one question to each of a member's URLs until one gives an answer that can be read.
func (p peers) ask(ctx context.Context, m remoteMember, path string, limit time.Duration, read func(body []byte) error) error {
	err := errNoURLs
	for _, u := range m.PeerURLs {
		var body []byte
		if body, _, err = p.get(ctx, u+path, limit); err == nil {
			err = read(body)
		}
		if err == nil {
			return nil
		}
		p.log.Warn("a member does not answer", "url", u+path, "member", fmt.Sprintf("%x", uint64(m.ID)), "error", err.Error())
	}
	return err
}

func (p peers) get(ctx context.Context, u string, limit time.Duration) ([]byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, nil, err
	}
	return p.do(request, limit)
}

// do makes a call, follows no redirection and reads an answer of bounded length. A refusal is an error with its text.
func (p peers) do(request *http.Request, limit time.Duration) ([]byte, http.Header, error) {
	client := *p.client
	client.Timeout = limit
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return nil, nil, err
	case len(body) > maxAnswerBytes:
		return nil, nil, fmt.Errorf("%s answers with more than %d bytes", request.URL, maxAnswerBytes)
	case answer.StatusCode != http.StatusOK:
		return nil, nil, &refusal{status: answer.StatusCode, text: strings.TrimSpace(string(body[:min(len(body), maxRefusalBytes)]))}
	}
	return body, answer.Header, nil
}

// maxRefusalBytes is how much of a refusal's text is shown, in bytes.
const maxRefusalBytes = 512

// refusal is an answer that is none.
type refusal struct {
	status int
	text   string
}

// Error shows the status and the text.
func (r *refusal) Error() string { return fmt.Sprintf("status %d: %s", r.status, r.text) }

// hint says what to do about a refusal, where it is not plain.
func (r *refusal) hint() string {
	if r.status == http.StatusNotFound {
		return "; is that the peer port of a member of Keelson?"
	}
	return ""
}
