package server

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/bootstrap"
)

// JoinToken is a join token as it is given out, in JSON, to a POST on the client port.
type JoinToken struct {
	// Token is what `keelson join --join-token` takes.
	Token string `json:"token"`
	// Join are the peer URLs of the member that gave it out, where alone it is good.
	Join []string `json:"join"`
	// Expires is until when.
	Expires time.Time `json:"expires"`
}

const (
	// invitationLife is how long a join token is good.
	invitationLife = 15 * time.Minute
	// maxInvitations bounds the join tokens that are good at the same time, in tokens.
	maxInvitations = 64
)

// ErrInvitations refuses to give out more join tokens.
var ErrInvitations = errors.New("too many join tokens are good at the same time: wait until some have expired")

// invitations are the join tokens that this member has given out. They live in its memory alone: a token is good at
// the member that gave it out, for a while, and until that member stops.
type invitations struct {
	mu   sync.Mutex
	good map[[sha256.Size]byte]time.Time // until when, by the sum of the secret
}

// issue gives out a token that names a certificate.
func (i *invitations) issue(fingerprint [32]byte) (bootstrap.Token, time.Time, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	for sum, until := range i.good {
		if !now.Before(until) {
			delete(i.good, sum)
		}
	}
	if len(i.good) >= maxInvitations {
		return bootstrap.Token{}, time.Time{}, ErrInvitations
	}
	if i.good == nil {
		i.good = make(map[[sha256.Size]byte]time.Time)
	}
	token, until := bootstrap.NewToken(fingerprint), now.Add(invitationLife)
	i.good[sha256.Sum256([]byte(token.Secret))] = until
	return token, until, nil
}

// check reports whether a secret is that of a token that is good. The sum hides from the clock how much of a guess
// was right. It may be shown again while it is good: who joins may have to ask twice.
func (i *invitations) check(secret string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	until, ok := i.good[sha256.Sum256([]byte(secret))]
	return ok && time.Now().Before(until)
}

// giveToken answers who may add members, which is root where users are on, with a new token.
func (s *Server) giveToken(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	if err := s.isRoot(r); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	var fingerprint [sha256.Size]byte
	if s.peers.secure() {
		fingerprint = s.peers.tls.Fingerprint()
	}
	token, until, err := s.invitations.issue(fingerprint)
	if err != nil {
		http.Error(w, err.Error(), http.StatusTooManyRequests)
		return
	}
	s.log.Warn("gave out a join token: who has it may add a member", "remote", r.RemoteAddr, "expires", until.UTC().Format(time.RFC3339))
	members := s.data.machine.Members()
	local, _ := members.Get(members.Local())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	// Who hung up asks again.
	_ = json.NewEncoder(w).Encode(JoinToken{Token: token.String(), Join: local.PeerURLs, Expires: until.UTC().Truncate(time.Second)})
}

// isRoot judges who asks over HTTP, by token or certificate, as the gRPC services would.
func (s *Server) isRoot(r *http.Request) error {
	view := s.data.machine.Auth().View()
	if !view.Enabled() {
		return nil
	}
	if token := r.Header.Get("Authorization"); token != "" {
		by, err := s.tokens.Identify(view, token)
		if err != nil {
			return err
		}
		return view.CheckRoot(by)
	}
	if s.config.ClientTLS.ClientCertAuth && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		name := r.TLS.VerifiedChains[0][0].Subject.CommonName
		return view.CheckRoot(auth.Identity{User: name, Rev: view.Revision()})
	}
	return auth.ErrUserEmpty
}
