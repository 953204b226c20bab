package config

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/keelson-db/keelson/internal/certs"
)

// Defaults and words that etcd fixes.
const (
	defaultName      = "default"
	defaultPeerURL   = "http://localhost:2380"
	defaultClientURL = "http://localhost:2379"
	defaultCluster   = defaultName + "=" + defaultPeerURL
	defaultRotation  = `{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}`

	stateNew      = "new"
	stateExisting = "existing"

	tls12 = "TLS1.2"
	tls13 = "TLS1.3"
)

// What --grpc-transport may name.
const (
	// TransportKeelson is our own transport.
	TransportKeelson = "keelson"
	// TransportGRPC is the server of gRPC's own library.
	TransportGRPC = "grpc-go"
)

const (
	// DefaultQuotaBytes is the quota in bytes that a quota flag of 0 stands for.
	DefaultQuotaBytes = 2 << 30
	// suggestedQuotaBytes is the quota in bytes above which etcd warns.
	suggestedQuotaBytes = 8 << 30
	// suggestedRequestBytes is the request size in bytes above which etcd warns.
	suggestedRequestBytes = 10 << 20
	// minProgressInterval is the shortest pause between two progress notes.
	minProgressInterval = 100 * time.Millisecond
	// defaultProgressInterval is the pause between progress notes when none is asked for.
	defaultProgressInterval = 10 * time.Minute
	// defaultSlowRequest is the duration that a threshold of 0 for slow requests stands for.
	defaultSlowRequest = 300 * time.Millisecond
	// maxElectionMs is the longest election timeout in milliseconds.
	maxElectionMs = 50_000
)

// Config is everything that a server needs to know before it starts. The field
// names follow the flags, and all values have been checked.
type Config struct {
	// Name is this member's name.
	Name string
	// DataDir holds all data. It is never empty.
	DataDir string
	// WALDir holds the raft log when it is not to lie in DataDir; else empty.
	WALDir string
	// ConfigFile is the file that the settings came from, or empty.
	ConfigFile string

	// ListenClientURLs serve gRPC, and HTTP too unless ListenClientHTTPURLs are set.
	ListenClientURLs []url.URL
	// ListenClientURLsGiven tells whether a source named ListenClientURLs.
	ListenClientURLsGiven bool
	// ListenClientHTTPURLs serve HTTP alone.
	ListenClientHTTPURLs []url.URL
	// ListenMetricsURLs serve only metrics and health checks.
	ListenMetricsURLs []url.URL
	// ListenPeerURLs serve other members.
	ListenPeerURLs []url.URL
	// AdvertiseClientURLs are this member's client URLs in the member list.
	AdvertiseClientURLs []url.URL
	// InitialAdvertisePeerURLs are this member's peer URLs at the founding.
	InitialAdvertisePeerURLs []url.URL

	// InitialCluster maps the name of each member to its sorted peer URLs; empty when they are found in another way.
	InitialCluster map[string][]string
	// InitialClusterToken goes into the ids of a new cluster.
	InitialClusterToken string
	// InitialClusterState is "new" or "existing"; only a first start looks at it.
	InitialClusterState string

	// HeartbeatInterval is the pause between the leader's heartbeats: raft's tick.
	HeartbeatInterval time.Duration
	// ElectionTimeout is at least five heartbeats.
	ElectionTimeout time.Duration

	// MaxTxnOps is the largest number of operations in one transaction.
	MaxTxnOps uint
	// MaxRequestBytes is the largest size of a request in bytes.
	MaxRequestBytes uint
	// MaxConcurrentStreams bounds the streams on one client connection.
	MaxConcurrentStreams uint32
	// QuotaBackendBytes is the effective quota in bytes: never 0; negative means none.
	QuotaBackendBytes int64

	// GRPCTransport is TransportKeelson or TransportGRPC.
	GRPCTransport string
	// GRPCKeepAliveMinTime is the shortest pause between a client's pings.
	GRPCKeepAliveMinTime time.Duration
	// GRPCKeepAliveInterval is the pause between the server's pings; 0 for none.
	GRPCKeepAliveInterval time.Duration
	// GRPCKeepAliveTimeout is how long the server waits for the answer to a ping.
	GRPCKeepAliveTimeout time.Duration
	// SocketReusePort sets SO_REUSEPORT on listeners.
	SocketReusePort bool
	// SocketReuseAddress sets SO_REUSEADDR on listeners.
	SocketReuseAddress bool

	// WatchProgressNotifyInterval is the pause between progress notes, at least 100 ms.
	WatchProgressNotifyInterval time.Duration
	// WarningApplyDuration is how long an apply may take unremarked.
	WarningApplyDuration time.Duration
	// WarningUnaryRequestDuration is how long a unary request may take unremarked.
	WarningUnaryRequestDuration time.Duration

	// MetricsLevel is "basic" or "extensive".
	MetricsLevel string
	// EnablePprof serves /debug/pprof. The log level debug switches it on too.
	EnablePprof bool
	// CORS lists the allowed web origins; "*" stands for all.
	CORS []string
	// HostWhitelist lists the allowed Host headers; "*" stands for all.
	HostWhitelist []string

	// LogLevel is debug, info, warn, error, dpanic, panic or fatal.
	LogLevel string
	// LogFormat is json or console; empty lets NewLogger look for a terminal.
	LogFormat string
	// LogOutputs are "default", "stderr", "stdout" or paths of files.
	LogOutputs []string

	// LogRotation says how the one log file makes way for new ones; nil when it does not.
	LogRotation *LogRotation

	// ClientTLS is what client URLs with https or unixs are served with. With AutoTLS its certificate is not
	// named here: the server makes it.
	ClientTLS certs.Options
	// AutoTLS makes the server make its certificate itself.
	AutoTLS bool
	// SelfSignedCertValidity is how many years such a certificate is valid.
	SelfSignedCertValidity uint

	// AuthToken is the kind of the tokens with its options, as token.Options.Spec takes it.
	AuthToken string
	// AuthTokenTTL is how long a simple token lives when it is not used.
	AuthTokenTTL time.Duration
	// BcryptCost is the effort of hashing passwords, within bcrypt's bounds.
	BcryptCost int

	// EnableGRPCGateway serves the JSON gateway.
	EnableGRPCGateway bool

	// AutoCompactionMode is CompactionPeriodic or CompactionRevision, and says which of the next two counts.
	AutoCompactionMode string
	// AutoCompactionRetention is how much time of history is kept; 0 compacts only on request.
	AutoCompactionRetention time.Duration
	// AutoCompactionRevisions is how many revisions are kept; 0 compacts only on request.
	AutoCompactionRevisions int64

	// CorruptCheckTime is the pause between two checks of all stored records; 0 makes none.
	CorruptCheckTime time.Duration
	// CompactHashCheckTime is the pause between looks for a compaction to be checked.
	CompactHashCheckTime time.Duration
	// AlarmSelfClear clears a NOSPACE alarm once there is space again.
	AlarmSelfClear bool

	// EnableDistributedTracing sends traces to the collector at DistributedTracingAddress.
	EnableDistributedTracing bool
	// DistributedTracingAddress is host:port of a collector that speaks OTLP over gRPC.
	DistributedTracingAddress string
	// DistributedTracingServiceName is the service name in traces.
	DistributedTracingServiceName string
	// DistributedTracingInstanceID is the instance id in traces, or empty.
	DistributedTracingInstanceID string
	// DistributedTracingSamplingRate is the number of traced requests per million.
	DistributedTracingSamplingRate int64

	// Cluster is what concerns this member's life among others.
	Cluster

	// FeatureGates holds the effective value of every gate that etcd knows.
	FeatureGates map[string]bool

	// Warnings are sentences for the log of the start: what was given and
	// has no effect here, and what is allowed but unwise.
	Warnings []string
}

func (c *Config) warnf(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}

// ErrHelp is returned for -h and --help: print UsageText to stderr, FlagsText
// to stdout, and exit with 0.
var ErrHelp = errors.New("help was asked for")

// ErrVersion is returned for --version: print VersionText to stdout and exit with 0.
var ErrVersion = errors.New("the version was asked for")

// ErrAdvertiseClientURLsUnset refuses listen addresses without addresses to tell.
var ErrAdvertiseClientURLsUnset = errors.New("--advertise-client-urls is required when --listen-client-urls is set explicitly")

// ErrConflictingBootstrap refuses two ways of finding the first members.
var ErrConflictingBootstrap = errors.New("multiple discovery or bootstrap flags are set. " +
	`Choose one of "initial-cluster", "discovery-endpoints" or "discovery-srv"`)

// ErrConflictingJoin refuses a second way of finding the cluster beside --join.
var ErrConflictingJoin = errors.New("--join finds the members by itself: " +
	"leave out --initial-cluster, --initial-cluster-state=existing and the discovery flags, or leave out --join")

// UsageError is a command line that the flag grammar cannot read.
type UsageError struct{ Err error }

// Error is the line to show.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap gives the flag package's error.
func (e *UsageError) Unwrap() error { return e.Err }

// ExitCode is etcd's exit code for an error of Parse.
func ExitCode(err error) int {
	switch {
	case err == nil, errors.Is(err, ErrHelp), errors.Is(err, ErrVersion):
		return 0
	}
	if _, ok := errors.AsType[*UsageError](err); ok {
		return 2
	}
	return 1
}

// Parse reads the command line (without the program's own name), the
// environment as os.Environ gives it, and the config file that either names.
// binaryName is os.Args[0]: a program called etcd keeps etcd's data directory.
func Parse(args, environ []string, binaryName string) (*Config, error) {
	return parse(args, environ, binaryName, realHost())
}

// host is what Parse asks of the machine, so that tests can answer.
type host struct {
	readFile func(path string) ([]byte, error)
	// outboundIP is the address of the default route.
	outboundIP func() (string, error)
}

func parse(args, environ []string, binaryName string, machine host) (*Config, error) {
	in, err := gather(args, environ, machine)
	if err != nil {
		return nil, err
	}
	c, err := in.build(binaryName)
	if err != nil {
		return nil, err
	}
	clusterText := in.initialCluster()
	if err := c.validate(in, clusterText); err != nil {
		return nil, err
	}
	if err := refuseUnbuilt(in.settings); err != nil {
		return nil, err
	}
	clusterText = c.adjustDefaults(clusterText, machine)
	if c.InitialCluster, err = ParseInitialCluster(clusterText); err != nil {
		return nil, fmt.Errorf("error setting up initial cluster: %w", err)
	}
	c.warnOfNoEffect(in.settings)
	c.warnOfUnwise(in.settings)
	return c, nil
}

// build turns checked texts into typed fields.
func (in *input) build(binaryName string) (*Config, error) {
	all := in.settings
	c := &Config{
		Name:       all.text("name"),
		DataDir:    all.text("data-dir"),
		WALDir:     all.text("wal-dir"),
		ConfigFile: in.file,

		ListenClientURLs:         all.urlList("listen-client-urls"),
		ListenClientURLsGiven:    all.given("listen-client-urls"),
		ListenClientHTTPURLs:     all.urlList("listen-client-http-urls"),
		ListenMetricsURLs:        all.urlList("listen-metrics-urls"),
		ListenPeerURLs:           all.urlList("listen-peer-urls"),
		AdvertiseClientURLs:      all.urlList("advertise-client-urls"),
		InitialAdvertisePeerURLs: all.urlList("initial-advertise-peer-urls"),
		InitialClusterToken:      all.text("initial-cluster-token"),
		InitialClusterState:      all.text("initial-cluster-state"),

		HeartbeatInterval: milliseconds(all.count("heartbeat-interval")),
		ElectionTimeout:   milliseconds(all.count("election-timeout")),

		MaxTxnOps:            all.count("max-txn-ops"),
		MaxRequestBytes:      all.count("max-request-bytes"),
		MaxConcurrentStreams: uint32(all.count("max-concurrent-streams")),
		QuotaBackendBytes:    all.number("quota-backend-bytes"),

		GRPCTransport:         all.text("grpc-transport"),
		GRPCKeepAliveMinTime:  all.period("grpc-keepalive-min-time"),
		GRPCKeepAliveInterval: all.period("grpc-keepalive-interval"),
		GRPCKeepAliveTimeout:  all.period("grpc-keepalive-timeout"),
		SocketReusePort:       all.bool("socket-reuse-port"),
		SocketReuseAddress:    all.bool("socket-reuse-address"),

		WatchProgressNotifyInterval: all.period("watch-progress-notify-interval"),
		WarningApplyDuration:        all.period("warning-apply-duration"),
		WarningUnaryRequestDuration: all.period("warning-unary-request-duration"),

		MetricsLevel:  all.text("metrics"),
		EnablePprof:   all.bool("enable-pprof") || strings.EqualFold(all.text("log-level"), "debug"),
		CORS:          words(all.text("cors")),
		HostWhitelist: words(all.text("host-whitelist")),
		LogLevel:      strings.ToLower(all.text("log-level")),
		LogOutputs:    words(all.text("log-outputs")),

		EnableGRPCGateway:    all.bool("enable-grpc-gateway"),
		CorruptCheckTime:     all.period("corrupt-check-time"),
		CompactHashCheckTime: all.period("compact-hash-check-time"),
		AlarmSelfClear:       all.bool("alarm-self-clear"),

		Warnings: in.warnings,
	}
	if all.given("log-format") {
		c.LogFormat = all.text("log-format")
	}
	if c.DataDir == "" {
		c.DataDir = c.Name + dataDirSuffix(binaryName)
	}
	c.readCluster(all)
	c.fillZeroes()
	return c, c.readGates(all)
}

// fillZeroes replaces the zeroes and blanks that etcd reads as "the default".
func (c *Config) fillZeroes() {
	if c.QuotaBackendBytes == 0 {
		c.QuotaBackendBytes = DefaultQuotaBytes
	}
	if c.WarningUnaryRequestDuration == 0 {
		c.WarningUnaryRequestDuration = defaultSlowRequest
	}
	if c.WatchProgressNotifyInterval <= 0 {
		c.WatchProgressNotifyInterval = defaultProgressInterval
	}
	if len(c.CORS) == 0 {
		c.CORS = []string{"*"}
	}
	if len(c.HostWhitelist) == 0 {
		c.HostWhitelist = []string{"*"}
	}
	if len(c.LogOutputs) == 0 {
		c.LogOutputs = []string{"default"}
	}
	if c.InitialClusterState == "" {
		c.InitialClusterState = stateNew
	}
}

// milliseconds keeps absurdly large counts positive; validation refuses them.
func milliseconds(n uint) time.Duration {
	return time.Duration(min(n, maxMilliseconds)) * time.Millisecond
}

// maxMilliseconds is a count of milliseconds (about 68 years) that no check lets through.
const maxMilliseconds = 1<<31 - 1

// dataDirSuffix keeps Keelson's data apart from etcd's, unless the program
// stands in for etcd under its name: then scripts expect etcd's directory.
func dataDirSuffix(binaryName string) string {
	if strings.TrimSuffix(filepath.Base(binaryName), ".exe") == "etcd" {
		return ".etcd"
	}
	return ".keelson"
}
