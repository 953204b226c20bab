package config

import (
	"errors"
	"strings"
	"testing"
)

// refusal is a command line and the one line that it is refused with.
type refusal struct{ args, want string }

func checkRefusals(t *testing.T, refusals []refusal) {
	t.Helper()
	for _, c := range refusals {
		_, err := parse(strings.Fields(c.args), nil, "keelson", fakeHost(nil))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s\n got  %v\n want %s", c.args, err, c.want)
			continue
		}
		if ExitCode(err) != 1 {
			t.Errorf("%s: exit code %d", c.args, ExitCode(err))
		}
	}
}

func TestImpossibleValuesAreRefusedInEtcdsWords(t *testing.T) {
	checkRefusals(t, []refusal{
		{"--heartbeat-interval=0", "--heartbeat-interval must be >0 (set to 0ms)"},
		{"--election-timeout=0", "--election-timeout must be >0 (set to 0ms)"},
		{"--heartbeat-interval=300", "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[300ms]"},
		{"--heartbeat-interval=18446744073709551615", "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[18446744073709551615ms]"},
		{"--election-timeout=50001", "--election-timeout[50001ms] is too long, and should be set less than 50000ms"},
		{"--initial-cluster=default=http://localhost:2380 --discovery-srv=example.com",
			`multiple discovery or bootstrap flags are set. Choose one of "initial-cluster", "discovery-endpoints" or "discovery-srv"`},
		{"--discovery-srv=example.com --discovery-endpoints=http://d:2379 --discovery-token=t",
			`multiple discovery or bootstrap flags are set. Choose one of "initial-cluster", "discovery-endpoints" or "discovery-srv"`},
		{"--discovery-token=t", "both --discovery-token and --discovery-endpoints must be set"},
		{"--discovery-endpoints=http://d:2379", "both --discovery-token and --discovery-endpoints must be set"},
		{"--auto-compaction-mode=monthly", `unknown auto-compaction-mode "monthly"`},
		{"--auto-compaction-mode=", "undefined auto-compaction-mode"},
		{"--auto-compaction-retention=soon", `error parsing CompactionRetention: time: invalid duration "soon"`},
		{"--compact-hash-check-time=0", "--compact-hash-check-time must be >0 (set to 0s)"},
		{"--listen-peer-urls=http://host:1", "expected IP in URL for binding (http://host:1)"},
		{"--listen-client-urls=http://host:1 --advertise-client-urls=http://host:1", "expected IP in URL for binding (http://host:1)"},
		{"--listen-client-http-urls=http://host:1", "expected IP in URL for binding (http://host:1)"},
		{"--listen-metrics-urls=http://host:1", "expected IP in URL for binding (http://host:1)"},
		{"--listen-client-urls=http://127.0.0.1:1", "--advertise-client-urls is required when --listen-client-urls is set explicitly"},
		{"--initial-advertise-peer-urls=http://:1", `--initial-advertise-peer-urls "http://:1" must be "host:port" (unexpected empty host (http://:1))`},
		{"--advertise-client-urls=http://:1",
			`--advertise-client-urls "http://:1" must be in the format "host:port", "unix:/path/to/socket" or "unixs:/path/to/socket" (unexpected empty host (http://:1))`},
		{"--initial-cluster=default=nowhere", "error setting up initial cluster: URL scheme must be http, https, unix, or unixs: nowhere"},
		{"--auto-compaction-retention=-1h", "error parsing CompactionRetention: -1h is negative"},
		{"--auto-compaction-retention=9999999999", "error parsing CompactionRetention: 9999999999 hours are too many"},
		{"--cipher-suites=A", `unexpected TLS cipher suite "A"`},
		{"--listen-client-urls=https://127.0.0.1:1 --advertise-client-urls=https://a:1",
			"TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:1 with HTTPS scheme"},
		{"--listen-client-http-urls=unixs://m:1", "TLS key/cert (--cert-file, --key-file) must be provided for client url unixs://m:1 with HTTPS scheme"},
		{"--listen-metrics-urls=https://127.0.0.1:1", "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url"},
		{"--listen-metrics-urls=https://127.0.0.1:1 --cert-file=c", "KeyFile and CertFile must both be present[key: , cert: c]"},
		{"--listen-metrics-urls=https://127.0.0.1:1 --cert-file=c --key-file=k --client-key-file=x",
			"ClientKeyFile and ClientCertFile must both be present or both absent: key: x, cert: ]"},
		{"--listen-client-http-urls=https://localhost:2379 --cert-file=c --key-file=k",
			"cannot bind both --listen-client-urls and --listen-client-http-urls on the same url https://localhost:2379"},
		{"--listen-metrics-urls=https://127.0.0.1:1 --auto-tls --self-signed-cert-validity=0",
			"--auto-tls: selfSignedCertValidity is invalid,it should be greater than 0"},
		{"--enable-distributed-tracing --distributed-tracing-sampling-rate=-1",
			"distributed tracing configurition is not valid: (tracing sampling rate must be positive)"},
		{"--enable-distributed-tracing --distributed-tracing-sampling-rate=1000001",
			"distributed tracing configurition is not valid: (tracing sampling rate must be less than 1000000)"},
		{"--enable-log-rotation", "--log-outputs requires a single file path when --log-rotate-config-json is defined"},
		{"--enable-log-rotation --log-outputs=a,b", "--log-outputs requires a single file path when --log-rotate-config-json is defined"},
		{"--enable-log-rotation --log-outputs=a --log-rotation-config-json={", "improperly formatted log rotation config: unexpected end of JSON input"},
		{`--enable-log-rotation --log-outputs=a --log-rotation-config-json={"maxsize":"1"}`,
			"invalid log rotation config: json: cannot unmarshal string into Go struct field LogRotation.maxsize of type int"},
		{"--tls-min-version=TLS1.3 --cipher-suites=A", "cipher suites cannot be configured when only TLS1.3 is enabled"},
		{"--tls-min-version=TLS1.3 --tls-max-version=TLS1.2", "min version (TLS1.3) is greater than max version (TLS1.2)"},
		{"--tls-min-version=SSL3", `unexpected TLS version "SSL3" (must be one of: TLS1.2, TLS1.3)`},
		{"--discovery-fallback=proxy", `v2 proxy is deprecated, and --discovery-fallback can't be configured as "proxy"`},
		{"--feature-gates=LeaseCheckpointPersist=true", "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint"},
		{"--logger=capnslog", "--logger=capnslog is removed in v3.5"},
		{"--logger=slog", `unknown logger option "slog"`},
		{"--log-outputs=default,stdout", `multi logoutput for "default" is not supported yet`},
		{"--log-format=xml", "unknown log format: xml, supported values json, console"},
	})
}

func TestImpossibleValuesWithoutEtcdsWordsAreRefusedInOurs(t *testing.T) {
	checkRefusals(t, []refusal{
		{`--enable-log-rotation --log-outputs=a --log-rotation-config-json={"maxage":-1}`, "invalid log rotation config: sizes, ages and counts cannot be negative"},
		{"--log-level=loud", `unknown log level "loud": use debug, info, warn, error, panic or fatal`},
		{"--grpc-transport=h3", `unknown gRPC transport "h3": use keelson or grpc-go`},
		{"--metrics=all", `unknown metrics level "all": use basic or extensive`},
		{"--max-learners=2 --experimental-max-learners=3", "both --experimental-max-learners and --max-learners are set: keep only --max-learners"},
		{"--feature-gates=InitialCorruptCheck=true --experimental-initial-corrupt-check",
			"both --experimental-initial-corrupt-check and the feature gate InitialCorruptCheck are set: keep only --feature-gates=InitialCorruptCheck=true"},
	})
}

func TestWhatIsNotBuiltAndUnsafeToIgnoreIsRefused(t *testing.T) {
	checkRefusals(t, []refusal{
		{"--unsafe-no-fsync", "--unsafe-no-fsync cannot be used: Keelson never acknowledges what is not durable: leave it out"},
		{"--pre-vote=false", "--pre-vote=false is not possible: Keelson always asks before an election, leave it out"},
	})
}

func TestURLsThatCannotBe(t *testing.T) {
	for value, want := range map[string]string{
		"":               "URL scheme must be http, https, unix, or unixs: ",
		"localhost:2379": "URL scheme must be http, https, unix, or unixs: localhost:2379",
		"http://a":       `URL address does not have the form "host:port": http://a`,
		"http://a:1/x":   "URL must not contain a path: http://a:1/x",
	} {
		_, err := parse([]string{"--listen-client-urls=" + value}, nil, "keelson", fakeHost(nil))
		if line := `invalid value "` + value + `" for flag -listen-client-urls: ` + want; err == nil || err.Error() != line {
			t.Errorf("%q: %v, want %s", value, err, line)
		}
	}
	c := parseLine(t, "--listen-client-urls=unix://k.sock:1, http://[::1]:2,http://localhost:3", "--advertise-client-urls=unix://k.sock:1")
	if got := joinURLs(c.ListenClientURLs); got != "http://[::1]:2,http://localhost:3,unix://k.sock:1" {
		t.Errorf("listeners are %s", got)
	}
}

func TestFirstStartChecksTheFoundingMembers(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--initial-cluster=a=http://localhost:2380", `couldn't find local name "default" in the initial cluster configuration`},
		{"--initial-cluster=", `couldn't find local name "default" in the initial cluster configuration`},
		{"--initial-cluster=default=http://localhost:2380,b=http://localhost:2380 --initial-cluster-state=existing",
			"initial cluster b=http://localhost:2380,default=http://localhost:2380 has duplicate url"},
		{"--initial-cluster=default=http://localhost:2380,b=http://localhost:2380",
			"initial cluster b=http://localhost:2380,default=http://localhost:2380 has duplicate url"},
	} {
		config := parseLine(t, strings.Fields(c.args)...)
		if err := config.CheckBootstrap(); err == nil || err.Error() != c.want {
			t.Errorf("%s\n got  %v\n want %s", c.args, err, c.want)
		}
	}
	for _, args := range []string{
		"--initial-cluster=default=http://a:2380,b=http://a:2380", // name servers are asked first
		"--join=a:1", "--discovery-srv=d", "--discovery-endpoints=d:1 --discovery-token=t",
	} {
		if err := parseLine(t, strings.Fields(args)...).CheckBootstrap(); err != nil {
			t.Errorf("%s: %v", args, err)
		}
	}
	two := parseLine(t, "--initial-cluster=default=http://b:1,default=http://a:1", "--initial-advertise-peer-urls=http://a:1,http://b:1")
	if err := two.CheckBootstrap(); err != nil || strings.Join(two.InitialCluster["default"], ",") != "http://a:1,http://b:1" {
		t.Errorf("one member with two addresses: %v %v", two.InitialCluster, err)
	}
}

func TestEnvironmentMustBeClear(t *testing.T) {
	_, err := parse([]string{"-name=a"}, []string{"ETCD_NAME=a"}, "keelson", fakeHost(nil))
	if want := "conflicting environment variable is shadowed by corresponding command-line flag " +
		"(either unset environment variable or disable flag): ETCD_NAME and --name"; err == nil || err.Error() != want || ExitCode(err) != 1 {
		t.Errorf("shadowed: %v", err)
	}
	_, err = parse(nil, []string{"ETCD_MAX_TXN_OPS=x"}, "keelson", fakeHost(nil))
	if want := `invalid value "x" for ETCD_MAX_TXN_OPS: parse error`; err == nil || err.Error() != want || ExitCode(err) != 1 {
		t.Errorf("bad value: %v", err)
	}
	c, err := parse([]string{"-name=a"}, []string{"ETCD_NAME=", "ETCD_VERSION=3.5", "ETCD_PORT=tcp://1.2.3.4", "ETCD_UNSUPPORTED_ARCH=riscv64",
		"ETCD_WAL_DIR=/first", "ETCD_WAL_DIR=/second", "ETCDCTL_API=3", "ETCD_FORCE=true", "nonsense"}, "keelson", fakeHost(nil))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"The environment variable ETCD_VERSION does not configure anything and is ignored.",
		"The environment variable ETCD_PORT is not one that etcd knows and is ignored.",
		"--force is a legacy flag of etcd and has no effect.",
	}
	if strings.Join(c.Warnings, "\n") != strings.Join(want, "\n") || c.WALDir != "/first" {
		t.Errorf("wal dir %q, warnings %q", c.WALDir, c.Warnings)
	}
}

func TestFilesThatCannotBe(t *testing.T) {
	for data, want := range map[string]string{
		"- a\n":                          "expected keys and values",
		"a: [\n":                         "yaml: line 1: did not find expected node content",
		"max-txn-ops: lots\n":            `invalid value "lots" for key max-txn-ops: parse error`,
		"max-txn-ops: [1]\n":             "key max-txn-ops: expected one value, got a list",
		"name: {a: b}\n":                 "key name: expected one value, got something else",
		"corrupt-check-time: 1.5\n":      "key corrupt-check-time: expected whole nanoseconds, got 1.5",
		"initial-cluster-state: old\n":   `unexpected clusterState "old"`,
		"feature-gates: Nope=true\n":     "unrecognized feature gate: Nope",
		"listen-client-urls: a\n":        "unexpected error setting up listen-client-urls: URL scheme must be http, https, unix, or unixs: a",
		"peer-transport-security: yes\n": "invalid peer-transport-security: expected keys and values below it",
		"memory-mlock: true\nexperimental-memory-mlock: true\n": "both --experimental-memory-mlock and --memory-mlock are set: keep only --memory-mlock",
	} {
		_, err := parse([]string{"--config-file=f"}, nil, "keelson", fakeHost(map[string]string{"f": data}))
		if err == nil || err.Error() != "read config file f: "+want {
			t.Errorf("%q: %v, want %s", data, err, want)
		}
	}
	for data, want := range map[string]string{
		"heartbeat-interval: 0\n": "--heartbeat-interval must be >0 (set to 0ms)",
		"client-transport-security: {allowed-cn: [a], allowed-hostname: [b], cert-file: a, key-file: b}\nlisten-client-urls: https://127.0.0.1:1\n": `AllowedCNs and AllowedHostnames are mutually exclusive (cns=["a"], hostnames=["b"])`,
		"peer-transport-security: {cert-file: only}\n":                                "KeyFile and CertFile must both be present[key: , cert: only]",
		"log-outputs: [a, b]\nenable-log-rotation: true\n":                            ErrLogRotationInvalidLogOutput.Error(),
		"discovery-config: {token: t, client: {endpoints: [\"http://a:1\", \"\"]}}\n": "--discovery-endpoints must not contain empty endpoints",
		"unsafe-no-fsync: true\n":                                                     "--unsafe-no-fsync cannot be used: Keelson never acknowledges what is not durable: leave it out",
	} {
		_, err := parse([]string{"--config-file=f"}, nil, "keelson", fakeHost(map[string]string{"f": data}))
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", data, err, want)
		}
	}
	_, err := parse([]string{"--config-file=gone"}, nil, "keelson", fakeHost(nil))
	if err == nil || err.Error() != "read config file: open gone: file does not exist" {
		t.Error(err)
	}
	for _, data := range []string{"", "# nothing\n", "name:\n", "{}", "raft-read-timeout: 9\ncert-file: a\nversion: true\n"} {
		if c := parseFile(t, data); c.Name != "default" || len(c.Warnings) != 0 {
			t.Errorf("%q: %+v", data, c)
		}
	}
}

func TestConfigFileHasALimit(t *testing.T) {
	dir := t.TempDir()
	if _, err := Parse([]string{"--config-file=" + dir + "/none"}, nil, "keelson"); err == nil {
		t.Error("a missing file was read")
	}
	big := dir + "/big"
	writeTestFile(t, big, strings.Repeat("#", MaxConfigFileBytes+1))
	if _, err := Parse([]string{"--config-file=" + big}, nil, "keelson"); !errors.Is(err, ErrConfigFileTooLarge) {
		t.Error(err)
	}
	writeTestFile(t, big, "name: ok"+strings.Repeat("\n", MaxConfigFileBytes-8))
	if c, err := Parse([]string{"--config-file=" + big}, nil, "keelson"); err != nil || c.Name != "ok" {
		t.Error(err)
	}
}

func TestValuesWithoutEffectGiveOneWarningEach(t *testing.T) {
	for args, want := range map[string]string{
		"--snapshot-count=10000 --max-wals=5 --auto-compaction-retention=0s --enable-grpc-gateway=false": "",
		"--max-wals=3":                "--max-wals has no effect: the raft log is cut by its size and by what is durable.",
		"--memory-mlock":              "--memory-mlock has no effect: the data is not kept in a bbolt file.",
		"--backend-batch-interval=1s": "--backend-batch-interval has no effect: the data is not kept in a bbolt file.",
		"--compact-hash-check-time=60s --max-learners=1":               "",
		"--quota-backend-bytes=1000":                                   "",
		"--max-request-bytes=20000000":                                 "--max-request-bytes=20000000 is above the suggested maximum of 10485760 bytes.",
		"--watch-progress-notify-interval=1ms":                         "--watch-progress-notify-interval was raised to its minimum of 100ms.",
		"--log-outputs=systemd/journal":                                "--log-outputs=systemd/journal writes to stderr, from where systemd takes it to the journal.",
		"--listen-peer-urls=http://127.0.0.1:1 --raft-read-timeout=4s": "--raft-read-timeout was raised to its minimum of 5s.",
		"--feature-gates=StopGRPCServiceOnDefrag=true":                 "The feature gate StopGRPCServiceOnDefrag=true has no effect: no request waits for a defragmentation.",
		"--v -vv=3":                            "--v is a legacy flag of etcd and has no effect.\n--vv is a legacy flag of etcd and has no effect.",
		"--experimental-corrupt-check-time=1m": "--experimental-corrupt-check-time is gone since etcd 3.7; it is taken as --corrupt-check-time.",
	} {
		if got := strings.Join(parseLine(t, strings.Fields(args)...).Warnings, "\n"); got != want {
			t.Errorf("%s\n got  %s\n want %s", args, got, want)
		}
	}
}
