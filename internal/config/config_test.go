package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// fakeHost answers from files in memory and knows one address.
func fakeHost(files map[string]string) host {
	return host{
		readFile: func(path string) ([]byte, error) {
			if data, ok := files[path]; ok {
				return []byte(data), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
		outboundIP: func() (string, error) { return "10.1.2.3", nil },
	}
}

func parseLine(t *testing.T, args ...string) *Config {
	t.Helper()
	c, err := parse(args, nil, "keelson", fakeHost(nil))
	if err != nil {
		t.Fatalf("parse %q: %v", args, err)
	}
	return c
}

func parseFile(t *testing.T, data string) *Config {
	t.Helper()
	c, err := parse([]string{"--config-file=c.yaml"}, nil, "keelson", fakeHost(map[string]string{"c.yaml": data}))
	if err != nil {
		t.Fatalf("parse file:\n%s\n%v", data, err)
	}
	return c
}

func TestNothingGivenMeansEtcdsDefaults(t *testing.T) {
	c := parseLine(t)
	got := fmt.Sprintln(c.Name, c.DataDir, joinURLs(c.ListenClientURLs), joinURLs(c.AdvertiseClientURLs),
		joinURLs(c.ListenPeerURLs), joinURLs(c.InitialAdvertisePeerURLs), c.InitialCluster, c.InitialClusterToken,
		c.HeartbeatInterval, c.ElectionTimeout, c.MaxTxnOps, c.MaxRequestBytes, c.MaxConcurrentStreams,
		c.GRPCKeepAliveMinTime, c.GRPCKeepAliveInterval, c.GRPCKeepAliveTimeout, c.WatchProgressNotifyInterval,
		c.WarningApplyDuration, c.WarningUnaryRequestDuration, c.QuotaBackendBytes, c.MetricsLevel,
		c.CORS, c.HostWhitelist, c.LogLevel, c.LogOutputs, c.InitialClusterState)
	want := "default default.keelson http://localhost:2379 http://localhost:2379 " +
		"http://localhost:2380 http://localhost:2380 map[default:[http://localhost:2380]] etcd-cluster " +
		"100ms 1s 128 1572864 4294967295 5s 2h0m0s 20s 10m0s 100ms 300ms 2147483648 basic [*] [*] info [default] new\n"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if c.ListenClientURLsGiven || c.EnablePprof || c.LogFormat != "" {
		t.Errorf("booleans are not the defaults: %+v", c)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("defaults warn: %q", c.Warnings)
	}
	if err := c.CheckBootstrap(); err != nil {
		t.Errorf("a first start with defaults is refused: %v", err)
	}
}

func TestProgramNameChoosesTheDataDirectory(t *testing.T) {
	for binary, want := range map[string]string{
		"keelson": "n.keelson", "/usr/local/bin/etcd": "n.etcd", "etcd.exe": "n.etcd", "etcdctl": "n.keelson", "": "n.keelson",
	} {
		c, err := parse([]string{"-name", "n"}, nil, binary, fakeHost(nil))
		if err != nil || c.DataDir != want {
			t.Errorf("%q: data dir %q, error %v; want %q", binary, c.DataDir, err, want)
		}
	}
}

func TestOneDashAndTwoDashesAndEnvironmentAreTheSame(t *testing.T) {
	for _, c := range []struct{ args, environ []string }{
		{args: []string{"-data-dir", "/d", "-enable-pprof"}},
		{args: []string{"--data-dir=/d", "--enable-pprof=true"}},
		{args: []string{"--data-dir", "/d"}, environ: []string{"ETCD_ENABLE_PPROF=true", "ETCD_NAME="}},
		{environ: []string{"ETCD_DATA_DIR=/d", "ETCD_ENABLE_PPROF=1", "PATH=/bin"}},
	} {
		got, err := parse(c.args, c.environ, "keelson", fakeHost(nil))
		if err != nil || got.DataDir != "/d" || !got.EnablePprof || got.Name != "default" || len(got.Warnings) != 0 {
			t.Errorf("%q %q: %+v, %v", c.args, c.environ, got, err)
		}
	}
}

func TestConfigFileWinsOverEverything(t *testing.T) {
	files := fakeHost(map[string]string{"a": "name: from-file\n", "b": "name: from-b\n"})
	for _, c := range []struct {
		args, environ []string
		want          string
	}{
		{args: []string{"--config-file=a", "--name=line", "--max-txn-ops=7"}, want: "from-file"},
		{args: []string{"--config-file", "a"}, environ: []string{"ETCD_NAME=env"}, want: "from-file"},
		{args: []string{"--name=line"}, environ: []string{"ETCD_NAME=env", "ETCD_CONFIG_FILE=a"}, want: "from-file"},
		{args: []string{"--config-file=a"}, environ: []string{"ETCD_CONFIG_FILE=b"}, want: "from-file"},
	} {
		got, err := parse(c.args, c.environ, "keelson", files)
		if err != nil {
			t.Fatal(err)
		}
		if got.Name != c.want || got.MaxTxnOps != 128 {
			t.Errorf("%q %q: name %q, max-txn-ops %d", c.args, c.environ, got.Name, got.MaxTxnOps)
		}
	}
	got, _ := parse([]string{"--name=x", "--config-file=a"}, nil, "keelson", files)
	if !hasWarning(got, "ignored from the command line: --name.") {
		t.Errorf("ignored flags are not told: %q", got.Warnings)
	}
}

func TestFileSpeaksYAMLAndJSON(t *testing.T) {
	const asYAML = `
name: m1
data-dir: /var/lib/m1
heartbeat-interval: 50
election-timeout: 600
grpc-keepalive-min-time: 7000000000
watch-progress-notify-interval: 5000000000
warning-apply-duration: "250ms"
listen-client-urls: http://127.0.0.1:3379,http://127.0.0.1:3378
listen-metrics-urls: http://127.0.0.1:9000
log-outputs: [stderr, /tmp/x.log]
cors: https://a.example,http://b:80
socket-options: {reuse-port: true}
feature-gates: InitialCorruptCheck=true
auto-compaction-retention: 0
quota-backend-bytes: 4294967296
unknown-key: {deep: [1, 2]}
client-transport-security: {cert-file: "", client-cert-auth: false}
peer-transport-security:
initial-cluster-state:
`
	const asJSON = `{"name": "m1", "data-dir": "/var/lib/m1", "heartbeat-interval": 50, "election-timeout": 600,
"grpc-keepalive-min-time": 7000000000, "watch-progress-notify-interval": 5000000000, "warning-apply-duration": 250000000,
"listen-client-urls": "http://127.0.0.1:3379,http://127.0.0.1:3378", "listen-metrics-urls": "http://127.0.0.1:9000",
"log-outputs": ["stderr", "/tmp/x.log"], "cors": "https://a.example,http://b:80", "socket-options": {"reuse-port": true},
"feature-gates": "InitialCorruptCheck=true", "quota-backend-bytes": 4294967296}`
	for _, data := range []string{asYAML, asJSON} {
		c := parseFile(t, data)
		got := fmt.Sprintln(c.Name, c.DataDir, c.HeartbeatInterval, c.ElectionTimeout, c.GRPCKeepAliveMinTime, c.WatchProgressNotifyInterval,
			c.WarningApplyDuration, joinURLs(c.ListenClientURLs), joinURLs(c.ListenMetricsURLs), c.LogOutputs, c.CORS, c.SocketReusePort,
			c.FeatureGates["InitialCorruptCheck"], c.QuotaBackendBytes, joinURLs(c.AdvertiseClientURLs), c.ConfigFile)
		want := "m1 /var/lib/m1 50ms 600ms 7s 5s 250ms http://127.0.0.1:3378,http://127.0.0.1:3379 http://127.0.0.1:9000 " +
			"[stderr /tmp/x.log] [https://a.example http://b:80] true true 4294967296 http://localhost:2379 c.yaml\n"
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestNameAloneRenamesTheDefaultCluster(t *testing.T) {
	c := parseLine(t, "--name", "abc")
	if got := c.initialClusterText(); got != "abc=http://localhost:2380" {
		t.Errorf("initial cluster is %s", got)
	}
	if err := c.CheckBootstrap(); err != nil {
		t.Error(err)
	}
	c = parseFile(t, "name: abc\ninitial-advertise-peer-urls: http://10.0.0.9:2380\n")
	if got := c.initialClusterText(); got != "abc=http://10.0.0.9:2380" {
		t.Errorf("initial cluster is %s", got)
	}
}

func TestWildcardListenerAdvertisesTheDefaultRoute(t *testing.T) {
	args := []string{"--listen-peer-urls=http://0.0.0.0:3380", "--listen-client-urls=http://0.0.0.0:3379", "--advertise-client-urls=" + defaultClientURL}
	c := parseLine(t, args...)
	if got := joinURLs(c.AdvertiseClientURLs) + " " + c.initialClusterText(); got != "http://10.1.2.3:3379 default=http://10.1.2.3:3380" {
		t.Errorf("advertised %s", got)
	}
	if err := c.CheckBootstrap(); err != nil {
		t.Error(err)
	}
	c = parseLine(t, "--listen-client-urls=http://0.0.0.0:3379", "--advertise-client-urls=http://127.0.0.1:3379")
	if got := joinURLs(c.AdvertiseClientURLs); got != "http://127.0.0.1:3379" {
		t.Errorf("an explicit address became %s", got)
	}
	lost := host{outboundIP: func() (string, error) { return "", errors.New("no route") }}
	c, err := parse(args, nil, "keelson", lost)
	if err != nil || joinURLs(c.AdvertiseClientURLs) != defaultClientURL || !hasWarning(c, "the address of this machine is not known (no route)") {
		t.Errorf("without a route: %+v %v", c, err)
	}
}

func TestHelpVersionAndWrongLinesHaveEtcdsExitCodes(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		line string
	}{
		{[]string{"-h"}, 0, ErrHelp.Error()},
		{[]string{"--help"}, 0, ErrHelp.Error()},
		{[]string{"--version"}, 0, ErrVersion.Error()},
		{[]string{"--discovery=http://x"}, 2, "flag provided but not defined: -discovery"},
		{[]string{"--enable-v2"}, 2, "flag provided but not defined: -enable-v2"},
		{[]string{"--name"}, 2, "flag needs an argument: -name"},
		{[]string{"--max-txn-ops=many"}, 2, `invalid value "many" for flag -max-txn-ops: parse error`},
		{[]string{"--max-concurrent-streams=4294967296"}, 2, `invalid value "4294967296" for flag -max-concurrent-streams: value out of range`},
		{[]string{"--initial-cluster-state=old"}, 2, `invalid value "old" for flag -initial-cluster-state: invalid value`},
		{[]string{"--feature-gates=Nope=true"}, 2, `invalid value "Nope=true" for flag -feature-gates: unrecognized feature gate: Nope`},
		{[]string{"foo"}, 1, `"foo" is not a valid flag`},
		{[]string{"--enable-pprof", "false"}, 1, `"false" is not a valid flag`},
	} {
		_, err := parse(c.args, nil, "keelson", fakeHost(nil))
		if err == nil || err.Error() != c.line || ExitCode(err) != c.code {
			t.Errorf("%q: error %v, exit code %d; want %s, %d", c.args, err, ExitCode(err), c.line, c.code)
		}
	}
}

func TestZeroesMeanEtcdsDefaults(t *testing.T) {
	c := parseLine(t, "--quota-backend-bytes=0", "--warning-unary-request-duration=0", "--watch-progress-notify-interval=0",
		"--host-whitelist=", "--cors=", "--log-outputs=", "--data-dir=")
	if c.QuotaBackendBytes != DefaultQuotaBytes || c.WarningUnaryRequestDuration != 300*time.Millisecond ||
		c.WatchProgressNotifyInterval != 10*time.Minute || !slices.Equal(c.CORS, []string{"*"}) ||
		!slices.Equal(c.HostWhitelist, []string{"*"}) || !slices.Equal(c.LogOutputs, []string{"default"}) || c.DataDir != "default.keelson" {
		t.Errorf("%+v", c)
	}
	if c := parseLine(t, "--quota-backend-bytes=-1"); c.QuotaBackendBytes != -1 {
		t.Errorf("no quota became %d", c.QuotaBackendBytes)
	}
}

func TestFeatureGates(t *testing.T) {
	if got := parseLine(t).FeatureGates; !got["FastLeaseKeepAlive"] || got["PriorityRequest"] || len(got) != 11 {
		t.Errorf("defaults: %v", got)
	}
	got := parseLine(t, "--feature-gates=AllAlpha=true,PriorityRequest=false,FastLeaseKeepAlive=false").FeatureGates
	if !got["CompactHashCheck"] || got["PriorityRequest"] || got["FastLeaseKeepAlive"] || !got["TxnModeWriteWithSharedBuffer"] {
		t.Errorf("group and names: %v", got)
	}
	if c := parseLine(t, "--feature-gates=InitialCorruptCheck=true"); len(c.Warnings) != 0 || !c.FeatureGates["InitialCorruptCheck"] {
		t.Errorf("what kubeadm passes: %q", c.Warnings)
	}
}

func TestWhatKubernetesPasses(t *testing.T) {
	c := parseLine(t, "--name=cp1", "--feature-gates=InitialCorruptCheck=true", "--data-dir=/var/lib/etcd",
		"--listen-client-urls=http://127.0.0.1:2379,http://10.0.0.5:2379", "--advertise-client-urls=http://10.0.0.5:2379",
		"--listen-peer-urls=http://10.0.0.5:2380", "--initial-advertise-peer-urls=http://10.0.0.5:2380",
		"--initial-cluster=cp1=http://10.0.0.5:2380", "--snapshot-count=10000",
		"--listen-metrics-urls=http://127.0.0.1:2381", "--watch-progress-notify-interval=5s")
	if err := c.CheckBootstrap(); err != nil {
		t.Error(err)
	}
	if c.WatchProgressNotifyInterval != 5*time.Second || !c.ListenClientURLsGiven || len(c.Warnings) != 0 {
		t.Errorf("%+v", c)
	}
	old := parseLine(t, "--experimental-initial-corrupt-check=true", "--experimental-watch-progress-notify-interval=5s")
	if !old.FeatureGates["InitialCorruptCheck"] || old.WatchProgressNotifyInterval != 5*time.Second || len(old.Warnings) != 2 {
		t.Errorf("names of etcd 3.5: %+v", old)
	}
}

func TestIdsAreEtcdsIds(t *testing.T) {
	member := MemberID([]string{"http://localhost:2380"}, "etcd-cluster")
	if got := fmt.Sprintf("%x %x", member, ClusterID([]uint64{member})); got != "8e9e05c52164694d cdf818194e3a8c32" {
		t.Errorf("default member and cluster are %s", got)
	}
	if MemberID([]string{"b", "a"}, "t") != MemberID([]string{"a", "b"}, "t") || ClusterID([]uint64{2, 1}) != ClusterID([]uint64{1, 2}) {
		t.Error("the order of URLs or members changes an id")
	}
	urls := []string{"b", "a"}
	MemberID(urls, "")
	if !slices.Equal(urls, []string{"b", "a"}) {
		t.Error("the caller's slice was sorted")
	}
}

func TestVersionTextHasEtcdsLinesFirst(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(VersionText()), "\n")
	want := []string{"etcd Version: 3.7.", "Git SHA: ", "Go Version: go1.", "Go OS/Arch: ", "Keelson Version: "}
	if len(lines) != len(want) {
		t.Fatalf("got %q", lines)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("line %d is %q, want %q...", i, lines[i], want[i])
		}
	}
}

func TestUsageNamesEveryFlagWithItsState(t *testing.T) {
	usage := FlagsText()
	for name := range newSettings() {
		if strings.Contains(name, ".") {
			continue // not a flag
		}
		if !strings.Contains(usage, "--"+name+" ") {
			t.Errorf("usage lacks --%s", name)
		}
	}
	for _, want := range []string{"always refused. [not built]", "space again. [Keelson's own]", "Locks etcd's bbolt pages in memory. [no effect]"} {
		if !strings.Contains(usage, want) {
			t.Errorf("usage lacks %q", want)
		}
	}
	if !strings.Contains(UsageText("/usr/bin/etcd"), "  etcd --help") {
		t.Error(UsageText("/usr/bin/etcd"))
	}
}

func hasWarning(c *Config, part string) bool {
	return slices.ContainsFunc(c.Warnings, func(w string) bool { return strings.Contains(w, part) })
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{
		"--name=a", "-h", "--initial-cluster=a=b,c", "--listen-client-urls=http://[::1]:0,unix://x",
		"--feature-gates=A=,=B", "--election-timeout=18446744073709551615", "--config-file=f", "--cors=*,http://%zz",
		"--initial-cluster==http://a:1 --name=", "--listen-peer-urls=http://0.0.0.0:1 --wal-dir",
		"--join=a:1,http://b:2", "--discovery-srv=d --peer-auto-tls --listen-peer-urls=https://[::1]:1", "--discovery-endpoints=,a --discovery-token=t",
		"--feature-gates=SetMemberLocalAddr=true --max-learners=9 --autopilot-remove-dead-after=10s",
	} {
		f.Add(line, "ETCD_NAME=x\nETCD_X", "name: x")
	}
	f.Add("--config-file=f", "ETCD_VERSION=1", "listen-client-urls: [http://1.1.1.1:1, 7]\nclient-transport-security: {a: b}\n")
	f.Fuzz(func(t *testing.T, line, environ, file string) {
		machine := fakeHost(map[string]string{"f": file})
		for _, args := range [][]string{strings.Fields(line), {"--config-file=f"}} {
			c, err := parse(args, strings.Split(environ, "\n"), "keelson", machine)
			if (c == nil) == (err == nil) {
				t.Fatalf("config %v with error %v", c, err)
			}
			if c == nil {
				continue
			}
			_ = c.CheckBootstrap()
			if c.DataDir == "" || c.HeartbeatInterval <= 0 || 5*c.HeartbeatInterval > c.ElectionTimeout || c.QuotaBackendBytes == 0 ||
				len(c.ListenClientURLs) == 0 || len(c.AdvertiseClientURLs) == 0 || len(slices.Collect(maps.Keys(c.FeatureGates))) != 11 {
				t.Fatalf("an impossible config passed: %+v", c)
			}
		}
	})
}
