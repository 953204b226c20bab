package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// discovers reports whether the members are to be found by discovery.
func (in *input) discovers() bool {
	return in.settings.text("discovery-endpoints") != "" ||
		in.settings.text("discovery-srv") != "" || in.settings.text("discovery-srv-name") != ""
}

// initialCluster is the text of --initial-cluster; its default makes way when
// members are to be found by discovery.
func (in *input) initialCluster() string {
	if in.discovers() && !in.settings.given("initial-cluster") {
		return ""
	}
	return in.settings.text("initial-cluster")
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
	if err := validateCompaction(all.text("auto-compaction-mode"), all.text("auto-compaction-retention")); err != nil {
		return err
	}
	if t := all.period("compact-hash-check-time"); t <= 0 {
		return fmt.Errorf("--compact-hash-check-time must be >0 (set to %v)", t)
	}
	if c.MetricsLevel != "basic" && c.MetricsLevel != "extensive" {
		return fmt.Errorf("unknown metrics level %q: use basic or extensive", c.MetricsLevel)
	}
	return validateTLSVersions(all.text("tls-min-version"), all.text("tls-max-version"), all.text("cipher-suites"))
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
	for _, way := range []string{clusterText, all.text("discovery-srv"), all.text("discovery-endpoints")} {
		if way != "" {
			ways++
		}
	}
	if ways > 1 {
		return ErrConflictingBootstrap
	}
	if (all.text("discovery-token") != "") != (all.text("discovery-endpoints") != "") {
		return errors.New("both --discovery-token and --discovery-endpoints must be set")
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

func validateCompaction(mode, retention string) error {
	switch mode {
	case "periodic", "revision":
	case "":
		return errors.New("undefined auto-compaction-mode")
	default:
		return fmt.Errorf("unknown auto-compaction-mode %q", mode)
	}
	_, err := parseRetention(retention)
	return err
}

// parseRetention reads hours or revisions (a plain number) or a duration. Only
// whether it is zero matters while automatic compaction is not built.
func parseRetention(value string) (time.Duration, error) {
	if value == "" {
		return 0, nil
	}
	if n, err := strconv.Atoi(value); err == nil && n >= 0 {
		return time.Duration(n), nil
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		return 0, fmt.Errorf("error parsing CompactionRetention: %w", err)
	}
	return d, nil
}

func validateTLSVersions(lowest, highest, suites string) error {
	for _, version := range []string{lowest, highest} {
		if version != "" && version != tls12 && version != tls13 {
			return fmt.Errorf("unexpected TLS version %q (must be one of: TLS1.2, TLS1.3)", version)
		}
	}
	if lowest == tls13 && highest == tls12 {
		return fmt.Errorf("min version (%s) is greater than max version (%s)", lowest, highest)
	}
	if lowest == tls13 && suites != "" {
		return errors.New("cipher suites cannot be configured when only TLS1.3 is enabled")
	}
	return nil
}

// refuseUnbuilt stops the start for every value that asks for something that
// is not built and that must not be ignored in silence.
func (c *Config) refuseUnbuilt(all settings) error {
	if !all.bool("pre-vote") {
		return errors.New("--pre-vote=false is not possible: Keelson always asks before an election, leave it out")
	}
	if token := all.text("auth-token"); token != "simple" {
		kind, _, _ := strings.Cut(token, ",")
		return fmt.Errorf("--auth-token with %s tokens is not built yet: leave it out or use simple", kind)
	}
	if err := c.refuseTLSListeners(); err != nil {
		return err
	}
	var names []string
	why := ""
	for _, section := range table() {
		for i := range section.options {
			o := &section.options[i]
			if o.class != unbuilt || !all[o.name].switchedOn() || (why != "" && o.why != why) {
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

func (c *Config) refuseTLSListeners() error {
	if err := checkPlainURLs("listen-client-urls", c.ListenClientURLs); err != nil {
		return err
	}
	if err := checkPlainURLs("listen-client-http-urls", c.ListenClientHTTPURLs); err != nil {
		return err
	}
	if err := checkPlainURLs("listen-metrics-urls", c.ListenMetricsURLs); err != nil {
		return err
	}
	return checkPlainURLs("listen-peer-urls", c.ListenPeerURLs)
}

// switchedOn reports whether an unbuilt option asks for its feature. Retention
// has many ways to write "off"; the others have their default.
func (s *setting) switchedOn() bool {
	if s.option.name == "auto-compaction-retention" {
		kept, err := parseRetention(s.value)
		return err != nil || kept != 0
	}
	return s.changed()
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
	if all.given("enable-grpc-gateway") && all.bool("enable-grpc-gateway") {
		c.warnf("--enable-grpc-gateway has no effect: %s.", all["enable-grpc-gateway"].option.why)
	}
	if all["listen-peer-urls"].changed() {
		c.warnf("--listen-peer-urls are checked but not opened: %s.", noPeers)
	}
	if all.given("quota-backend-bytes") && c.QuotaBackendBytes > 0 {
		c.warnf("--quota-backend-bytes is reported but not yet enforced.")
	}
}

// warnOfUnwise adds a sentence for what works and is still not advised, and
// for what was moved into its bounds.
func (c *Config) warnOfUnwise() {
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
	for i, output := range c.LogOutputs {
		if output == "systemd/journal" {
			c.LogOutputs[i] = "stderr"
			c.warnf("--log-outputs=systemd/journal writes to stderr, from where systemd takes it to the journal.")
		}
	}
}
