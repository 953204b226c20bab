package bootstrap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/invariant"
	"github.com/keelson-db/keelson/internal/member"
)

const (
	// JoinPath is where members are asked on their peer ports to take in another one. A POST carries a JoinRequest.
	JoinPath = "/members/join"

	// joinLimit is how long members are asked before a join is given up, joinPause the time between two rounds, and
	// joinAnswerLimit what one may take: the change must go through the log. Of several, one that does not say within
	// joinKnockLimit who is in its cluster is passed over: it may be paused, or on its way back itself.
	joinLimit       = time.Minute
	joinPause       = time.Second
	joinAnswerLimit = 15 * time.Second
	joinKnockLimit  = 3 * time.Second
)

// JoinRequest is what a member without data says of itself.
type JoinRequest struct {
	// Name is what it is called, if it has a name of its own.
	Name string `json:"name,omitempty"`
	// PeerURLs are where it will be reached. They tell two askers apart: who asks again is answered the same.
	PeerURLs []string `json:"peerURLs"`
	// Version is the release that it runs, as in 3.7.0.
	Version string `json:"version"`
	// Secret is that of its join token, or empty.
	Secret string `json:"secret,omitempty"`
	// Replaces is who it was before its data was lost; 0 for one that was nobody.
	Replaces member.ID `json:"replaces,omitempty"`
}

// Welcome is what a member is told that is taken in.
type Welcome struct {
	// Cluster and Local are the cluster's id and its own.
	Cluster uint64
	Local   member.ID
	// Members are all members, the new one too.
	Members []member.Member
}

// welcomeBody is a Welcome on the wire.
type welcomeBody struct {
	ID      member.ID      `json:"id"`
	Members []remoteMember `json:"members"`
}

// join asks the members that the operator named to take this one in.
func (b *beginning) join(ctx context.Context) (Plan, error) {
	plan, err := b.ask(ctx, b.config.Join, b.before(ctx))
	if err != nil {
		return Plan{}, fmt.Errorf("join a cluster: %w", err)
	}
	return plan, nil
}

// before is who this member was, if it may come back after a loss of its data and the cluster knows one at its addresses
// that has started; else 0.
func (b *beginning) before(ctx context.Context) member.ID {
	if !b.config.AutoRejoin {
		return 0
	}
	for _, u := range b.config.Join {
		cluster, err := b.peers.members(ctx, u, knownLimit)
		if err != nil {
			continue // whoever is asked to take this one in says more
		}
		for _, m := range cluster.members {
			if len(m.ClientURLs) > 0 && len(without(m.PeerURLs, b.advertised())) < len(m.PeerURLs) {
				return m.ID
			}
		}
	}
	return 0
}

// rejoin asks the others to take in again a member that has lost its data, under a new id.
func (b *beginning) rejoin(ctx context.Context, lost *Lost) (Plan, error) {
	b.log.Warn("this member has lost its data: it asks the others to take it in again as a learner", "member", fmt.Sprintf("%x", uint64(lost.ID)))
	plan, err := b.ask(ctx, lost.Sources, lost.ID)
	if err != nil {
		return Plan{}, fmt.Errorf("%w, and it could not join again: %w", lost, err)
	}
	return plan, nil
}

// ask goes round the members until one takes this one in or says why not.
func (b *beginning) ask(ctx context.Context, urls []string, replaces member.ID) (Plan, error) {
	urls = without(urls, b.advertised()) // those of what this member was; its own port is open and answers nothing yet
	token, err := ParseToken(b.config.JoinToken)
	if err != nil {
		return Plan{}, err
	}
	request := JoinRequest{PeerURLs: b.advertised(), Version: config.APIVersion(), Secret: token.Secret, Replaces: replaces}
	if b.config.Name != "default" {
		request.Name = b.config.Name
	}
	body, err := json.Marshal(request)
	if err != nil {
		return Plan{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	for {
		var failed error
		for _, u := range urls {
			var plan Plan
			if plan, failed = b.askOne(ctx, u, token, body, len(urls) > 1); failed == nil {
				return plan, nil
			}
			if no, ok := errors.AsType[*refusal](failed); ok && no.status < http.StatusInternalServerError {
				return Plan{}, fmt.Errorf("the member at %s refuses: %w%s", u, failed, no.hint())
			}
			b.log.Warn("a member could not take this one in yet", "url", u, "error", failed.Error())
		}
		select {
		case <-ctx.Done():
			return Plan{}, fmt.Errorf("no member took this one in within %v, the last answer was: %w", joinLimit, failed)
		case <-time.After(joinPause):
		}
	}
}

// askOne puts the request to one member, which is to answer something easy first if there are others to ask. A token that
// names a certificate is sent to nobody else.
func (b *beginning) askOne(ctx context.Context, u string, token Token, body []byte, others bool) (Plan, error) {
	p := b.peers
	switch secure := strings.HasPrefix(u, "https://"); {
	case secure && token.Fingerprint != [32]byte{}:
		invariant.Check(b.pinned != nil, "who joins with a token can be sure of the other side")
		p.client = b.pinned(token.Fingerprint)
	case !secure && token.Secret != "":
		b.log.Warn("the join token is sent in plain text: https:// hides it", "url", u)
	}
	if others {
		if _, _, err := p.get(ctx, u+"/members", joinKnockLimit); err != nil {
			return Plan{}, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u+JoinPath, bytes.NewReader(body))
	if err != nil {
		return Plan{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, header, err := p.do(request, joinAnswerLimit)
	if err != nil {
		return Plan{}, err
	}
	return parseWelcome(answer, header)
}

func parseWelcome(body []byte, header http.Header) (Plan, error) {
	var answer welcomeBody
	if err := json.Unmarshal(body, &answer); err != nil {
		return Plan{}, fmt.Errorf("read the answer: %w", err)
	}
	cluster, err := newRemoteCluster(header, answer.Members)
	if err != nil {
		return Plan{}, err
	}
	if _, ok := cluster.find(answer.ID); !ok {
		return Plan{}, fmt.Errorf("read the answer: the new member %x is not on the list", uint64(answer.ID))
	}
	return cluster.plan(answer.ID), nil
}
