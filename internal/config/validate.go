package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/keelson-db/keelson/internal/token"
)

// initialCluster is the text of --initial-cluster; its default makes way when the members are to be found in another
// way. etcd takes the default written out in a file for the default too, and lets the suffix of the SRV services
// alone move it only where it is a flag.
func (in *input) initialCluster() string {
	all := in.settings
	cluster, byDefault := all.text("initial-cluster"), !all.given("initial-cluster")
	found := all.given("discovery-endpoints") || all.text("discovery-srv") != "" || all.text("join") != ""
	if in.file != "" {
		byDefault = cluster == defaultCluster
	} else {
		found = found || all.text("discovery-srv-name") != ""
	}
	if found && byDefault {
		return ""
	}
	return cluster
}

// validate makes etcd's checks in etcd's order and words, so that the first
// thing wrong is the same for both.
func (c *Config) validate(in *input, clusterText string) error {
	all := in.settings
	if all.text("discovery-fallback") == "proxy" {
		return errors.New(`v2 proxy is deprecated, and --discovery-fallback can't be configured as "proxy"`)
	}
	if err := c.validateLogging(all); err != nil {
		return err
	}
	if in.file == "" && c.ListenClientURLsGiven && !all.given("advertise-client-urls") {
		// Only an explicit listener makes the default address a wrong guess.
		// The check that reports it comes after the others, as in etcd.
		c.AdvertiseClientURLs = nil
	}
	if err := c.validateURLs(); err != nil {
		return err
	}
	if err := c.validateBootstrap(all, clusterText); err != nil {
		return err
	}
	if err := validateTimes(all.count("heartbeat-interval"), all.count("election-timeout")); err != nil {
		return err
	}
	if c.AdvertiseClientURLs == nil {
		return ErrAdvertiseClientURLsUnset
	}
	if err := c.readCompaction(all.text("auto-compaction-mode"), all.text("auto-compaction-retention")); err != nil {
		return err
	}
	if err := c.readTracing(all); err != nil {
		return err
	}
	if c.CompactHashCheckTime <= 0 {
		return fmt.Errorf("--compact-hash-check-time must be >0 (set to %v)", c.CompactHashCheckTime)
	}
	if c.MetricsLevel != "basic" && c.MetricsLevel != "extensive" {
		return fmt.Errorf("unknown metrics level %q: use basic or extensive", c.MetricsLevel)
	}
	if c.GRPCTransport != TransportKeelson && c.GRPCTransport != TransportGRPC {
		return fmt.Errorf("unknown gRPC transport %q: use %s or %s", c.GRPCTransport, TransportKeelson, TransportGRPC)
	}
	if err := c.validateCluster(all); err != nil {
		return err
	}
	if err := c.readTLS(all); err != nil {
		return err
	}
	if err := c.validatePeerTLS(); err != nil {
		return err
	}
	if err := c.validateTLS(); err != nil {
		return err
	}
	return c.readAccess(all)
}

func (c *Config) validateLogging(all settings) error {
	switch logger := all.text("logger"); logger {
	case "zap":
	case "capnslog":
		return errors.New("--logger=capnslog is removed in v3.5")
	default:
		return fmt.Errorf("unknown logger option %q", logger)
	}
	if len(c.LogOutputs) > 1 {
		for _, output := range c.LogOutputs {
			if output == "default" {
				return errors.New(`multi logoutput for "default" is not supported yet`)
			}
		}
	}
	if err := c.readRotation(all); err != nil {
		return err
	}
	if _, err := slogLevel(c.LogLevel); err != nil {
		return err
	}
	if format := all.text("log-format"); format != formatJSON && format != formatConsole {
		return fmt.Errorf("unknown log format: %s, supported values json, console", format)
	}
	return nil
}

func (c *Config) validateURLs() error {
	if err := checkBindURLs(c.ListenPeerURLs); err != nil {
		return err
	}
	if err := checkBindURLs(c.ListenClientURLs); err != nil {
		return err
	}
	if err := checkBindURLs(c.ListenClientHTTPURLs); err != nil {
		return err
	}
	if err := checkBindURLs(c.ListenMetricsURLs); err != nil {
		return err
	}
	if err := checkHostURLs(c.InitialAdvertisePeerURLs); err != nil {
		return fmt.Errorf(`--initial-advertise-peer-urls %q must be "host:port" (%w)`, joinURLs(c.InitialAdvertisePeerURLs), err)
	}
	if err := checkHostURLs(c.AdvertiseClientURLs); err != nil {
		return fmt.Errorf(`--advertise-client-urls %q must be in the format "host:port", "unix:/path/to/socket" or "unixs:/path/to/socket" (%w)`,
			joinURLs(c.AdvertiseClientURLs), err)
	}
	return nil
}

func (c *Config) validateBootstrap(all settings, clusterText string) error {
	ways := 0
	for _, taken := range []bool{clusterText != "", all.text("discovery-srv") != "", all.given("discovery-endpoints")} {
		if taken {
			ways++
		}
	}
	if ways > 1 {
		return ErrConflictingBootstrap
	}
	if all.text("join") != "" && (ways > 0 || c.InitialClusterState == stateExisting) {
		return ErrConflictingJoin
	}
	if (all.text("discovery-token") != "") != all.given("discovery-endpoints") {
		return errors.New("both --discovery-token and --discovery-endpoints must be set")
	}
	if all.given("discovery-endpoints") {
		for _, endpoint := range strings.Split(all.text("discovery-endpoints"), ",") {
			if strings.TrimSpace(endpoint) == "" {
				return errors.New("--discovery-endpoints must not contain empty endpoints")
			}
		}
	}
	return nil
}

// validateTimes takes milliseconds. It divides rather than multiplies, so that
// no value can overflow its way past the check.
func validateTimes(heartbeat, election uint) error {
	if heartbeat == 0 {
		return fmt.Errorf("--heartbeat-interval must be >0 (set to %dms)", heartbeat)
	}
	if election == 0 {
		return fmt.Errorf("--election-timeout must be >0 (set to %dms)", election)
	}
	if heartbeat > election/5 {
		return fmt.Errorf("--election-timeout[%vms] should be at least as 5 times as --heartbeat-interval[%vms]", election, heartbeat)
	}
	if election > maxElectionMs {
		return fmt.Errorf("--election-timeout[%vms] is too long, and should be set less than %vms", election, maxElectionMs)
	}
	return nil
}

// refuseUnbuilt stops the start for every value that asks for something that
// is not built and that must not be ignored in silence.
func refuseUnbuilt(all settings) error {
	if !all.bool("pre-vote") {
		return errors.New("--pre-vote=false is not possible: Keelson always asks before an election, leave it out")
	}
	var names []string
	why := ""
	for _, section := range table() {
		for i := range section.options {
			o := &section.options[i]
			if o.class != unbuilt || !all[o.name].changed() || (why != "" && o.why != why) {
				continue
			}
			names, why = append(names, "--"+o.name), o.why
		}
	}
	if len(names) > 0 {
		return fmt.Errorf("%s cannot be used: %s", strings.Join(names, ", "), why)
	}
	return nil
}

// warnOfNoEffect adds a sentence for every accepted value that changes nothing.
func (c *Config) warnOfNoEffect(all settings) {
	for _, section := range table() {
		for i := range section.options {
			o := &section.options[i]
			if o.class == accepted && all[o.name].changed() {
				c.warnf("--%s has no effect: %s.", o.name, o.why)
			}
		}
	}
}

// warnOfUnwise adds a sentence for what works and is still not advised, and
// for what was moved into its bounds.
func (c *Config) warnOfUnwise(all settings) {
	if c.QuotaBackendBytes > suggestedQuotaBytes {
		c.warnf("--quota-backend-bytes=%d is above the suggested maximum of %d bytes.", c.QuotaBackendBytes, int64(suggestedQuotaBytes))
	}
	if c.MaxRequestBytes > suggestedRequestBytes {
		c.warnf("--max-request-bytes=%d is above the suggested maximum of %d bytes.", c.MaxRequestBytes, suggestedRequestBytes)
	}
	if c.WatchProgressNotifyInterval < minProgressInterval {
		c.WatchProgressNotifyInterval = minProgressInterval
		c.warnf("--watch-progress-notify-interval was raised to its minimum of %v.", minProgressInterval)
	}
	for _, name := range []string{"raft-read-timeout", "raft-write-timeout"} {
		if all.period(name) < minPeerTimeout {
			c.warnf("--%s was raised to its minimum of %v.", name, minPeerTimeout)
		}
	}
	for _, option := range token.UnknownOptions(c.AuthToken) {
		c.warnf("--auth-token: the option %q is not known and was ignored.", option)
	}
	for i, output := range c.LogOutputs {
		if output == "systemd/journal" {
			c.LogOutputs[i] = "stderr"
			c.warnf("--log-outputs=systemd/journal writes to stderr, from where systemd takes it to the journal.")
		}
	}
}
