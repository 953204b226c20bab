package config

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// kubeadm are the arguments of etcd in the manifest that kubeadm 1.34 writes for a control plane of one node.
const kubeadm = `
--advertise-client-urls=https://10.0.0.5:2379
--cert-file=/etc/kubernetes/pki/etcd/server.crt
--client-cert-auth=true
--data-dir=/var/lib/etcd
--feature-gates=InitialCorruptCheck=true
--initial-advertise-peer-urls=https://10.0.0.5:2380
--initial-cluster=cp1=https://10.0.0.5:2380
--key-file=/etc/kubernetes/pki/etcd/server.key
--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.5:2379
--listen-metrics-urls=http://127.0.0.1:2381
--listen-peer-urls=https://10.0.0.5:2380
--name=cp1
--peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt
--peer-client-cert-auth=true
--peer-key-file=/etc/kubernetes/pki/etcd/peer.key
--peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt
--snapshot-count=10000
--trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt
--watch-progress-notify-interval=5s`

func TestAnUnchangedKubeadmManifestStarts(t *testing.T) {
	c, err := parse(strings.Fields(kubeadm), nil, "etcd", fakeHost(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckBootstrap(); err != nil {
		t.Error(err)
	}
	o := &c.ClientTLS
	if o.CertFile != "/etc/kubernetes/pki/etcd/server.crt" || o.KeyFile != "/etc/kubernetes/pki/etcd/server.key" ||
		o.TrustedCAFile != "/etc/kubernetes/pki/etcd/ca.crt" || !o.ClientCertAuth || !o.DemandsCertificates() {
		t.Errorf("%+v", o)
	}
	if !c.FeatureGates["InitialCorruptCheck"] || !Secure(&c.ListenClientURLs[0]) || !Secure(&c.ListenClientURLs[1]) || Secure(&c.ListenMetricsURLs[0]) {
		t.Errorf("%+v", c)
	}
	p := &c.PeerTLS
	if p.CertFile != "/etc/kubernetes/pki/etcd/peer.crt" || p.KeyFile != "/etc/kubernetes/pki/etcd/peer.key" ||
		p.TrustedCAFile != "/etc/kubernetes/pki/etcd/ca.crt" || !p.ClientCertAuth || !c.PeersUseTLS() {
		t.Errorf("%+v", p)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("odd warnings: %q", c.Warnings)
	}
}

const secureURL = "--listen-client-urls=https://127.0.0.1:1 --advertise-client-urls=https://a:1 "

func TestTLSIsReadFromFlagsAndFile(t *testing.T) {
	c := parseLine(t, strings.Fields(secureURL+"--cert-file=c --key-file=k --client-crl-file=r --trusted-ca-file=ca "+
		"--client-cert-allowed-hostname=a.example,b.example --tls-min-version=TLS1.2 --tls-max-version=TLS1.3 "+
		"--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305")...)
	got := fmt.Sprintf("%+v", c.ClientTLS)
	want := fmt.Sprintf("{CertFile:c KeyFile:k ClientCertFile: ClientKeyFile: TrustedCAFile:ca CRLFile:r ClientCertAuth:false AllowedCNs:[] "+
		"AllowedHostnames:[a.example b.example] MatchAddress:false Resolver:<nil> ServerName: TrustAnyServer:false Protocols:[] CipherSuites:[%d %d] MinVersion:%d MaxVersion:%d}", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.VersionTLS12, tls.VersionTLS13)
	if got != want || len(c.Warnings) != 0 {
		t.Errorf("got  %s\nwant %s\nwarnings %q", got, want, c.Warnings)
	}
	c = parseFile(t, `
listen-client-urls: https://127.0.0.1:1
cipher-suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
self-signed-cert-validity: 0
client-transport-security:
  cert-file: c
  key-file: k
  client-cert-auth: true
  trusted-ca-file: ca
  allowed-cn: [ann, bob]
`)
	if o := c.ClientTLS; !slices.Equal(o.AllowedCNs, []string{"ann", "bob"}) || !o.ClientCertAuth || len(o.CipherSuites) != 1 || c.SelfSignedCertValidity != 1 {
		t.Errorf("%+v", c)
	}
	c = parseLine(t, strings.Fields(secureURL+"--auto-tls --self-signed-cert-validity=3")...)
	if !c.AutoTLS || c.SelfSignedCertValidity != 3 || !c.ClientTLS.Empty() {
		t.Errorf("%+v", c)
	}
	if _, err := parse([]string{"--client-transport-security.allowed-cn=x"}, nil, "keelson", fakeHost(nil)); ExitCode(err) != 2 {
		t.Errorf("a setting of files alone became a flag: %v", err)
	}
}

func TestTLSSettingsThatPromiseTooMuchAreTold(t *testing.T) {
	const given = "--cert-file=c --key-file=k "
	for args, want := range map[string]string{
		secureURL + given:                                              "",
		given:                                                          "http://localhost:2379 is served in plain text although there is a certificate; https:// asks for TLS.",
		"--client-cert-auth":                                           "http://localhost:2379 is served without asking for client certificates although --client-cert-auth is on; https:// asks for them.",
		secureURL + given + "--auto-tls":                               "--auto-tls has no effect: --cert-file and --key-file are given.",
		secureURL + given + "--client-cert-auth":                       "--client-cert-auth without --trusted-ca-file takes certificates of every authority that this machine trusts.",
		secureURL + given + "--client-crl-file=r":                      "--client-crl-file and the allowed names of client certificates have no effect: no client is asked for a certificate; --client-cert-auth and --trusted-ca-file ask for one.",
		secureURL + given + "--client-cert-file=c":                     "both",
		"--bcrypt-cost=3":                                              "--bcrypt-cost=3 is not between 4 and 31; it is taken as 10.",
		"--cipher-suites=TLS_RSA_WITH_RC4_128_SHA":                     "--cipher-suites has [TLS_RSA_WITH_RC4_128_SHA], which are known to be weak.",
		"--enable-grpc-gateway=false --bcrypt-cost=4":                  "",
		"--listen-metrics-urls=unixs://m " + given:                     "http://localhost:2379 is served in plain text although there is a certificate; https:// asks for TLS.",
		secureURL + given + "--client-cert-file=c --client-key-file=k": "--client-cert-file has no effect: " + noDial + ".\n--client-key-file has no effect: " + noDial + ".",
	} {
		c, err := parse(strings.Fields(args), nil, "keelson", fakeHost(nil))
		if err != nil {
			if !strings.Contains(err.Error(), want) || want == "" {
				t.Errorf("%s: %v", args, err)
			}
			continue
		}
		if got := strings.Join(c.Warnings, "\n"); got != want {
			t.Errorf("%s\n got  %s\n want %s", args, got, want)
		}
	}
}

func TestOneAddressMaySpeakBoth(t *testing.T) {
	c := parseLine(t, "--listen-client-urls=http://127.0.0.1:1,https://127.0.0.1:1", "--advertise-client-urls=https://a:1", "--cert-file=c", "--key-file=k")
	if len(c.ListenClientURLs) != 2 || !hasWarning(c, "http://127.0.0.1:1 is served in plain text") {
		t.Errorf("%+v", c)
	}
}

func TestRetentionIsReadAsEtcdReadsIt(t *testing.T) {
	for args, want := range map[string]string{
		"":                                 "periodic 0s 0",
		"--auto-compaction-retention=":     "periodic 0s 0",
		"--auto-compaction-retention=1":    "periodic 1h0m0s 0",
		"--auto-compaction-retention=72":   "periodic 72h0m0s 0",
		"--auto-compaction-retention=1h":   "periodic 1h0m0s 0",
		"--auto-compaction-retention=30m":  "periodic 30m0s 0",
		"--auto-compaction-retention=0.5s": "periodic 500ms 0",
		"--auto-compaction-mode=revision --auto-compaction-retention=1000": "revision 0s 1000",
		"--auto-compaction-mode=revision --auto-compaction-retention=1us":  "revision 0s 1000",
	} {
		c := parseLine(t, strings.Fields(args)...)
		if got := fmt.Sprint(c.AutoCompactionMode, " ", c.AutoCompactionRetention, " ", c.AutoCompactionRevisions); got != want || len(c.Warnings) != 0 {
			t.Errorf("%s: %s, want %s; warnings %q", args, got, want, c.Warnings)
		}
	}
}

func TestSettingsOfUsersTracesAndUpkeep(t *testing.T) {
	c := parseLine(t)
	got := fmt.Sprintln(c.AuthToken, c.AuthTokenTTL, c.BcryptCost, c.EnableGRPCGateway, c.CorruptCheckTime, c.CompactHashCheckTime, c.AlarmSelfClear,
		c.EnableDistributedTracing, c.DistributedTracingAddress, c.DistributedTracingServiceName, c.DistributedTracingInstanceID, c.DistributedTracingSamplingRate)
	if want := "simple 5m0s 10 true 0s 1m0s true false localhost:4317 etcd  0\n"; got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	c = parseLine(t, strings.Fields("--auth-token-ttl=0 --bcrypt-cost=31 --enable-grpc-gateway=false --corrupt-check-time=1h --alarm-self-clear=false "+
		"--enable-distributed-tracing --distributed-tracing-sampling-rate=1000000 --distributed-tracing-instance-id=i")...)
	if c.AuthTokenTTL != 5*time.Minute || c.BcryptCost != 31 || c.EnableGRPCGateway || c.CorruptCheckTime != time.Hour || c.AlarmSelfClear ||
		!c.EnableDistributedTracing || c.DistributedTracingSamplingRate != 1_000_000 || c.DistributedTracingInstanceID != "i" || len(c.Warnings) != 0 {
		t.Errorf("%+v", c)
	}
}

// TestALogFileMakesWay writes more than one file holds, in one batch, and counts that nothing is lost.
func TestALogFileMakesWay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.log")
	c := parseLine(t, "--log-outputs="+file, "--enable-log-rotation", `--log-rotation-config-json={"maxsize":1,"maxbackups":2,"localtime":true}`)
	if r := c.LogRotation; r == nil || *r != (LogRotation{MaxSize: 1, MaxBackups: 2, LocalTime: true}) {
		t.Fatalf("%+v", r)
	}
	log, w, err := NewLogger(c, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	const lines = 2500         // one and a half files
	w.outlets[0].queued = true // as while Run runs: lines gather and are written together
	for i := range lines {
		log.Info("a line that is long enough for the file to fill", "number", i, "padding", strings.Repeat("x", 500))
	}
	if err := w.Close(); err != nil || w.Failed() != 0 || w.Dropped() != 0 {
		t.Fatalf("%v, %d writes failed, %d lines dropped", err, w.Failed(), w.Dropped())
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(file), "server*.log"))
	if err != nil || len(files) != 2 {
		t.Fatalf("files %q, %v", files, err)
	}
	total := 0
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 1<<20 || data[0] != '{' || data[len(data)-1] != '\n' {
			t.Errorf("%s has %d bytes, or begins or ends inside a line", f, len(data))
		}
		total += strings.Count(string(data), "\n")
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != logFileMode {
			t.Error(f, info.Mode(), err)
		}
	}
	if total != lines {
		t.Errorf("%d of %d lines are left", total, lines)
	}
	c.LogOutputs = []string{t.TempDir()}
	if _, _, err := NewLogger(c, os.Stderr); err == nil {
		t.Error("a directory became a log file")
	}
}

func TestAnOptionOfTokensThatNobodyKnowsIsWarnedOf(t *testing.T) {
	c, err := Parse([]string{"--auth-token=jwt,sign-method=HS256,priv-key=secret.key,colour=blue"}, nil, "keelson")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(c.Warnings, func(w string) bool { return strings.Contains(w, `"colour"`) }) {
		t.Errorf("nobody speaks of the colour: %q", c.Warnings)
	}
}

// TestRotationWithoutEndKeepsEverything has sizes and ages whose products with their units have no room in a number.
func TestRotationWithoutEndKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	c := parseLine(t, "--log-outputs="+filepath.Join(dir, "server.log"), "--enable-log-rotation",
		`--log-rotation-config-json={"maxsize":9223372036854775807,"maxage":9223372036854775807}`)
	if r := c.LogRotation; r == nil || *r != (LogRotation{MaxSize: maxRotationSize, MaxAge: maxRotationAge}) {
		t.Fatalf("%+v", r)
	}
	log, w, err := NewLogger(c, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("a line")
	if err := w.Close(); err != nil || w.Failed() != 0 {
		t.Errorf("%v, %d writes failed", err, w.Failed())
	}
	if time.Duration(maxRotationAge)*24*time.Hour < 0 || int64(maxRotationSize)<<20 < 0 {
		t.Error("the bounds are too large themselves")
	}
}
