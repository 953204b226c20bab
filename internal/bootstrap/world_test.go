package bootstrap

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/member"
)

// fakeDNS is a name server in memory.
type fakeDNS struct {
	hosts map[string]string   // addresses, separated by blanks
	srv   map[string][]string // by service; host:port each

	mu    sync.Mutex
	asked []string
}

func (f *fakeDNS) LookupIPAddr(_ context.Context, host string) ([]net.IPAddr, error) {
	f.mu.Lock()
	f.asked = append(f.asked, host)
	f.mu.Unlock()
	found, ok := f.hosts[strings.TrimSuffix(host, ".")]
	if !ok {
		return nil, fmt.Errorf("lookup %s: no such host", host)
	}
	var all []net.IPAddr
	for _, text := range strings.Fields(found) {
		all = append(all, net.IPAddr{IP: net.ParseIP(text)})
	}
	return all, nil
}

func (f *fakeDNS) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	full := fmt.Sprintf("_%s._%s.%s", service, proto, name)
	var all []*net.SRV
	for _, target := range f.srv[full] {
		host, port, err := net.SplitHostPort(target)
		if err != nil {
			return "", nil, err
		}
		r := &net.SRV{Target: host + "."}
		if _, err := fmt.Sscan(port, &r.Port); err != nil {
			return "", nil, err
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		return "", nil, fmt.Errorf("lookup %s: no such host", full)
	}
	return full, all, nil
}

// fakePeer is the peer port of another member.
type fakePeer struct {
	*httptest.Server
	cluster uint64
	members []remoteMember
	version string // of its cluster
	// downgrade is what it says about a downgrade.
	downgrade string
	join      func(ctx context.Context, r JoinRequest) (Welcome, error)
}

func newPeer(t *testing.T, cluster uint64) *fakePeer {
	t.Helper()
	p := &fakePeer{cluster: cluster, version: "3.7.0", downgrade: "false"}
	mux := http.NewServeMux()
	mux.HandleFunc("/members", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Etcd-Cluster-ID", fmt.Sprintf("%x", p.cluster))
		if err := json.NewEncoder(w).Encode(p.members); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"etcdserver":"3.7.3","etcdcluster":%q,"storage":"3.7.0"}`, p.version)
	})
	mux.HandleFunc("/downgrade/enabled", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, p.downgrade) })
	mux.HandleFunc(JoinPath, func(w http.ResponseWriter, r *http.Request) {
		if p.join == nil {
			http.NotFound(w, r)
			return
		}
		JoinHandler(p.join).ServeHTTP(w, r)
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// deadURL is the URL of somebody who is not there.
func deadURL(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func parseArgs(t *testing.T, args string) *config.Config {
	t.Helper()
	c, err := config.Parse(strings.Fields(args), nil, "keelson")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// resolveArgs finds the Plan of a member with these flags.
func resolveArgs(t *testing.T, args string, dns *fakeDNS) (Plan, error) {
	t.Helper()
	if dns == nil {
		dns = &fakeDNS{}
	}
	return Resolve(t.Context(), parseArgs(t, args), Options{Client: &http.Client{}, Resolver: dns, Log: slog.New(slog.DiscardHandler)})
}

// wantError demands an error with exactly this text.
func wantError(t *testing.T, what string, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("%s\n got  %v\n want %s", what, err, want)
	}
}

// summary is a Plan in one line.
func summary(p Plan) string {
	text := fmt.Sprintf("cluster %x local %x existing %t lost %t sources %v:", p.Cluster, uint64(p.Local), p.Existing, p.Lost, p.Sources)
	for _, m := range p.Members {
		text += fmt.Sprintf(" %x=%s%v", uint64(m.ID), m.Name, m.PeerURLs)
		if m.Learner {
			text += "L"
		}
	}
	return text
}

func wantPlan(t *testing.T, p Plan, err error, want string) {
	t.Helper()
	if got := summary(p); err != nil || got != want {
		t.Errorf("error %v\n got  %s\n want %s", err, got, want)
	}
}

func memberList(id member.ID, urls ...string) []member.Member {
	return []member.Member{{ID: id, PeerURLs: urls}}
}

// idOf is a member's id in a cluster with the usual token.
func idOf(urls ...string) member.ID { return member.ID(config.MemberID(urls, "etcd-cluster")) }
