package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneMemberFoundsEtcdsCluster(t *testing.T) {
	p, err := resolveArgs(t, "", nil)
	wantPlan(t, p, err, "cluster cdf818194e3a8c32 local 8e9e05c52164694d existing false lost false sources []: 8e9e05c52164694d=default[http://localhost:2380]")
}

// TestThreeMembersFoundOneCluster compares with the ids that an etcd of three members had.
func TestThreeMembersFoundOneCluster(t *testing.T) {
	const listed = "--initial-cluster=a=http://127.0.0.1:13380,b=http://127.0.0.1:13381,c=http://127.0.0.1:13382 "
	const members = "1e538232f1a33ff2=a[http://127.0.0.1:13380] 2ec09f3b27faeea8=c[http://127.0.0.1:13382] b00572db44509927=b[http://127.0.0.1:13381]"
	for args, local := range map[string]string{
		"--name=a --initial-advertise-peer-urls=http://127.0.0.1:13380": "1e538232f1a33ff2",
		"--name=b --initial-advertise-peer-urls=http://127.0.0.1:13381": "b00572db44509927",
		"--name=c --initial-advertise-peer-urls=http://127.0.0.1:13382": "2ec09f3b27faeea8",
	} {
		p, err := resolveArgs(t, listed+args, nil)
		wantPlan(t, p, err, "cluster 728a9fc9659c7906 local "+local+" existing false lost false sources []: "+members)
	}
}

func TestAListThatDoesNotFitIsRefusedInEtcdsWords(t *testing.T) {
	dns := &fakeDNS{hosts: map[string]string{"a": "10.0.0.1", "a.too": "10.0.0.1", "b": "10.0.0.2"}}
	for _, c := range []struct{ args, want string }{
		{"--initial-cluster=a=http://localhost:2380", `couldn't find local name "default" in the initial cluster configuration`},
		{"--initial-cluster=", `couldn't find local name "default" in the initial cluster configuration`},
		{"--discovery-srv-name=x", `couldn't find local name "default" in the initial cluster configuration`},
		{"--initial-cluster=default=http://10.0.0.1:2380", `--initial-cluster has default=http://10.0.0.1:2380 but missing from ` +
			`--initial-advertise-peer-urls=http://localhost:2380 (resolved urls: "http://localhost:2380" != "http://10.0.0.1:2380")`},
		{"--initial-cluster=default=http://a:1 --initial-advertise-peer-urls=http://b:1", `--initial-cluster has default=http://a:1 but missing from ` +
			`--initial-advertise-peer-urls=http://b:1 (resolved urls: "http://10.0.0.2:1" != "http://10.0.0.1:1")`},
		{"--initial-cluster=default=https://a:1 --initial-advertise-peer-urls=http://10.0.0.1:1", `--initial-cluster has default=https://a:1 but missing from ` +
			`--initial-advertise-peer-urls=http://10.0.0.1:1 (resolved urls: "http://10.0.0.1:1" != "https://10.0.0.1:1")`},
		// Two names of one place are not two places.
		{"--initial-cluster=default=http://10.0.0.1:1,default=http://10.0.0.2:1 --initial-advertise-peer-urls=http://a:1,http://a.too:1",
			`--initial-cluster has default=http://10.0.0.1:1,default=http://10.0.0.2:1 but missing from --initial-advertise-peer-urls=http://a.too:1,http://a:1 ` +
				`(resolved urls: "http://10.0.0.1:1" != "http://10.0.0.2:1")`},
		{"--initial-advertise-peer-urls=http://10.0.0.1:2380,http://localhost:2380",
			"--initial-advertise-peer-urls has http://localhost:2380 but missing from --initial-cluster=default=http://10.0.0.1:2380,default=http://localhost:2380"},
		{"--initial-cluster=default=http://10.0.0.1:1,default=http://10.0.0.1:1 --initial-advertise-peer-urls=http://10.0.0.1:1",
			`failed to resolve http://10.0.0.1:1 to match --initial-cluster=default=http://10.0.0.1:1 (len(["http://10.0.0.1:1"]) != len(["http://10.0.0.1:1" "http://10.0.0.1:1"]))`},
		{"--initial-cluster=default=http://localhost:2380,b=http://localhost:2380",
			"initial cluster b=http://localhost:2380,default=http://localhost:2380 has duplicate url"},
	} {
		args := c.args
		if args == "--initial-advertise-peer-urls=http://10.0.0.1:2380,http://localhost:2380" {
			args += " --initial-cluster=default=http://10.0.0.1:2380"
		}
		_, err := resolveArgs(t, args, dns)
		wantError(t, args, err, c.want)
	}
}

// TestTwoSpellingsOfOnePlace lets what is advertised differ from what is listed, as long as both lead to one place.
func TestTwoSpellingsOfOnePlace(t *testing.T) {
	dns := &fakeDNS{hosts: map[string]string{"a": "10.0.0.1", "b": "10.0.0.9 10.0.0.1", "c": "fe80::1"}}
	for _, args := range []string{
		"--initial-cluster=default=http://a:1 --initial-advertise-peer-urls=http://10.0.0.1:1",
		"--initial-cluster=default=http://a:1 --initial-advertise-peer-urls=http://b:1",
		"--initial-cluster=default=http://c:1,default=http://10.0.0.1:2 --initial-advertise-peer-urls=http://a:2,http://[fe80:0::1]:1",
		"--initial-cluster=default=http://[fe80:0::1]:1 --initial-advertise-peer-urls=http://[fe80::1]:1",
		"--initial-cluster=default=http://localhost:1 --initial-advertise-peer-urls=http://localhost:1",
		"--initial-cluster=default=unix://s:1 --initial-advertise-peer-urls=unix://s:1",
	} {
		if _, err := resolveArgs(t, args, dns); err != nil {
			t.Errorf("%s: %v", args, err)
		}
	}
	dns.asked = nil
	if _, err := resolveArgs(t, "--initial-cluster=default=http://nowhere:1 --initial-advertise-peer-urls=http://nowhere:1", dns); err != nil || len(dns.asked) > 0 {
		t.Errorf("a name server was asked about equal texts: %v %q", err, dns.asked)
	}
}

// TestANameIsAskedForOnce compares the same names again and again.
func TestANameIsAskedForOnce(t *testing.T) {
	dns := &fakeDNS{hosts: map[string]string{"a": "10.0.0.1"}}
	n := &names{resolver: dns, log: slog.New(slog.DiscardHandler), known: map[string][]net.IPAddr{}}
	for range 3 {
		if err := n.compare(t.Context(), []string{"http://a:1"}, []string{"http://10.0.0.1:1"}); err != nil {
			t.Error(err)
		}
	}
	if len(dns.asked) != 1 {
		t.Errorf("asked for %q", dns.asked)
	}
}

// lateDNS has no answer for a while.
type lateDNS struct {
	fakeDNS
	ready time.Time
}

func (l *lateDNS) LookupIPAddr(ctx context.Context, host string) (found []net.IPAddr, err error) {
	if time.Now().Before(l.ready) {
		return nil, errors.New("no such host yet")
	}
	return l.fakeDNS.LookupIPAddr(ctx, host)
}

// TestANameThatComesLateIsWaitedFor starts a member before its name is known.
func TestANameThatComesLateIsWaitedFor(t *testing.T) {
	const args = "--initial-cluster=default=http://a:1 --initial-advertise-peer-urls=http://10.0.0.1:1"
	for _, c := range []struct {
		after time.Duration
		want  string
	}{
		{20 * time.Second, ""},
		{time.Hour, `--initial-cluster has default=http://a:1 but missing from --initial-advertise-peer-urls=http://10.0.0.1:1 ` +
			`(failed to resolve "http://a:1" (no such host yet))`},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			dns := &lateDNS{fakeDNS: fakeDNS{hosts: map[string]string{"a": "10.0.0.1"}}, ready: begin.Add(c.after)}
			_, err := Resolve(t.Context(), parseArgs(t, args), Options{Client: &http.Client{}, Resolver: dns, Log: slog.New(slog.DiscardHandler)})
			if c.want != "" {
				wantError(t, args, err, c.want)
			} else if err != nil {
				t.Error(err)
			}
			if took := time.Since(begin); took != min(c.after, resolveLimit) {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestAMemberThatOthersKnowFoundsNothing starts a member without data beside others that remember it.
func TestAMemberThatOthersKnowFoundsNothing(t *testing.T) {
	dead, other := deadURL(t), newPeer(t, 7)
	const own = "http://127.0.0.1:1"
	args := fmt.Sprintf("--name=a --initial-cluster=a=%s,b=%s,c=%s --initial-advertise-peer-urls=%s", own, dead, other.URL, own)
	_, err := resolveArgs(t, args, nil)
	if err != nil {
		t.Errorf("nobody knows it: %v", err)
	}
	other.members = []remoteMember{{ID: 5, PeerURLs: []string{other.URL}}, {ID: idOf(own), PeerURLs: []string{own}, Name: "a"}}
	if _, err = resolveArgs(t, args, nil); err != nil {
		t.Errorf("it is known and has not started: %v", err)
	}
	other.members[1].ClientURLs = []string{"http://127.0.0.1:2"}
	_, err = resolveArgs(t, args, nil)
	wantError(t, args, err, fmt.Sprintf("member %x has already been bootstrapped", uint64(idOf(own))))
	lost, ok := errors.AsType[*Lost](err)
	if !ok || lost.Cluster != 7 || lost.ID != idOf(own) || len(lost.Sources) != 1 || lost.Sources[0] != other.URL {
		t.Errorf("%+v", lost)
	}
	// A third one may know it although the first that answers does not.
	ignorant := newPeer(t, 9)
	ignorant.members = []remoteMember{{ID: 5, PeerURLs: []string{ignorant.URL}}}
	_, err = resolveArgs(t, fmt.Sprintf("--name=a --initial-cluster=a=%s,b=%s,c=%s --initial-advertise-peer-urls=%s", own, ignorant.URL, other.URL, own), nil)
	if _, ok := errors.AsType[*Lost](err); !ok {
		t.Error(err)
	}
}

// TestALostMemberComesBackWhenItMay asks to be taken in again, also when the cluster has removed it in the meantime.
func TestALostMemberComesBackWhenItMay(t *testing.T) {
	const own = "http://127.0.0.1:1"
	other := newPeer(t, 7)
	args := fmt.Sprintf("--name=a --initial-cluster=a=%s,b=%s --initial-advertise-peer-urls=%s ", own, other.URL, own)
	founding, err := resolveArgs(t, args, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got JoinRequest
	other.join = func(_ context.Context, r JoinRequest) (Welcome, error) {
		got = r
		return Welcome{Cluster: founding.Cluster, Local: 77, Members: append(memberList(5, other.URL), memberList(77, own)...)}, nil
	}
	for name, known := range map[string][]remoteMember{
		"started": {{ID: 5, PeerURLs: []string{other.URL}}, {ID: idOf(own), PeerURLs: []string{own}, ClientURLs: []string{"http://127.0.0.1:2"}}},
		"removed": {{ID: 5, PeerURLs: []string{other.URL}}, {ID: 77, PeerURLs: []string{own}, IsLearner: true}},
	} {
		other.cluster, other.members = founding.Cluster, known
		for _, state := range []string{"new", "existing"} {
			if name == "removed" && state == "existing" {
				continue // the member's new id is on the list: it is the one that is meant
			}
			p, err := resolveArgs(t, args+"--auto-rejoin --initial-cluster-state="+state, nil)
			wantPlan(t, p, err, fmt.Sprintf("cluster %x local 4d existing true lost false sources [%s]: 5=[%s] 4d=[%s]", founding.Cluster, other.URL, other.URL, own))
			if got.Replaces != idOf(own) || got.Name != "a" || len(got.PeerURLs) != 1 || got.PeerURLs[0] != own {
				t.Errorf("%s %s: asked with %+v", name, state, got)
			}
			got = JoinRequest{}
		}
	}
	other.join = func(context.Context, JoinRequest) (Welcome, error) { return Welcome{}, errors.New("not today") }
	_, err = resolveArgs(t, args+"--auto-rejoin", nil)
	wantError(t, "refused", err, fmt.Sprintf("member %x has already been bootstrapped, and it could not join again: the member at %s refuses: status 409: not today", uint64(idOf(own)), other.URL))
	// Without leave, and removed: what the others say to it is their business.
	other.members = []remoteMember{{ID: 5, PeerURLs: []string{other.URL}}}
	if _, err := resolveArgs(t, args, nil); err != nil {
		t.Error(err)
	}
}

func TestAStopEndsTheSearch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := parseArgs(t, "--initial-cluster=default=http://localhost:2380,b="+deadURL(t))
	if _, err := Resolve(ctx, c, Options{Client: &http.Client{}, Resolver: &fakeDNS{}, Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
