package peer

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/keelson-db/keelson/internal/replica"
)

// Reasons to refuse a connection. The texts are etcd's.
var (
	errClusterMismatch = errors.New("cluster ID mismatch")
	errToMismatch      = errors.New("to field mismatch")
	errIncompatible    = errors.New("incompatible version")
)

// removedText is what a member is told that was removed.
const removedText = "removed member"

// refusal is another member's answer that it does not listen.
type refusal struct {
	status int
	text   string
	// ours says that it comes from the member that was asked, of this cluster.
	ours bool
}

// Error implements error.
func (r *refusal) Error() string {
	return fmt.Sprintf("it refuses this member: %s (%d)%s", r.text, r.status, r.hint())
}

// hint says what to do about a refusal, where it is not plain.
func (r *refusal) hint() string {
	switch {
	case strings.HasPrefix(r.text, errClusterMismatch.Error()):
		return "; the address belongs to a member of another cluster: compare --initial-cluster and --initial-cluster-token of both"
	case strings.HasPrefix(r.text, errToMismatch.Error()):
		return "; the address belongs to another member: look at the peer URLs in the member list"
	case strings.HasPrefix(r.text, errIncompatible.Error()):
		return "; the two releases do not understand each other"
	case r.status == http.StatusNotFound && !r.ours:
		return "; is that the peer port of a member?"
	}
	return ""
}

// readRefusal reads an answer that is no welcome.
func (m *Mesh) readRefusal(answer *http.Response, asked uint64) error {
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes))
	if err != nil && len(text) == 0 {
		return fmt.Errorf("read why the member refuses: %w", err)
	}
	return &refusal{
		status: answer.StatusCode, text: strings.TrimSpace(strings.ToValidUTF8(string(text), "?")),
		ours: answer.Header.Get(headerCluster) == hex(m.cluster) && answer.Header.Get(headerFrom) == hex(asked),
	}
}

// refusedBy acts on a refusal. Only a member of this cluster, at its own address, is believed that this one has no
// place in it any more.
func (r *remote) refusedBy(no *refusal) {
	if !no.ours {
		return
	}
	switch no.status {
	case http.StatusGone:
		r.mesh.fail(fmt.Errorf("%w (says member %s)", replica.ErrRemoved, r.name))
	case http.StatusConflict:
		more := strings.TrimPrefix(no.text, replica.ErrForgotten.Error())
		r.mesh.fail(fmt.Errorf("%w (says member %s%s)", replica.ErrForgotten, r.name, more))
	}
}

// refuse answers a greeting that is not admitted.
func refuse(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, replica.ErrRemoved):
		http.Error(w, removedText, http.StatusGone)
	case errors.Is(err, replica.ErrStranger):
		http.Error(w, replica.ErrStranger.Error(), http.StatusNotFound)
	case errors.Is(err, replica.ErrForgotten):
		http.Error(w, err.Error(), http.StatusConflict)
	case errors.Is(err, errClusterMismatch), errors.Is(err, errToMismatch), errors.Is(err, errIncompatible):
		http.Error(w, err.Error(), http.StatusPreconditionFailed)
	case errors.Is(err, errGreeting):
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		http.Error(w, err.Error(), http.StatusForbidden)
	}
}
