package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/keelson-db/keelson/internal/config"
)

const (
	// maxJoinBytes is the largest request to join in bytes.
	maxJoinBytes = 64 << 10
	// maxJoinURLs is the largest number of peer URLs in one.
	maxJoinURLs = 16
)

// Refusals of a request to join that the asker has to understand. Others are told as they are, and are final.
var (
	// ErrJoinToken refuses a token.
	ErrJoinToken = errors.New("the join token is wrong or too old: ask a member for a new one")
	// ErrJoinLater asks the asker to come again.
	ErrJoinLater = errors.New("the cluster cannot take in a member now")
)

// JoinHandler answers at JoinPath. Whether somebody is taken in is for admit to say; here is only how one asks. Asked
// twice with the same peer URLs, before the new member has started, admit has to answer the same: the asker may have
// died before it could write the answer down.
func JoinHandler(admit func(ctx context.Context, r JoinRequest) (Welcome, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		request, err := readJoin(w, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		welcome, err := admit(r.Context(), request)
		if err != nil {
			http.Error(w, err.Error(), joinStatus(err))
			return
		}
		writeWelcome(w, welcome)
	})
}

func joinStatus(err error) int {
	switch {
	case errors.Is(err, ErrJoinToken):
		return http.StatusForbidden
	case errors.Is(err, ErrJoinLater), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	}
	return http.StatusConflict
}

// readJoin reads a request and brings its URLs into their one form.
func readJoin(w http.ResponseWriter, r *http.Request) (JoinRequest, error) {
	var request JoinRequest
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJoinBytes))
	if err != nil {
		return request, fmt.Errorf("read the request to join: %w", err)
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return request, fmt.Errorf("read the request to join: %w", err)
	}
	if len(request.PeerURLs) == 0 || len(request.PeerURLs) > maxJoinURLs {
		return request, fmt.Errorf("read the request to join: it has %d peer URLs, and 1 to %d are needed", len(request.PeerURLs), maxJoinURLs)
	}
	read, err := config.ParseInitialCluster("x=" + strings.Join(request.PeerURLs, ",x="))
	if err != nil {
		return request, fmt.Errorf("read the request to join: %w", err)
	}
	request.PeerURLs = read["x"]
	return request, nil
}

func writeWelcome(w http.ResponseWriter, welcome Welcome) {
	answer := welcomeBody{ID: welcome.Local}
	for _, m := range welcome.Members {
		answer.Members = append(answer.Members, remoteMember{ID: m.ID, PeerURLs: m.PeerURLs, IsLearner: m.Learner, Name: m.Name, ClientURLs: m.ClientURLs})
	}
	body, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set(clusterIDHeader, fmt.Sprintf("%x", welcome.Cluster))
	_, _ = w.Write(body) // who hung up will ask again
}
