package bootstrap

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-db/keelson/internal/config"
)

func TestAMemberJoinsByAsking(t *testing.T) {
	dead, other := deadURL(t), newPeer(t, 0)
	var got JoinRequest
	other.join = func(_ context.Context, r JoinRequest) (Welcome, error) {
		got = r
		members := append(memberList(9, r.PeerURLs...), memberList(5, other.URL)...)
		members[0].Learner = true
		return Welcome{Cluster: 0xabc, Local: 9, Members: members}, nil
	}
	p, err := resolveArgs(t, fmt.Sprintf("--join=%s,%s --join-token=k1..secret --initial-advertise-peer-urls=http://127.0.0.1:2,http://127.0.0.1:1", dead, other.URL), nil)
	wantPlan(t, p, err, fmt.Sprintf("cluster abc local 9 existing true lost false sources [%s]: 5=[%s] 9=[http://127.0.0.1:1 http://127.0.0.1:2]L", other.URL, other.URL))
	if got.Secret != "secret" || got.Name != "" || got.Version != config.APIVersion() || got.Replaces != 0 {
		t.Errorf("%+v", got)
	}
	if _, err := resolveArgs(t, "--name=b --join="+other.URL, nil); err != nil || got.Name != "b" || got.Secret != "" {
		t.Errorf("%+v %v", got, err)
	}
}

func TestARefusalToTakeInIsFinal(t *testing.T) {
	other := newPeer(t, 0)
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("no: %w", ErrJoinToken), "refuses: status 403: no: the join token is wrong or too old: ask a member for a new one"},
		{errors.New("etcdserver: too many learner members in cluster"), "refuses: status 409: etcdserver: too many learner members in cluster"},
	} {
		other.join = func(context.Context, JoinRequest) (Welcome, error) { return Welcome{}, c.err }
		_, err := resolveArgs(t, "--join="+other.URL, nil)
		wantError(t, "refused", err, "join a cluster: the member at "+other.URL+" "+c.want)
	}
	other.join = nil
	_, err := resolveArgs(t, "--join="+other.URL, nil)
	wantError(t, "no member of ours", err, "join a cluster: the member at "+other.URL+" refuses: status 404: 404 page not found; is that the peer port of a member of Keelson?")
	_, err = resolveArgs(t, "--join-token=nonsense --join="+other.URL, nil)
	wantError(t, "no token", err, "join a cluster: --join-token is not one that a member gave out: copy all of it")
}

// roundTrip answers requests without a network.
type roundTrip func(r *http.Request) (int, string)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := f(r)
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: status, Header: http.Header{clusterIDHeader: nil, "X-Etcd-Cluster-Id": {"abc"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// TestWhoJoinsAsksUntilSomebodyIsThere starts a joiner before the cluster, which has a leader even later, and one
// beside a cluster that never comes.
func TestWhoJoinsAsksUntilSomebodyIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (int, string) {
			switch late := time.Since(begin); {
			case late < 10*time.Second:
				return 0, ""
			case late < 20*time.Second:
				return http.StatusServiceUnavailable, ErrJoinLater.Error()
			case late < 25*time.Second:
				return http.StatusOK, `{"id":9,"members":[{"id":5}]}` // not on its own list
			}
			return http.StatusOK, `{"id":9,"members":[{"id":9},{"id":5,"peerURLs":["http://b:1"]}]}`
		})}
		p, err := Resolve(t.Context(), parseArgs(t, "--join=b:1"), Options{Client: client, Log: slog.New(slog.DiscardHandler)})
		if err != nil || p.Cluster != 0xabc || p.Local != 9 || time.Since(begin) != 25*time.Second {
			t.Errorf("%s %v after %v", summary(p), err, time.Since(begin))
		}
		begin = time.Now().Add(-15 * time.Second)
		client.Transport = roundTrip(func(*http.Request) (int, string) { return 0, "" })
		_, err = Resolve(t.Context(), parseArgs(t, "--join=b:1"), Options{Client: client, Log: slog.New(slog.DiscardHandler)})
		wantError(t, "nobody", err, `join a cluster: no member took this one in within 1m0s, the last answer was: Post "http://b:1/members/join": connection refused`)
	})
}

// TestWhoDoesNotAnswerIsPassedOver asks a member first that takes connections and says nothing, as one that is paused.
func TestWhoDoesNotAnswerIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (int, string) {
			if r.URL.Host == "a:1" {
				<-r.Context().Done()
				return 0, ""
			}
			return http.StatusOK, `{"id":9,"members":[{"id":9},{"id":5,"peerURLs":["http://b:1"]}]}`
		})}
		p, err := Resolve(t.Context(), parseArgs(t, "--join=a:1,b:1"), Options{Client: client, Log: slog.New(slog.DiscardHandler)})
		if took := time.Since(begin); err != nil || p.Local != 9 || took != joinKnockLimit {
			t.Errorf("%s %v after %v", summary(p), err, took)
		}
	})
}

// TestATokenIsShownOnlyToTheMemberThatItNames has a token with a fingerprint and one without.
func TestATokenIsShownOnlyToTheMemberThatItNames(t *testing.T) {
	token := NewToken([32]byte{1, 2, 3})
	var asked []string
	ask := func(name string) *http.Client {
		return &http.Client{Transport: roundTrip(func(r *http.Request) (int, string) {
			asked = append(asked, name+" "+r.URL.String())
			return http.StatusForbidden, "no"
		})}
	}
	o := Options{Client: ask("any"), Log: slog.New(slog.DiscardHandler), Pinned: func(f [32]byte) *http.Client { return ask("pinned " + hex.EncodeToString(f[:3])) }}
	for _, args := range []string{"--join=https://a:1 --join-token=" + token.String(), "--join=https://a:1", "--join=http://a:1 --join-token=" + token.String()} {
		if _, err := Resolve(t.Context(), parseArgs(t, args), o); err == nil {
			t.Error("a refusal is a welcome")
		}
	}
	want := "pinned 010203 https://a:1/members/join, any https://a:1/members/join, any http://a:1/members/join"
	if got := strings.Join(asked, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTokensKeepTheirForm(t *testing.T) {
	a, b := NewToken([32]byte{7}), NewToken([32]byte{})
	if a.Secret == b.Secret || len(a.Secret) < 20 {
		t.Errorf("secrets %q %q", a.Secret, b.Secret)
	}
	for _, token := range []Token{a, b, {}} {
		text := token.String()
		if token.Secret == "" {
			text = ""
		}
		if got, err := ParseToken(text); err != nil || got != token {
			t.Errorf("%q: %+v %v, want %+v", text, got, err, token)
		}
	}
	for _, text := range []string{"x", "k1..", "k1.a.b", "k2..s", "k1.." + a.Secret + ".x", a.String()[1:], "k1." + strings.Repeat("A", 50) + ".s"} {
		if got, err := ParseToken(text); !errors.Is(err, ErrTokenForm) {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(NewToken([32]byte{7}).String())
	f.Add("k1..x")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err != nil || text == "" {
			return
		}
		if again, err := ParseToken(token.String()); err != nil || again != token {
			t.Fatalf("%q: %+v, then %+v %v", text, token, again, err)
		}
	})
}

// TestTheHandlerReadsOnlyRequestsToJoin speaks to it as others might.
func TestTheHandlerReadsOnlyRequestsToJoin(t *testing.T) {
	var got JoinRequest
	handler := JoinHandler(func(_ context.Context, r JoinRequest) (Welcome, error) {
		got = r
		return Welcome{}, fmt.Errorf("%w: no leader", ErrJoinLater)
	})
	for _, c := range []struct {
		method, body string
		status       int
		answer       string
	}{
		{"GET", "", 405, "Method Not Allowed"},
		{"POST", "", 400, "read the request to join: unexpected end of JSON input"},
		{"POST", "{}", 400, "read the request to join: it has 0 peer URLs, and 1 to 16 are needed"},
		{"POST", `{"peerURLs":["` + strings.Repeat(`http://a:1","`, 16) + `http://a:1"]}`, 400, "read the request to join: it has 17 peer URLs, and 1 to 16 are needed"},
		{"POST", `{"peerURLs":["a:1"]}`, 400, "read the request to join: URL scheme must be http, https, unix, or unixs: a:1"},
		{"POST", `{"name":"` + strings.Repeat("x", maxJoinBytes) + `"}`, 400, "read the request to join: http: request body too large"},
		{"POST", `{"peerURLs":["http://b:1","http://a:1"],"replaces":18446744073709551615}`, 503, "the cluster cannot take in a member now: no leader"},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(c.method, JoinPath, strings.NewReader(c.body)))
		if answer := strings.TrimSpace(w.Body.String()); w.Code != c.status || answer != c.answer {
			t.Errorf("%s %.60s: %d %s", c.method, c.body, w.Code, answer)
		}
	}
	if strings.Join(got.PeerURLs, " ") != "http://a:1 http://b:1" || got.Replaces != 1<<64-1 {
		t.Errorf("%+v", got)
	}
}

func FuzzReadJoin(f *testing.F) {
	f.Add(`{"name":"n","peerURLs":["http://a:1"],"version":"3.7.0","secret":"s","replaces":1}`)
	f.Add(`{"peerURLs":["x=http://a:1,y=http://b:1"]}`)
	f.Fuzz(func(t *testing.T, body string) {
		r, err := readJoin(httptest.NewRecorder(), httptest.NewRequest("POST", JoinPath, strings.NewReader(body)))
		if err == nil && (len(r.PeerURLs) == 0 || len(r.PeerURLs) > maxJoinURLs) {
			t.Fatalf("%+v", r)
		}
	})
}
