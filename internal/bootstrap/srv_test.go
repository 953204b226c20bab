package bootstrap

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
)

// threeHosts is a domain with three members, one of them on another port.
func threeHosts() *fakeDNS {
	return &fakeDNS{
		hosts: map[string]string{"a.d": "10.0.0.1", "b.d": "10.0.0.2", "c.d": "127.0.0.1"},
		srv:   map[string][]string{"_etcd-server._tcp.d": {"a.d:2380", "b.d:2380", "c.d:1"}},
	}
}

func TestRecordsListTheMembers(t *testing.T) {
	const byName = "--discovery-srv=d --name=me --initial-advertise-peer-urls=http://a.d:2380"
	a, err := resolveArgs(t, byName, threeHosts())
	ids := [3]string{fmt.Sprintf("%x", uint64(idOf("http://a.d:2380"))), fmt.Sprintf("%x", uint64(idOf("http://b.d:2380"))), fmt.Sprintf("%x", uint64(idOf("http://c.d:1")))}
	if err != nil || fmt.Sprintf("%x", uint64(a.Local)) != ids[0] || len(a.Members) != 3 || a.Existing {
		t.Errorf("%s %v", summary(a), err)
	}
	for _, m := range a.Members {
		if (m.Name == "me") != (m.ID == a.Local) {
			t.Errorf("%+v", m)
		}
	}
	// Who advertises an address finds itself by it, and founds the same cluster.
	b, err := resolveArgs(t, "--discovery-srv=d --name=other --initial-advertise-peer-urls=http://10.0.0.2:2380", threeHosts())
	if err != nil || b.Cluster != a.Cluster || fmt.Sprintf("%x", uint64(b.Local)) != ids[1] {
		t.Errorf("%s %v", summary(b), err)
	}
	// A suffix asks for other services, and both kinds are put together.
	dns := threeHosts()
	dns.srv = map[string][]string{"_etcd-server-x._tcp.d": {"b.d:2380", "c.d:1"}, "_etcd-server-ssl-x._tcp.d": {"a.d:2380"}, "_etcd-server._tcp.d": {"c.d:9"}}
	p, err := resolveArgs(t, "--discovery-srv=d --discovery-srv-name=x --name=me --initial-advertise-peer-urls=https://a.d:2380", dns)
	if err != nil || p.Local != idOf("https://a.d:2380") || len(p.Members) != 3 {
		t.Errorf("%s %v", summary(p), err)
	}
}

func TestRecordsLeadIntoARunningCluster(t *testing.T) {
	b := running(t)
	port := b.URL[len("http://127.0.0.1:"):]
	dns := &fakeDNS{hosts: map[string]string{"a.d": "127.0.0.1", "b.d": "127.0.0.1"}, srv: map[string][]string{"_etcd-server._tcp.d": {"a.d:1", "b.d:" + port}}}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, strings.Replace(addr, "b.d", "127.0.0.1", 1))
	}}}
	defer client.CloseIdleConnections()
	c := parseArgs(t, "--discovery-srv=d --name=a --initial-cluster-state=existing --initial-advertise-peer-urls="+own)
	p, err := Resolve(t.Context(), c, Options{Client: client, Resolver: dns, Log: slog.New(slog.DiscardHandler)})
	wantPlan(t, p, err, fmt.Sprintf("cluster abc local 9 existing true lost false sources [%s]: 5=b[%s] 9=[%s]", b.URL, b.URL, own))
}

func TestRecordsOfNoUseAreRefusedInEtcdsWords(t *testing.T) {
	const args = "--discovery-srv=d --name=me --initial-advertise-peer-urls="
	const setup, ssl, plain = "error setting up initial cluster: ", "error querying DNS SRV records for _etcd-server-ssl ", "error querying DNS SRV records for _etcd-server "
	const noSSL = ssl + "lookup _etcd-server-ssl._tcp.d: no such host\n"
	for name, c := range map[string]struct {
		args, want string
		change     func(*fakeDNS)
	}{
		"no records": {args + "http://a.d:2380", setup + noSSL + plain + "lookup _etcd-server._tcp.d: no such host", func(f *fakeDNS) { f.srv = nil }},
		"no such host": {args + "http://x.d:2380", setup + ssl + "lookup x.d: no such host\n" + plain + "lookup x.d: no such host",
			func(*fakeDNS) {}},
		"hosts unknown": {args + "http://127.0.0.1:2380", setup + noSSL + plain + "lookup z.d.: no such host",
			func(f *fakeDNS) { f.srv["_etcd-server._tcp.d"] = []string{"z.d:1"} }},
		"other scheme": {args + "https://a.d:2380", setup + noSSL + plain + "bootstrap at http://a.d:2380 from DNS for etcd-server has scheme mismatch with expected peer https://a.d:2380",
			func(f *fakeDNS) { f.srv["_etcd-server._tcp.d"] = []string{"a.d:2380"} }},
		"not listed":   {args + "http://a.d:2381", setup + `cannot find local etcd member "me" in SRV records`, func(*fakeDNS) {}},
		"listed twice": {args + "http://a.d:2380", "", func(f *fakeDNS) { f.srv["_etcd-server._tcp.d"] = []string{"a.d:2380", "b.d:1", "z.d:1"} }},
	} {
		dns := threeHosts()
		c.change(dns)
		p, err := resolveArgs(t, c.args, dns)
		if c.want != "" {
			wantError(t, name, err, c.want)
		} else if err != nil || len(p.Members) != 2 {
			t.Errorf("%s: a record of no use beside others that are: %s %v", name, summary(p), err)
		}
	}
}
