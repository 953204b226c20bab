package config

// Reasons that several rows of the table share.
const (
	noBolt      = "the data is not kept in a bbolt file"
	noCompact   = "compaction paces itself"
	noDial      = "the server calls itself in memory and needs no certificate for it"
	ownSnapshot = "the raft log is cut by its size and by what is durable"
	atOnce      = "a downgrade takes effect where it is applied, and nobody has to look for its end"
)

// table lists every flag of etcd 3.7 and, marked as ours, Keelson's own, in the order of the usage text. Legacy
// flags that etcd itself ignores are in legacy.go.
//
// The columns are: class, kind, name, default, place in the config file ("" =
// same name, "-" = none), help sentence, and the reason why it has no effect
// (accepted) or is refused (unbuilt).
func table() []section {
	return []section{
		{"Member", memberOptions()},
		{"Network", networkOptions()},
		{"Clustering", clusterOptions()},
		{"Discovery", discoveryOptions()},
		{"Client TLS", clientTLSOptions()},
		{"Peer TLS", peerTLSOptions()},
		{"Access", accessOptions()},
		{"Logging and observation", observeOptions()},
		{"Upkeep", upkeepOptions()},
		{"Config file and version", metaOptions()},
	}
}

func memberOptions() []option {
	return []option{
		{used, text, "name", defaultName, "", "Name of this member, unique in its cluster.", ""},
		{used, text, "data-dir", "", "", "Directory for all data; by default the member's name with .keelson (or .etcd when the program is called etcd).", ""},
		{used, text, "wal-dir", "", "", "Directory for the raft log alone, for instance on a faster disk.", ""},
		{accepted, count, "snapshot-count", "10000", "", "Applied entries between two raft snapshots in etcd.", ownSnapshot},
		{used, count, "snapshot-catchup-entries", "5000", "", "Entries of the raft log that are kept for members that are behind.", ""},
		{used, count, "heartbeat-interval", "100", "", "Milliseconds between two heartbeats of the leader.", ""},
		{used, count, "election-timeout", "1000", "", "Milliseconds without a leader before an election; at least 5 heartbeats, at most 50000.", ""},
		{used, yesNo, "initial-election-tick-advance", "true", "", "Shortens the wait for the first election after a start.", ""},
		{accepted, count, "max-snapshots", "5", "", "Snapshot files that etcd keeps.", "there are no snapshot files to keep"},
		{accepted, count, "max-wals", "5", "", "Raft log files that etcd keeps.", ownSnapshot},
		{accepted, yesNo, "memory-mlock", "false", "", "Locks etcd's bbolt pages in memory.", noBolt},
		{used, number, "quota-backend-bytes", "0", "", "Size limit of the data in bytes; 0 means 2 GiB, a negative number none.", ""},
		{accepted, text, "backend-bbolt-freelist-type", "map", "", "How bbolt keeps its free pages.", noBolt},
		{accepted, period, "backend-batch-interval", "0s", "", "Longest time before etcd commits to bbolt.", noBolt},
		{accepted, number, "backend-batch-limit", "0", "", "Most operations before etcd commits to bbolt.", noBolt},
		{used, count, "max-txn-ops", "128", "", "Most operations in one transaction.", ""},
		{used, count, "max-request-bytes", "1572864", "", "Largest request in bytes.", ""},
		{used, period, "raft-read-timeout", "5s", "-", "How long a connection between members may be silent; at least 5s.", ""},
		{used, period, "raft-write-timeout", "5s", "-", "How long a write to another member may take; at least 5s.", ""},
		{used, gates, "feature-gates", "", "", "Switches features, as in A=true,B=false.", ""},
	}
}

func networkOptions() []option {
	return []option{
		{used, urls, "listen-peer-urls", defaultPeerURL, "", "Addresses that serve other members.", ""},
		{used, urls, "listen-client-urls", defaultClientURL, "", "Addresses that serve gRPC and HTTP to clients.", ""},
		{used, urlsOrNone, "listen-client-http-urls", "", "", "Addresses for HTTP alone; then --listen-client-urls serve gRPC alone.", ""},
		{used, urlsOrNone, "listen-metrics-urls", "", "", "More addresses for /metrics and the health checks.", ""},
		{used, count32, "max-concurrent-streams", "4294967295", "", "Most concurrent streams on one client connection.", ""},
		{used, period, "grpc-keepalive-min-time", "5s", "", "Shortest pause that a client must leave between two pings.", ""},
		{used, period, "grpc-keepalive-interval", "2h0m0s", "", "Pause between the server's own pings of a quiet connection; 0 sends none.", ""},
		{used, period, "grpc-keepalive-timeout", "20s", "", "Wait for the answer to a ping before the connection is closed.", ""},
		{ours, text, "grpc-transport", TransportKeelson, "", "What carries gRPC to clients: keelson, or grpc-go for gRPC's own server.", ""},
		{used, yesNo, "socket-reuse-port", "false", "socket-options.reuse-port", "Sets SO_REUSEPORT on listeners.", ""},
		{used, yesNo, "socket-reuse-address", "false", "socket-options.reuse-address", "Sets SO_REUSEADDR on listeners.", ""},
		{used, yesNo, "enable-grpc-gateway", "true", "", "Serves the JSON gateway under /v3.", ""},
	}
}

func clusterOptions() []option {
	return []option{
		{used, urls, "initial-advertise-peer-urls", defaultPeerURL, "", "This member's addresses as the other members see them.", ""},
		{used, text, "initial-cluster", defaultCluster, "", "All members of a new cluster, or of the one to join, as in n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380.", ""},
		{used, clusterState, "initial-cluster-state", stateNew, "", "new to found a cluster, existing to join one to which this member was added.", ""},
		{used, text, "initial-cluster-token", "etcd-cluster", "", "A word that goes into the ids of a new cluster.", ""},
		{used, urls, "advertise-client-urls", defaultClientURL, "", "This member's client addresses as clients see them; needed when --listen-client-urls is given.", ""},
		{used, yesNo, "strict-reconfig-check", "true", "", "Refuses member changes that would lose the quorum.", ""},
		{used, yesNo, "pre-vote", "true", "", "Asks before an election whether it could be won; cannot be switched off.", ""},
		{used, number, "max-learners", "1", "", "Most learners in the cluster; the same on all members.", ""},
		{used, text, "auto-compaction-retention", "0", "", "History to keep when compacting by itself: hours (1), a duration (30m) or revisions; 0 compacts only on request.", ""},
		{used, text, "auto-compaction-mode", "periodic", "", "Whether the retention counts time (periodic) or revisions (revision).", ""},
		{accepted, v2Stage, "v2-deprecation", "write-only", "", "Stage of etcd's farewell to its v2 store.", "there is no v2 store"},
		{used, yesNo, "force-new-cluster", "false", "", "Makes this member, with its data, the only one of its cluster; for a cluster that has lost most of its members.", ""},
		{ours, list, "join", "", "", "Peer addresses of members of a running cluster: asks one of them to take this member in, with no data yet.", ""},
		{ours, text, "join-token", "", "", "Token that a member of the cluster gave out for --join.", ""},
		{ours, yesNo, "auto-rejoin", "false", "", "Lets a member that has lost its data come back by itself, as a learner at first.", ""},
		{ours, number, "leader-priority", "0", "", "Of members that are equally far, the one with the higher number is to lead; from -1000 to 1000.", ""},
		{ours, yesNo, "leader-lease-reads", "false", "", "Lets the leader answer reads for as long as its heartbeats prove that it leads; relies on clocks that run at nearly the same speed.", ""},
		{ours, yesNo, "autopilot-promote", "false", "", "Lets the leader make voters of learners that have caught up.", ""},
		{ours, period, "autopilot-remove-dead-after", "0s", "", "Lets the leader remove a member that was out of reach for this long, while a quorum remains; 0 removes none.", ""},
	}
}

func discoveryOptions() []option {
	return []option{
		{used, list, "discovery-endpoints", "", "discovery-config.client.endpoints", "Another cluster that introduces the members to each other.", ""},
		{used, text, "discovery-token", "", "discovery-config.token", "Name of the new cluster at the discovery cluster.", ""},
		{used, period, "discovery-dial-timeout", "2s", "discovery-config.client.dial-timeout", "Dial timeout towards the discovery cluster.", ""},
		{used, period, "discovery-request-timeout", "5s", "discovery-config.client.request-timeout", "Request timeout towards the discovery cluster.", ""},
		{used, period, "discovery-keepalive-time", "2s", "discovery-config.client.keepalive-time", "Ping pause towards the discovery cluster.", ""},
		{used, period, "discovery-keepalive-timeout", "6s", "discovery-config.client.keepalive-timeout", "Ping timeout towards the discovery cluster.", ""},
		{used, yesNo, "discovery-insecure-transport", "true", "discovery-config.client.secure.insecure-transport", "Talks to the discovery cluster without TLS.", ""},
		{used, yesNo, "discovery-insecure-skip-tls-verify", "false", "discovery-config.client.secure.insecure-skip-tls-verify", "Trusts any certificate of the discovery cluster.", ""},
		{used, text, "discovery-cert", "", "discovery-config.client.secure.cert", "Certificate for the discovery cluster.", ""},
		{used, text, "discovery-key", "", "discovery-config.client.secure.key", "Key for the discovery cluster.", ""},
		{used, text, "discovery-cacert", "", "discovery-config.client.secure.cacert", "Authority that signed the discovery cluster's certificates.", ""},
		{used, text, "discovery-user", "", "discovery-config.client.auth.username", "User at the discovery cluster.", ""},
		{used, text, "discovery-password", "", "discovery-config.client.auth.password", "Password at the discovery cluster.", ""},
		{used, fallback, "discovery-fallback", "exit", "-", "What to do when discovery fails; only exit.", ""},
		{used, text, "discovery-srv", "", "", "DNS domain whose SRV records list the members.", ""},
		{used, text, "discovery-srv-name", "", "", "Suffix of the SRV service names.", ""},
	}
}

func clientTLSOptions() []option {
	return []option{
		{used, text, "cert-file", "", "client-transport-security.cert-file", "Certificate shown to clients.", ""},
		{used, text, "key-file", "", "client-transport-security.key-file", "Key of that certificate.", ""},
		{used, yesNo, "client-cert-auth", "false", "client-transport-security.client-cert-auth", "Demands certificates from clients; their common name is the user.", ""},
		{used, text, "trusted-ca-file", "", "client-transport-security.trusted-ca-file", "Authorities that sign the clients' certificates; naming it demands one of every client.", ""},
		{accepted, text, "client-cert-file", "", "client-transport-security.client-cert-file", "Certificate for the server's calls to itself.", noDial},
		{accepted, text, "client-key-file", "", "client-transport-security.client-key-file", "Key of that certificate.", noDial},
		{used, text, "client-crl-file", "", "-", "List of revoked client certificates.", ""},
		{used, list, "client-cert-allowed-hostname", "", "client-transport-security.allowed-hostname", "Host names that client certificates may carry.", ""},
		{used, yesNo, "auto-tls", "false", "client-transport-security.auto-tls", "Serves clients with a certificate made at the start.", ""},
		{used, count, "self-signed-cert-validity", "1", "", "Years that certificates made at the start are valid.", ""},
		{used, list, "cipher-suites", "", "", "TLS cipher suites by their IANA names.", ""},
		{used, text, "tls-min-version", tls12, "", "Lowest TLS version, TLS1.2 or TLS1.3.", ""},
		{used, text, "tls-max-version", "", "", "Highest TLS version, TLS1.2 or TLS1.3.", ""},
	}
}

func peerTLSOptions() []option {
	return []option{
		{used, text, "peer-cert-file", "", "peer-transport-security.cert-file", "Certificate shown to other members.", ""},
		{used, text, "peer-key-file", "", "peer-transport-security.key-file", "Key of that certificate.", ""},
		{used, yesNo, "peer-client-cert-auth", "false", "peer-transport-security.client-cert-auth", "Demands certificates from other members.", ""},
		{used, text, "peer-trusted-ca-file", "", "peer-transport-security.trusted-ca-file", "Authority that signs the members' certificates.", ""},
		{used, text, "peer-client-cert-file", "", "peer-transport-security.client-cert-file", "Certificate for calls to other members.", ""},
		{used, text, "peer-client-key-file", "", "peer-transport-security.client-key-file", "Key of that certificate.", ""},
		{used, text, "peer-crl-file", "", "-", "List of revoked member certificates.", ""},
		{used, list, "peer-cert-allowed-cn", "", "peer-transport-security.allowed-cn", "Common names that member certificates may carry.", ""},
		{used, list, "peer-cert-allowed-hostname", "", "peer-transport-security.allowed-hostname", "Host names that member certificates may carry.", ""},
		{used, yesNo, "peer-auto-tls", "false", "peer-transport-security.auto-tls", "Serves members with a certificate made at the start.", ""},
		{used, yesNo, "peer-skip-client-san-verification", "false", "peer-transport-security.skip-client-san-verification", "Skips the check of names in member certificates.", ""},
	}
}

func accessOptions() []option {
	return []option{
		{used, origins, "cors", "*", "", "Web origins that may call the HTTP API.", ""},
		{used, list, "host-whitelist", "*", "", "Host names that HTTP requests may carry.", ""},
		{used, text, "auth-token", "simple", "", "Kind of the tokens that users get: simple, or jwt with its keys as in jwt,pub-key=app.pub,priv-key=app.key,sign-method=RS256,ttl=10m.", ""},
		{used, count, "bcrypt-cost", "10", "", "Effort of hashing passwords, 4 to 31.", ""},
		{used, count, "auth-token-ttl", "300", "", "Seconds that a simple token lives when it is not used.", ""},
	}
}

func observeOptions() []option {
	return []option{
		{used, yesNo, "enable-pprof", "false", "", "Serves profiles under /debug/pprof.", ""},
		{used, text, "metrics", "basic", "", "Detail of the metrics, basic or extensive (with request histograms).", ""},
		{used, text, "logger", "zap", "", "Only zap, the name of etcd's line format.", ""},
		{used, list, "log-outputs", "default", "", "Where log lines go: default (stderr), stdout, stderr, or files.", ""},
		{used, text, "log-level", "info", "", "Lowest level that is logged: debug, info, warn, error, panic or fatal.", ""},
		{used, text, "log-format", "json", "", "json or console; when not given, console on a terminal.", ""},
		{used, yesNo, "enable-log-rotation", "false", "", "Rotates the log file.", ""},
		{used, text, "log-rotation-config-json", defaultRotation, "", "How to rotate the log file: megabytes, days, files kept.", ""},
		{used, period, "warning-unary-request-duration", "300ms", "", "Requests that take longer are logged.", ""},
		{used, period, "warning-apply-duration", "100ms", "", "Applying an entry for longer than this is logged.", ""},
		{used, yesNo, "enable-distributed-tracing", "false", "", "Sends traces to an OpenTelemetry collector.", ""},
		{used, text, "distributed-tracing-address", "localhost:4317", "", "Address of the collector.", ""},
		{used, text, "distributed-tracing-service-name", "etcd", "", "Service name in traces.", ""},
		{used, text, "distributed-tracing-instance-id", "", "", "Instance id in traces.", ""},
		{used, number, "distributed-tracing-sampling-rate", "0", "", "Traced requests per million.", ""},
	}
}

func upkeepOptions() []option {
	return []option{
		{used, period, "corrupt-check-time", "0s", "", "Pause between two checks of all stored records against their sums; 0 makes none.", ""},
		{used, period, "compact-hash-check-time", "1m0s", "", "With the gate CompactHashCheck: pause between looks for a compaction whose result is to be checked.", ""},
		{accepted, number, "compaction-batch-limit", "1000", "", "Most revisions that etcd deletes in one step of a compaction.", noCompact},
		{accepted, period, "compaction-sleep-interval", "10ms", "", "Pause between etcd's steps of a compaction.", noCompact},
		{used, period, "watch-progress-notify-interval", "10m0s", "", "Pause between progress notes on quiet watches.", ""},
		{accepted, period, "downgrade-check-time", "5s", "", "Pause between etcd's checks of a running downgrade.", atOnce},
		{accepted, count, "bootstrap-defrag-threshold-megabytes", "0", "", "Freed megabytes that make etcd defragment at the start.", noBolt},
		{ours, yesNo, "alarm-self-clear", "true", "", "Clears a NOSPACE alarm by itself once there is space again.", ""},
		{ours, count, "snapshot-rate", "0", "", "Bytes per second that a copy of the state may take on its way to another member; 0 sets no limit.", ""},
		{ours, period, "compare-interval", "10s", "", "Pause between two comparisons of the members' states; 0 makes none.", ""},
		{unbuilt, yesNo, "unsafe-no-fsync", "false", "", "Acknowledges writes that are not durable; always refused.",
			"Keelson never acknowledges what is not durable: leave it out"},
	}
}

func metaOptions() []option {
	return []option{
		{used, text, "config-file", "", "-", "YAML or JSON file; then all other flags and the environment are ignored.", ""},
		{used, yesNo, "version", "false", "-", "Prints the version and exits.", ""},
	}
}

// fileOnly lists what only a config file can set.
func fileOnly() []option {
	return []option{
		{used, list, "client-transport-security.allowed-cn", "", "client-transport-security.allowed-cn", "Common names that client certificates may carry.", ""},
		{used, text, "discovery-config.client.secure.server-name", "", "discovery-config.client.secure.server-name", "Name that the discovery cluster's certificates must carry.", ""},
		{used, text, "discovery-config.client.auth.token", "", "discovery-config.client.auth.token", "Token for the discovery cluster.", ""},
	}
}
