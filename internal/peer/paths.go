package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/member"
)

// maxRequestBytes is the longest body of a request on the peer port, in bytes.
const maxRequestBytes = 4 << 10

// promotePath is where a member is asked to make a voter of a learner; the learner's ID follows.
const promotePath = "/members/promote/"

// Local is what the peer port tells of this member beside the member table.
type Local interface {
	// ClusterVersion and StorageVersion are such as "3.7.0", or empty before they are known.
	ClusterVersion() string
	StorageVersion() string
	// DowngradeEnabled says whether the cluster is on its way to an older version.
	DowngradeEnabled() bool
	// HashKV returns the hash of the keys up to a revision. Its errors are told as they are.
	HashKV(ctx context.Context, revision int64) (*pb.HashKVResponse, error)
	// Promote makes a voter of a learner, for whoever an authorization stands for. Its errors are gRPC statuses.
	Promote(ctx context.Context, id uint64, authorization string) error
}

// Handler serves the peer port: the lanes, and etcd's paths for other members and for tools.
func (m *Mesh) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(streamPath, m.serveStream)
	handle := func(path, method string, serve http.HandlerFunc) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			m.identify(w.Header())
			if r.Method != method {
				w.Header().Set("Allow", method)
				http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, maxRequestBytes)
			serve(w, r)
		})
	}
	handle("/members", http.MethodGet, m.serveMembers)
	handle("/raft/probing", http.MethodGet, serveProbing)
	if m.o.Local == nil {
		return mux
	}
	handle("/version", http.MethodGet, m.serveVersion)
	handle("/downgrade/enabled", http.MethodGet, m.serveDowngrade)
	handle("/members/hashkv", http.MethodGet, m.serveHash)
	handle(promotePath, http.MethodPost, m.servePromote)
	return mux
}

// listed is a member as etcd's peers tell it.
type listed struct {
	ID         uint64   `json:"id"`
	PeerURLs   []string `json:"peerURLs"`
	IsLearner  bool     `json:"isLearner,omitempty"`
	Name       string   `json:"name,omitempty"`
	ClientURLs []string `json:"clientURLs,omitempty"`
}

// serveMembers answers with the members as this one knows them.
func (m *Mesh) serveMembers(w http.ResponseWriter, _ *http.Request) { writeMembers(w, m.o.Members) }

func writeMembers(w http.ResponseWriter, table *member.Table) {
	all := []listed{}
	for _, one := range table.List() {
		all = append(all, listed{
			ID: uint64(one.ID), PeerURLs: one.PeerURLs, IsLearner: one.Learner, Name: one.Name, ClientURLs: one.ClientURLs,
		})
	}
	writeJSON(w, all, "\n")
}

// writeJSON answers with a value, and what etcd puts behind it.
func writeJSON(w http.ResponseWriter, v any, end string) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, end...)) // who asked is gone, or it arrives
}

// serveProbing answers etcd's question whether somebody is there.
func serveProbing(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, struct {
		OK  bool
		Now time.Time
	}{true, time.Now()}, "\n")
}

func (m *Mesh) serveVersion(w http.ResponseWriter, _ *http.Request) {
	or := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return s
	}
	writeJSON(w, struct {
		Server  string `json:"etcdserver"`
		Cluster string `json:"etcdcluster"`
		Storage string `json:"storage"`
	}{m.o.Version, or(m.o.Local.ClusterVersion(), "not_decided"), or(m.o.Local.StorageVersion(), "unknown")}, "")
}

func (m *Mesh) serveDowngrade(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, strconv.FormatBool(m.o.Local.DowngradeEnabled())) // who asked is gone, or it arrives
}

// serveHash answers with the hash of the keys up to the revision that the body names.
func (m *Mesh) serveHash(w http.ResponseWriter, r *http.Request) {
	if cluster := r.Header.Get(headerCluster); cluster != "" && cluster != hex(m.cluster) {
		refuse(w, errClusterMismatch)
		return
	}
	var asked struct {
		Revision int64 `json:"revision"`
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "error reading body", http.StatusBadRequest)
		return
	}
	if err := json.Unmarshal(body, &asked); err != nil {
		http.Error(w, "error unmarshalling request", http.StatusBadRequest)
		return
	}
	hash, err := m.o.Local.HashKV(r.Context(), asked.Revision)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, hash, "")
}

// servePromote makes a voter of a learner and answers with the members after it.
func (m *Mesh) servePromote(w http.ResponseWriter, r *http.Request) {
	text := strings.TrimPrefix(r.URL.Path, promotePath)
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		http.Error(w, fmt.Sprintf("member %.40s not found in cluster", text), http.StatusNotFound)
		return
	}
	if err := m.o.Local.Promote(r.Context(), id, r.Header.Get("Authorization")); err != nil {
		http.Error(w, status.Convert(err).Message(), promoteStatus(err))
		return
	}
	writeMembers(w, m.o.Members)
}

func promoteStatus(err error) int {
	var has interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &has) {
		return http.StatusInternalServerError
	}
	switch has.GRPCStatus().Code() {
	case codes.NotFound:
		return http.StatusNotFound
	case codes.FailedPrecondition:
		return http.StatusPreconditionFailed
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.Unauthenticated, codes.InvalidArgument:
		return http.StatusUnauthorized
	case codes.Unavailable, codes.DeadlineExceeded:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
