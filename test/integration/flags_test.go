package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"

	"github.com/keelson-db/keelson/test/harness"
)

// serverBinary is the executable of the server under test.
func serverBinary(t *testing.T) string {
	t.Helper()
	bins, err := harness.Build()
	if err != nil {
		t.Fatal(err)
	}
	return bins.Server
}

// TestImpossibleSettingsStopTheStart gives one bad setting each and reads exit code and text.
func TestImpossibleSettingsStopTheStart(t *testing.T) {
	t.Parallel()
	binary := serverBinary(t)
	cases := []struct {
		name string
		args []string
		env  []string
		code int
		text string
	}{
		{"an unknown flag", []string{"--nonsense"}, nil, 2, "flag provided but not defined: -nonsense"},
		{"a word that is no flag", []string{"foo"}, nil, 1, `"foo" is not a valid flag`},
		{"a flag that cannot be read", []string{"--heartbeat-interval", "abc"}, nil, 2, `invalid value "abc" for flag -heartbeat-interval: parse error`},
		{"a negative count", []string{"--max-txn-ops", "-1"}, nil, 2, `invalid value "-1" for flag -max-txn-ops: parse error`},
		{"a URL that is none", []string{"--listen-client-urls", "nonsense"}, nil, 2, `invalid value "nonsense" for flag -listen-client-urls: URL scheme must be http, https, unix, or unixs: nonsense`},
		{"an unknown state", []string{"--initial-cluster-state", "x"}, nil, 2, `invalid value "x" for flag -initial-cluster-state: invalid value`},
		{"an unknown feature", []string{"--feature-gates", "Nope=true"}, nil, 2, "unrecognized feature gate: Nope"},
		{"an election as fast as a heartbeat", []string{"--election-timeout", "100"}, nil, 1, "--election-timeout[100ms] should be at least as 5 times as --heartbeat-interval[100ms]"},
		{"an endless election", []string{"--election-timeout", "60000"}, nil, 1, "--election-timeout[60000ms] is too long, and should be set less than 50000ms"},
		{"no heartbeat", []string{"--heartbeat-interval", "0"}, nil, 1, "--heartbeat-interval must be >0 (set to 0ms)"},
		{"a name to listen on", []string{"--listen-client-urls", "http://example.com:1"}, nil, 1, "expected IP in URL for binding (http://example.com:1)"},
		{"listening without advertising", []string{"--listen-client-urls", "http://127.0.0.1:23333"}, nil, 1, "--advertise-client-urls is required when --listen-client-urls is set explicitly"},
		{"an unknown compaction", []string{"--auto-compaction-mode", "x"}, nil, 1, `unknown auto-compaction-mode "x"`},
		{"an unknown log format", []string{"--log-format", "x"}, nil, 1, "unknown log format: x, supported values json, console"},
		{"a cluster without this member", []string{"--initial-cluster", "a=http://127.0.0.1:2380"}, nil, 1, `couldn't find local name`},
		{"a missing file", []string{"--config-file", "no-such-file"}, nil, 1, "open no-such-file: no such file or directory"},
		{"an environment that cannot be read", nil, []string{"ETCD_MAX_TXN_OPS=x"}, 1, `invalid value "x" for ETCD_MAX_TXN_OPS`},
		{"an environment against a flag", []string{"--name", "y"}, []string{"ETCD_NAME=x"}, 1, "conflicting environment variable is shadowed by corresponding command-line flag"},
		{"a data directory below a file", []string{"--data-dir", "/etc/hostname/x"}, nil, 1, "not a directory"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			r := harness.Run(t, 20*time.Second, dir, c.env, binary, c.args...)
			all := strings.ReplaceAll(r.Out+r.Err, `\"`, `"`)
			if r.Code != c.code || !strings.Contains(all, c.text) {
				t.Errorf("exit code %d, want %d with %q in\n%s", r.Code, c.code, c.text, all)
			}
			if onKeelson() {
				oneClearLine(t, r)
				if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
					t.Errorf("the refused start left %v behind, %v", left, err)
				}
			}
		})
	}
}

// oneClearLine checks Keelson's own promise: a refusal is a line or two on standard error, not a log.
func oneClearLine(t *testing.T, r harness.Result) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.Err), "\n")
	if len(lines) > 3 || strings.Contains(r.Err, "goroutine ") || strings.HasPrefix(r.Err, "{") {
		t.Errorf("the refusal has %d lines:\n%s", len(lines), r.Err)
	}
}

// TestSafetySettingsThatCannotHoldAreRefused checks that a setting which promises safety is never accepted without effect.
func TestSafetySettingsThatCannotHoldAreRefused(t *testing.T) {
	t.Parallel()
	keelsonOnly(t, "etcd has these settings")
	for _, args := range [][]string{
		{"--peer-cert-file", "no-such.pem"}, {"--unsafe-no-fsync"},
		{"--listen-client-urls", "https://127.0.0.1:2379", "--advertise-client-urls", "https://127.0.0.1:2379"},
		{"--listen-peer-urls", "https://127.0.0.1:2380", "--initial-advertise-peer-urls", "https://127.0.0.1:2380"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			r := harness.Run(t, 20*time.Second, t.TempDir(), nil, serverBinary(t), args...)
			if r.Code == 0 || r.Code == -1 || len(strings.TrimSpace(r.Err)) < 20 {
				t.Errorf("exit code %d, text %q", r.Code, r.Err)
			}
			oneClearLine(t, r)
		})
	}
}

// TestVersionAndHelp reads the two texts that scripts read.
func TestVersionAndHelp(t *testing.T) {
	t.Parallel()
	binary := serverBinary(t)
	for _, flag := range []string{"--version", "-version"} {
		r := harness.Run(t, 10*time.Second, t.TempDir(), nil, binary, flag)
		want := `(?m)\Aetcd Version: 3\.7\.\d+\nGit SHA: .+\nGo Version: go1\..+\nGo OS/Arch: .+/.+$`
		if r.Code != 0 || !regexp.MustCompile(want).MatchString(r.Out) {
			t.Errorf("%s: exit code %d, %q", flag, r.Code, r.Out)
		}
		if onKeelson() && !strings.Contains(r.Out, "Keelson Version: ") {
			t.Errorf("Keelson's own version is not in %q", r.Out)
		}
	}
	for _, flag := range []string{"--help", "-h"} {
		r := harness.Run(t, 10*time.Second, t.TempDir(), nil, binary, flag)
		if r.Code != 0 || !strings.Contains(r.Out+r.Err, "--listen-client-urls") || !strings.Contains(r.Out+r.Err, "--data-dir") {
			t.Errorf("%s: exit code %d, %q", flag, r.Code, r.Out)
		}
	}
}

// TestSettingsComeFromTheEnvironment sets a limit by an environment variable.
func TestSettingsComeFromTheEnvironment(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{Env: []string{"ETCD_MAX_TXN_OPS=2", "ETCD_MAX_REQUEST_BYTES=", "ETCD_UNKNOWN_THING=1"}})
	_, err := pb.NewKVClient(n.Conn(t)).Txn(harness.Ctx(t), &pb.TxnRequest{Success: putOps(0, 3)})
	wantStatus(t, err, codes.InvalidArgument, "etcdserver: too many operations in txn request")
}

// TestAConfigurationFileReplacesFlags gives a file that contradicts the flags and the environment.
func TestAConfigurationFileReplacesFlags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	probe := harness.New(t, harness.Options{})
	file := filepath.Join(dir, "server.yaml")
	text := strings.NewReplacer("DIR", filepath.Join(dir, "from-file"), "CLIENT", probe.URL(), "PEER", probe.PeerURL()).Replace(`
name: from-file
data-dir: DIR
listen-client-urls: CLIENT
advertise-client-urls: CLIENT
listen-peer-urls: PEER
initial-advertise-peer-urls: PEER
initial-cluster: from-file=PEER
max-txn-ops: 2
watch-progress-notify-interval: 200000000
unknown-key: ignored
`)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n := harness.New(t, harness.Options{Args: []string{"--config-file", file, "--max-txn-ops", "99"}, Env: []string{"ETCD_MAX_TXN_OPS=77"}})
	n.ClientAddr, n.PeerAddr = probe.ClientAddr, probe.PeerAddr
	n.Launch(t)
	n.WaitReady(t)
	_, err := pb.NewKVClient(n.Conn(t)).Txn(harness.Ctx(t), &pb.TxnRequest{Success: putOps(0, 3)})
	wantStatus(t, err, codes.InvalidArgument, "etcdserver: too many operations in txn request")
	members := must(n.Client(t).MemberList(harness.Ctx(t)))(t)
	if got := members.Members[0].Name; got != "from-file" {
		t.Errorf("the member's name is %q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "from-file")); err != nil {
		t.Errorf("the file's data directory: %v", err)
	}
	if _, err := os.Stat(n.Dir); err == nil {
		t.Error("the flag's data directory was made although a file was given")
	}
	// Kubernetes' own names with one dash work as well.
	one := harness.Start(t, harness.Options{Args: []string{"-max-txn-ops=2", "-feature-gates=InitialCorruptCheck=true", "-snapshot-count=10000"}})
	_, err = pb.NewKVClient(one.Conn(t)).Txn(harness.Ctx(t), &pb.TxnRequest{Success: putOps(0, 3)})
	wantStatus(t, err, codes.InvalidArgument, "etcdserver: too many operations in txn request")
}

// TestIdentityFollowsTheSettings checks that IDs are etcd's: derived from peer URLs and the cluster's token.
func TestIdentityFollowsTheSettings(t *testing.T) {
	t.Parallel()
	bins, err := harness.Build()
	if err != nil {
		t.Fatal(err)
	}
	n := harness.Start(t, harness.Options{Args: []string{"--initial-cluster-token", "my-token"}})
	status := must(n.Client(t).Status(harness.Ctx(t), n.ClientAddr))(t)
	n.Stop(t)
	etcd := harness.New(t, harness.Options{Binary: bins.Etcd, Args: []string{"--initial-cluster-token", "my-token"}})
	etcd.ClientAddr, etcd.PeerAddr = n.ClientAddr, n.PeerAddr
	etcd.Launch(t)
	etcd.WaitReady(t)
	want := must(etcd.Client(t).Status(harness.Ctx(t), etcd.ClientAddr))(t)
	if status.Header.MemberId != want.Header.MemberId || status.Header.ClusterId != want.Header.ClusterId {
		t.Errorf("member %x of cluster %x, etcd has %x of %x", status.Header.MemberId, status.Header.ClusterId, want.Header.MemberId, want.Header.ClusterId)
	}
	if status.Version != want.Version {
		t.Errorf("the version is %q, etcd says %q", status.Version, want.Version)
	}
}

// TestLogsAreWhatWasAskedFor reads the two formats and a file.
func TestLogsAreWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "server.log")
	n := harness.Start(t, harness.Options{Args: []string{"--log-outputs", file, "--log-format", "json"}})
	n.Stop(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^\{"level":"(debug|info|warn|error)","ts":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d{4})",(.*"caller":"[^"]+",)?.*"msg":".*\}$`)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, l := range lines {
		if !line.MatchString(l) {
			t.Errorf("not a log line of etcd's form: %s", l)
			break
		}
	}
	if len(lines) < 2 {
		t.Errorf("the log has %d lines", len(lines))
	}
	quiet := harness.Start(t, harness.Options{Args: []string{"--log-level", "error"}})
	if code := quiet.Stop(t); code != 0 && onKeelson() {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	if strings.Contains(quiet.Log.String(), `"level":"info"`) {
		t.Error("info lines at level error")
	}
}
