package config

import "fmt"

// legacyFlags are flags of very old etcd versions that etcd still takes
// without doing anything, so that ancient start scripts keep working.
func legacyFlags() []string {
	return []string{
		"cluster-active-size", "cluster-remove-delay", "cluster-sync-interval", "config", "force",
		"max-result-buffer", "max-retry-attempts", "peer-heartbeat-interval", "peer-election-timeout",
		"retry-interval", "snapshot", "v", "vv", "test.coverprofile", "test.outputdir",
	}
}

// legacyFlag swallows the value of a legacy flag and remembers that it came.
type legacyFlag struct{ given bool }

// String is empty: a legacy flag has no value.
func (*legacyFlag) String() string { return "" }

// Set takes and forgets any value.
func (l *legacyFlag) Set(string) error {
	l.given = true
	return nil
}

// IsBoolFlag makes the value optional, as etcd does.
func (*legacyFlag) IsBoolFlag() bool { return true }

// alias is an --experimental- name of etcd 3.5 and 3.6 that 3.7 no longer
// knows. Taking it keeps manifests written for those versions working.
type alias struct {
	old string
	// name is the option that took its place; when the place was taken by a
	// feature gate, name is empty and gate is set.
	name, gate string
}

func aliases() []alias {
	var all []alias
	for _, name := range []string{
		"compact-hash-check-time", "corrupt-check-time", "compaction-batch-limit", "compaction-sleep-interval",
		"watch-progress-notify-interval", "warning-apply-duration", "warning-unary-request-duration",
		"bootstrap-defrag-threshold-megabytes", "memory-mlock", "snapshot-catchup-entries", "downgrade-check-time",
		"peer-skip-client-san-verification", "enable-distributed-tracing", "distributed-tracing-address",
		"distributed-tracing-service-name", "distributed-tracing-instance-id", "distributed-tracing-sampling-rate",
		"max-learners",
	} {
		all = append(all, alias{old: experimental + name, name: name})
	}
	return append(all,
		alias{old: experimental + "snapshot-catch-up-entries", name: "snapshot-catchup-entries"},
		alias{old: experimental + "initial-corrupt-check", gate: "InitialCorruptCheck"},
		alias{old: experimental + "compact-hash-check-enabled", gate: "CompactHashCheck"},
		alias{old: experimental + "txn-mode-write-with-shared-buffer", gate: "TxnModeWriteWithSharedBuffer"},
		alias{old: experimental + "enable-lease-checkpoint", gate: "LeaseCheckpoint"},
		alias{old: experimental + "enable-lease-checkpoint-persist", gate: "LeaseCheckpointPersist"},
		alias{old: experimental + "stop-grpc-service-on-defrag", gate: "StopGRPCServiceOnDefrag"},
	)
}

const experimental = "experimental-"

// kindOf is the grammar of the alias's value.
func (a alias) kindOf(all settings) kind {
	if a.gate != "" {
		return yesNo
	}
	return all[a.name].option.kind
}

// adopt moves the value of an alias to the place that it stands for. Two
// spellings at once are refused, because one of them would lose silently.
func (a alias) adopt(all settings, value string) (warning string, err error) {
	if a.gate != "" {
		given, err := parseGates(all.text("feature-gates"))
		if err != nil {
			return "", err
		}
		if _, twice := given[a.gate]; twice {
			return "", fmt.Errorf("both --%s and the feature gate %s are set: keep only --feature-gates=%s=%s", a.old, a.gate, a.gate, value)
		}
		gate := all["feature-gates"]
		gate.given = true
		gate.value = joinNonEmpty(gate.value, fmt.Sprintf("%s=%t", a.gate, parseBool(value)))
		return fmt.Sprintf("--%s is gone since etcd 3.7; it is taken as --feature-gates=%s=%s.", a.old, a.gate, value), nil
	}
	target := all[a.name]
	if target.given {
		return "", fmt.Errorf("both --%s and --%s are set: keep only --%s", a.old, a.name, a.name)
	}
	if err := target.Set(value); err != nil {
		return "", badValue(value, "--"+a.old, err)
	}
	return fmt.Sprintf("--%s is gone since etcd 3.7; it is taken as --%s.", a.old, a.name), nil
}

func joinNonEmpty(left, right string) string {
	if left == "" {
		return right
	}
	return left + "," + right
}
