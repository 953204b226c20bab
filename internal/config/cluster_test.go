package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNothingGivenMeansEtcdsDefaultsForMembers(t *testing.T) {
	c := parseLine(t)
	got := fmt.Sprintf("%+v", c.Cluster)
	want := "{DiscoverySRV: DiscoverySRVName: Discovery:{Endpoints:[] Token: DialTimeout:2s RequestTimeout:5s KeepAliveTime:2s KeepAliveTimeout:6s " +
		"CertFile: KeyFile: TrustedCAFile: ServerName: InsecureTransport:true InsecureSkipVerify:false User: Password: AuthToken:} " +
		"Join:[] JoinToken: AutoRejoin:false " + fmt.Sprintf("PeerTLS:%+v", c.PeerTLS) + " PeerAutoTLS:false PeerLocalAddress:invalid IP " +
		"RaftReadTimeout:5s RaftWriteTimeout:5s ForceNewCluster:false StrictReconfigCheck:true MaxLearners:1 InitialElectionTickAdvance:true " +
		"SnapshotCatchUpEntries:5000 SnapshotRate:0 CompareInterval:10s " +
		"LeaderPriority:0 LeaderLeaseReads:false AutopilotPromote:false AutopilotRemoveDeadAfter:0s}"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if c.PeersUseTLS() {
		t.Error("TLS between members is on by default")
	}
}

func TestAMemberOfManyIsRead(t *testing.T) {
	c := parseLine(t, strings.Fields("--name=b --initial-cluster=a=http://a:2380,b=http://b:2380,b=http://b:2381,c=http://c:2380 "+
		"--initial-advertise-peer-urls=http://b:2380,http://b:2381 --initial-cluster-state=existing --force-new-cluster --strict-reconfig-check=false "+
		"--max-learners=3 --initial-election-tick-advance=false --snapshot-catchup-entries=7 --raft-read-timeout=9s --raft-write-timeout=1s "+
		"--auto-rejoin --leader-priority=-5 --leader-lease-reads --autopilot-promote --autopilot-remove-dead-after=1h --snapshot-rate=1000000 --compare-interval=0")...)
	if got := c.initialClusterText(); got != "a=http://a:2380,b=http://b:2380,b=http://b:2381,c=http://c:2380" || c.InitialClusterState != "existing" {
		t.Errorf("%s %s", got, c.InitialClusterState)
	}
	want := Cluster{
		Discovery: c.Discovery, PeerTLS: c.PeerTLS, RaftReadTimeout: 9 * time.Second, RaftWriteTimeout: 5 * time.Second, ForceNewCluster: true, MaxLearners: 3,
		SnapshotCatchUpEntries: 7, SnapshotRate: 1_000_000, AutoRejoin: true, LeaderPriority: -5, LeaderLeaseReads: true,
		AutopilotPromote: true, AutopilotRemoveDeadAfter: time.Hour,
	}
	if got, want := fmt.Sprintf("%+v", c.Cluster), fmt.Sprintf("%+v", want); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := strings.Join(c.Warnings, "\n"); got != "--raft-write-timeout was raised to its minimum of 5s." {
		t.Error(got)
	}
}

// TestDiscoveryIsReadFromFlagsAndFile sets everything that there is to say about a discovery cluster.
func TestDiscoveryIsReadFromFlagsAndFile(t *testing.T) {
	flags := parseLine(t, strings.Fields("--discovery-endpoints=d:1,e:2 --discovery-token=t --discovery-dial-timeout=1s --discovery-request-timeout=2s "+
		"--discovery-keepalive-time=3s --discovery-keepalive-timeout=4s --discovery-insecure-transport=false --discovery-insecure-skip-tls-verify "+
		"--discovery-cert=c --discovery-key=k --discovery-cacert=ca --discovery-user=u --discovery-password=p")...)
	file := parseFile(t, `
discovery-config:
  token: t
  client:
    endpoints: ["d:1", "e:2"]
    dial-timeout: 1000000000
    request-timeout: 2000000000
    keepalive-time: 3000000000
    keepalive-timeout: 4000000000
    secure: {cert: c, key: k, cacert: ca, server-name: s, insecure-transport: false, insecure-skip-tls-verify: true}
    auth: {username: u, password: p, token: a}
`)
	want := Discovery{
		Endpoints: []string{"d:1", "e:2"}, Token: "t", DialTimeout: time.Second, RequestTimeout: 2 * time.Second, KeepAliveTime: 3 * time.Second,
		KeepAliveTimeout: 4 * time.Second, CertFile: "c", KeyFile: "k", TrustedCAFile: "ca", InsecureSkipVerify: true, User: "u", Password: "p",
	}
	if got, want := fmt.Sprintf("%+v", flags.Discovery), fmt.Sprintf("%+v", want); got != want {
		t.Errorf("flags: got  %s\nwant %s", got, want)
	}
	want.ServerName, want.AuthToken = "s", "a"
	if got, want := fmt.Sprintf("%+v", file.Discovery), fmt.Sprintf("%+v", want); got != want {
		t.Errorf("file: got  %s\nwant %s", got, want)
	}
	for _, c := range []*Config{flags, file} {
		if len(c.InitialCluster) != 0 || len(c.Warnings) != 0 {
			t.Errorf("initial cluster %v, warnings %q", c.InitialCluster, c.Warnings)
		}
	}
}

// TestOtherWaysToBeginTakeTheDefaultsPlace has every way that makes the default of --initial-cluster go, and those
// that do not.
func TestOtherWaysToBeginTakeTheDefaultsPlace(t *testing.T) {
	for args, want := range map[string]string{
		"":                     "n=http://localhost:2380",
		"--discovery-srv=d":    "",
		"--discovery-srv-name": "",
		"--discovery-endpoints=d:1 --discovery-token=t": "",
		"--join=a:1":       "",
		"--join-token=abc": "n=http://localhost:2380",
	} {
		args = strings.Replace(args, "srv-name", "srv-name=x", 1)
		if got := parseLine(t, strings.Fields("--name=n "+args)...).initialClusterText(); got != want {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
	for data, want := range map[string]string{
		"discovery-srv: d": "",
		"discovery-srv: d\ninitial-cluster: default=http://localhost:2380": "",
		"discovery-srv-name: d": "default=http://localhost:2380",
	} {
		if got := parseFile(t, data).initialClusterText(); got != want {
			t.Errorf("%s: %q, want %q", data, got, want)
		}
	}
}

func TestJoinTakesAddressesAndURLs(t *testing.T) {
	c := parseLine(t, "--join=10.0.0.1:2380, https://b:1,[::1]:7", "--join-token=abc")
	if want := []string{"http://10.0.0.1:2380", "https://b:1", "http://[::1]:7"}; !slices.Equal(c.Join, want) || c.JoinToken != "abc" {
		t.Errorf("%q %q", c.Join, c.JoinToken)
	}
	c = parseLine(t, "--join=10.0.0.1:2380", "--listen-peer-urls=https://127.0.0.1:1", "--peer-auto-tls")
	if want := []string{"https://10.0.0.1:2380"}; !slices.Equal(c.Join, want) {
		t.Errorf("%q", c.Join)
	}
}

func TestALocalAddressIsOneThatOthersSee(t *testing.T) {
	const gate = "--feature-gates=SetMemberLocalAddr=true "
	for args, want := range map[string]string{
		"--initial-advertise-peer-urls=http://10.0.0.1:1 --initial-cluster=":                                     "invalid IP",
		gate + "--initial-advertise-peer-urls=http://127.0.0.1:1,http://[fe::1]:2,http://b:3 --initial-cluster=": "fe::1",
		gate + "--initial-advertise-peer-urls=http://127.0.0.1:1,http://b:3 --initial-cluster=":                  "invalid IP",
	} {
		c := parseLine(t, strings.Fields(args)...)
		if got := c.PeerLocalAddress.String(); got != want || hasWarning(c, "SetMemberLocalAddr=true has no effect") != (strings.Contains(args, gate) && want == "invalid IP") {
			t.Errorf("%s: %s, want %s; warnings %q", args, got, want, c.Warnings)
		}
	}
}

func TestMemberSettingsThatCannotBe(t *testing.T) {
	const d = "--discovery-endpoints=d:1 --discovery-token=t "
	checkRefusals(t, []refusal{
		{"--discovery-endpoints=d:1", "both --discovery-token and --discovery-endpoints must be set"},
		{"--discovery-endpoints=", "both --discovery-token and --discovery-endpoints must be set"},
		{"--discovery-token=t", "both --discovery-token and --discovery-endpoints must be set"},
		{"--discovery-endpoints=a,,b --discovery-token=t", "--discovery-endpoints must not contain empty endpoints"},
		{"--discovery-endpoints= --discovery-token=t", "--discovery-endpoints must not contain empty endpoints"},
		{d + "--discovery-srv=x", ErrConflictingBootstrap.Error()},
		{d + "--initial-cluster=default=http://localhost:2380", ErrConflictingBootstrap.Error()},
		{d + "--join=a:1", ErrConflictingJoin.Error()},
		{"--initial-cluster=default=http://localhost:2380 --join=a:1", ErrConflictingJoin.Error()},
		{"--initial-cluster-state=existing --join=a:1", ErrConflictingJoin.Error()},
		{"--join=a", `--join: "a" is not the address of a member, as in 10.0.0.1:2380 or https://10.0.0.1:2380: URL address does not have the form "host:port": http://a`},
		{"--join=:1", `--join: ":1" is not the address of a member, as in 10.0.0.1:2380 or https://10.0.0.1:2380: unexpected empty host (http://:1)`},
		{"--max-learners=-1", "membership: too many learner members in cluster"},
		{"--leader-priority=1001", "--leader-priority=1001 is not between -1000 and 1000"},
		{"--leader-priority=-1001", "--leader-priority=-1001 is not between -1000 and 1000"},
		{"--compare-interval=999ms", "--compare-interval=999ms is below 1s: use 0 to compare nothing"},
		{"--autopilot-remove-dead-after=-1h", "--autopilot-remove-dead-after is too short (-1h0m0s): a member that only starts again would be removed for ever; " +
			"use at least 10 election timeouts (10s), or 0 to remove none"},
		{"--autopilot-remove-dead-after=9s", "--autopilot-remove-dead-after is too short (9s): a member that only starts again would be removed for ever; " +
			"use at least 10 election timeouts (10s), or 0 to remove none"},
	})
}

const securePeers = "--listen-peer-urls=https://127.0.0.1:1 "

func TestPeerTLSIsReadFromFlagsAndFile(t *testing.T) {
	c := parseLine(t, strings.Fields(securePeers+"--peer-cert-file=c --peer-key-file=k --peer-client-cert-file=cc --peer-client-key-file=ck "+
		"--peer-client-cert-auth --peer-trusted-ca-file=ca --peer-crl-file=r --peer-cert-allowed-cn=ann,bob --tls-min-version=TLS1.3")...)
	file := parseFile(t, `
listen-peer-urls: https://127.0.0.1:1
tls-min-version: TLS1.3
peer-transport-security: {cert-file: c, key-file: k, client-cert-file: cc, client-key-file: ck, client-cert-auth: true, trusted-ca-file: ca, allowed-cn: [ann, bob]}
`)
	file.PeerTLS.CRLFile = "r" // not to be set by a file
	for _, c := range []*Config{c, file} {
		got := fmt.Sprintf("%+v", c.PeerTLS)
		want := "{CertFile:c KeyFile:k ClientCertFile:cc ClientKeyFile:ck TrustedCAFile:ca CRLFile:r ClientCertAuth:true AllowedCNs:[ann bob] " +
			"AllowedHostnames:[] MatchAddress:true Resolver:<nil> ServerName: TrustAnyServer:false Protocols:[http/1.1] CipherSuites:[] MinVersion:772 MaxVersion:0}"
		if got != want || len(c.Warnings) != 0 || !c.PeersUseTLS() {
			t.Errorf("got  %s\nwant %s\nwarnings %q", got, want, c.Warnings)
		}
	}
	c = parseLine(t, strings.Fields("--listen-peer-urls=https://127.0.0.1:1,https://localhost:1,https://localhost:2 --peer-auto-tls --peer-cert-allowed-hostname=a")...)
	if !c.PeerAutoTLS || !c.PeerTLS.TrustAnyServer || !c.PeersUseTLS() || !slices.Equal(c.PeerTLS.AllowedHostnames, []string{"a"}) || !slices.Equal(c.PeerHosts(), []string{"127.0.0.1", "localhost"}) {
		t.Errorf("%+v", c.Cluster)
	}
	c = parseLine(t, strings.Fields(securePeers+"--peer-auto-tls --peer-cert-file=c --peer-key-file=k --peer-skip-client-san-verification --discovery-srv=d.example")...)
	if c.PeerAutoTLS || c.PeerTLS.TrustAnyServer || c.PeerTLS.MatchAddress || c.PeerTLS.ServerName != "d.example" {
		t.Errorf("%+v", c.Cluster)
	}
	if c := parseLine(t, "--peer-trusted-ca-file=ca", "--discovery-srv=d.example"); c.PeerTLS.ServerName != "" {
		t.Errorf("%+v", c.PeerTLS)
	}
	if c := parseLine(t, "--peer-trusted-ca-file=ca"); !c.PeersUseTLS() || len(c.Warnings) != 0 {
		t.Errorf("an authority towards others alone: %+v", c.Cluster)
	}
}

func TestPeerTLSThatPromisesTooMuchIsTold(t *testing.T) {
	const given = "--peer-cert-file=c --peer-key-file=k "
	const nobodyIsAsked = "--peer-crl-file and the allowed names of members' certificates do not keep anybody out: nobody who connects is asked for a certificate; " +
		"--peer-client-cert-auth and --peer-trusted-ca-file ask for one."
	for args, want := range map[string]string{
		securePeers + given:                              "",
		securePeers + "--peer-auto-tls":                  "",
		securePeers + given + "--peer-auto-tls":          "--peer-auto-tls has no effect: --peer-cert-file and --peer-key-file are given.",
		securePeers + given + "--peer-crl-file=r":        nobodyIsAsked,
		securePeers + given + "--peer-cert-allowed-cn=a": nobodyIsAsked,
		given:                     "http://localhost:2380 is served to other members in plain text although there is a certificate; https:// asks for TLS.",
		"--peer-client-cert-auth": "http://localhost:2380 is served without asking for other members' certificates although --peer-client-cert-auth is on; https:// asks for them.",
	} {
		if got := strings.Join(parseLine(t, strings.Fields(args)...).Warnings, "\n"); got != want {
			t.Errorf("%s\n got  %s\n want %s", args, got, want)
		}
	}
	const provesNothing = "--peer-auto-tls encrypts and proves nothing, because every member signs its own certificate: " +
		"leave out --peer-trusted-ca-file, --peer-client-cert-auth and --peer-client-cert-file, or give --peer-cert-file and --peer-key-file"
	checkRefusals(t, []refusal{
		{securePeers, "cannot listen on TLS for 127.0.0.1:1: KeyFile and CertFile are not presented"},
		{securePeers + "--peer-cert-file=x", "KeyFile and CertFile must both be present[key: , cert: x]"},
		{"--peer-cert-file=x", "KeyFile and CertFile must both be present[key: , cert: x]"},
		{given + "--peer-client-key-file=x", "ClientKeyFile and ClientCertFile must both be present or both absent: key: x, cert: ]"},
		{given + "--peer-cert-allowed-cn=a --peer-cert-allowed-hostname=b", `AllowedCNs and AllowedHostnames are mutually exclusive (cns=["a"], hostnames=["b"])`},
		{securePeers + "--peer-auto-tls --self-signed-cert-validity=0", "selfSignedCertValidity is invalid,it should be greater than 0"},
		{securePeers + "--peer-auto-tls --peer-trusted-ca-file=x", provesNothing},
		{securePeers + "--peer-auto-tls --peer-client-cert-auth", provesNothing},
	})
}
