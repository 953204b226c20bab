package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// featureGate is one row of etcd 3.7's feature gates.
type featureGate struct {
	name  string
	alpha bool
	def   bool
	// why tells why switching the gate away from its default changes nothing.
	// It is empty where the promise of the gate is kept anyway.
	why string
}

// featureGates lists etcd's gates. The two checks look at this member's own
// records.
func featureGates() []featureGate {
	return []featureGate{
		{"InitialCorruptCheck", true, false, ""},
		{"CompactHashCheck", true, false, ""},
		{"StopGRPCServiceOnDefrag", true, false, "no request waits for a defragmentation"},
		{"TxnModeWriteWithSharedBuffer", false, true, "there is no such buffer"},
		{"LeaseCheckpoint", true, false, "what remains of a lease after a restart does not depend on it"},
		{"LeaseCheckpointPersist", true, false, "what remains of a lease after a restart does not depend on it"},
		{"SetMemberLocalAddr", true, false, ""},
		{"FastLeaseKeepAlive", false, true, "keepalives never wait for the log"},
		{"PriorityRequest", true, false, "requests have no priorities"},
	}
}

// FeatureStage is etcd's stage of a gate in FeatureGates: "ALPHA" or "BETA".
func FeatureStage(name string) string {
	for _, g := range featureGates() {
		if g.name == name && !g.alpha || name == allBeta {
			return "BETA"
		}
	}
	return "ALPHA"
}

const (
	allAlpha = "AllAlpha"
	allBeta  = "AllBeta"
)

// parseGates reads "A=true,B=false" and refuses unknown gates.
func parseGates(value string) (map[string]bool, error) {
	known := featureGates()
	given := map[string]bool{}
	for _, part := range strings.Split(value, ",") {
		if part == "" {
			continue
		}
		name, setting, hasValue := strings.Cut(part, "=")
		name, setting = strings.TrimSpace(name), strings.TrimSpace(setting)
		if !hasValue {
			return nil, fmt.Errorf("missing bool value for %s", name)
		}
		on, err := strconv.ParseBool(setting)
		if err != nil {
			return nil, fmt.Errorf("invalid value of %s=%s, err: %w", name, setting, err)
		}
		isGate := slices.ContainsFunc(known, func(g featureGate) bool { return g.name == name })
		if !isGate && name != allAlpha && name != allBeta {
			return nil, fmt.Errorf("unrecognized feature gate: %s", name)
		}
		given[name] = on
	}
	return given, nil
}

// effectiveGates applies the given gates, and the two group switches for gates
// not given by name, to the defaults.
func effectiveGates(given map[string]bool) map[string]bool {
	all := map[string]bool{allAlpha: given[allAlpha], allBeta: given[allBeta]}
	for _, g := range featureGates() {
		group := allBeta
		if g.alpha {
			group = allAlpha
		}
		all[g.name] = g.def
		if on, ok := given[group]; ok {
			all[g.name] = on
		}
		if on, ok := given[g.name]; ok {
			all[g.name] = on
		}
	}
	return all
}

// readGates fills FeatureGates and warns of explicit settings without effect.
func (c *Config) readGates(all settings) error {
	given, err := parseGates(all.text("feature-gates"))
	if err != nil {
		return err
	}
	c.FeatureGates = effectiveGates(given)
	if c.FeatureGates["LeaseCheckpointPersist"] && !c.FeatureGates["LeaseCheckpoint"] {
		return errors.New("enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint")
	}
	for _, g := range featureGates() {
		if on, ok := given[g.name]; ok && on != g.def && g.why != "" {
			c.warnf("The feature gate %s=%t has no effect: %s.", g.name, on, g.why)
		}
	}
	return nil
}
