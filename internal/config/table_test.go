package config

import (
	"slices"
	"strings"
	"testing"
)

// etcdFlags are the names of etcd 3.7's flags, written down apart from the
// table so that a row that gets lost is missed.
const etcdFlags = `
name data-dir wal-dir snapshot-count snapshot-catchup-entries heartbeat-interval election-timeout
initial-election-tick-advance listen-peer-urls listen-client-urls listen-client-http-urls listen-metrics-urls
max-snapshots max-wals memory-mlock quota-backend-bytes backend-bbolt-freelist-type backend-batch-interval
backend-batch-limit max-txn-ops max-request-bytes max-concurrent-streams grpc-keepalive-min-time
grpc-keepalive-interval grpc-keepalive-timeout socket-reuse-port socket-reuse-address enable-grpc-gateway
raft-read-timeout raft-write-timeout feature-gates

initial-advertise-peer-urls initial-cluster initial-cluster-state initial-cluster-token advertise-client-urls
discovery-endpoints discovery-token discovery-dial-timeout discovery-request-timeout discovery-keepalive-time
discovery-keepalive-timeout discovery-insecure-transport discovery-insecure-skip-tls-verify discovery-cert
discovery-key discovery-cacert discovery-user discovery-password discovery-fallback discovery-srv discovery-srv-name
strict-reconfig-check pre-vote auto-compaction-mode auto-compaction-retention v2-deprecation force-new-cluster max-learners

cert-file key-file client-cert-auth trusted-ca-file client-cert-file client-key-file client-crl-file
client-cert-allowed-hostname auto-tls peer-auto-tls self-signed-cert-validity peer-cert-file peer-key-file
peer-client-cert-auth peer-trusted-ca-file peer-client-cert-file peer-client-key-file peer-crl-file
peer-cert-allowed-cn peer-cert-allowed-hostname peer-skip-client-san-verification cipher-suites tls-min-version
tls-max-version cors host-whitelist

auth-token bcrypt-cost auth-token-ttl

enable-pprof metrics logger log-outputs log-level log-format enable-log-rotation log-rotation-config-json
warning-unary-request-duration warning-apply-duration enable-distributed-tracing distributed-tracing-address
distributed-tracing-service-name distributed-tracing-instance-id distributed-tracing-sampling-rate

corrupt-check-time compact-hash-check-time compaction-batch-limit compaction-sleep-interval
watch-progress-notify-interval downgrade-check-time bootstrap-defrag-threshold-megabytes unsafe-no-fsync

config-file version`

// ourFlags are the flags that etcd does not know.
const ourFlags = `
alarm-self-clear join join-token auto-rejoin leader-priority leader-lease-reads autopilot-promote
autopilot-remove-dead-after snapshot-rate compare-interval grpc-transport`

// oldFlags are names that only older versions of etcd knew.
const oldFlags = `
cluster-active-size cluster-remove-delay cluster-sync-interval config force max-result-buffer max-retry-attempts
peer-heartbeat-interval peer-election-timeout retry-interval snapshot v vv test.coverprofile test.outputdir

experimental-compact-hash-check-time experimental-corrupt-check-time experimental-compaction-batch-limit
experimental-compaction-sleep-interval experimental-watch-progress-notify-interval experimental-warning-apply-duration
experimental-warning-unary-request-duration experimental-bootstrap-defrag-threshold-megabytes experimental-memory-mlock
experimental-snapshot-catchup-entries experimental-snapshot-catch-up-entries experimental-downgrade-check-time
experimental-peer-skip-client-san-verification experimental-enable-distributed-tracing
experimental-distributed-tracing-address experimental-distributed-tracing-service-name
experimental-distributed-tracing-instance-id experimental-distributed-tracing-sampling-rate experimental-max-learners
experimental-initial-corrupt-check experimental-compact-hash-check-enabled
experimental-txn-mode-write-with-shared-buffer experimental-enable-lease-checkpoint
experimental-enable-lease-checkpoint-persist experimental-stop-grpc-service-on-defrag`

func TestTheTableHasExactlyEtcdsFlags(t *testing.T) {
	all := newSettings()
	for _, o := range fileOnly() {
		delete(all, o.name)
	}
	for _, name := range strings.Fields(etcdFlags + " " + ourFlags) {
		if all[name] == nil {
			t.Fatalf("the table lacks --%s", name)
		}
		if own := slices.Contains(strings.Fields(ourFlags), name); own != (all[name].option.class == ours) {
			t.Errorf("--%s is marked as Keelson's own: %t", name, !own)
		}
		delete(all, name)
	}
	for name := range all {
		t.Errorf("the table has --%s, which etcd does not know", name)
	}
}

func TestOldFlagsAreKnown(t *testing.T) {
	line, err := readCommandLine(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(oldFlags) {
		if line.flags.Lookup(name) == nil {
			t.Errorf("--%s is unknown", name)
		}
	}
	if got := len(line.aliases) + len(line.legacy); got != len(strings.Fields(oldFlags)) {
		t.Errorf("%d old names are known, %d are listed here", got, len(strings.Fields(oldFlags)))
	}
}

func TestEveryRowIsComplete(t *testing.T) {
	files := map[string]string{}
	for _, section := range table() {
		for i := range section.options {
			o := &section.options[i]
			if err := o.kind.check(o.def); err != nil {
				t.Errorf("--%s: its default %q is not a value: %v", o.name, o.def, err)
			}
			if !strings.HasSuffix(o.help, ".") {
				t.Errorf("--%s: the help is not a sentence: %q", o.name, o.help)
			}
			if (o.class == used || o.class == ours) != (o.why == "") {
				t.Errorf("--%s: a used flag needs no reason and every other one does, got %q", o.name, o.why)
			}
			if path := o.filePath(); path != "" {
				if files[path] != "" {
					t.Errorf("--%s and --%s share the file key %s", o.name, files[path], path)
				}
				files[path] = o.name
			}
		}
	}
}
