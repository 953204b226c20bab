package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/keelson-db/keelson/internal/chores"
	"github.com/keelson-db/keelson/internal/token"
)

// Modes of automatic compaction.
const (
	CompactionPeriodic = chores.ByTime
	CompactionRevision = chores.ByRevision
)

// Bounds that the settings of users and traces must keep.
const (
	// minBcryptCost and maxBcryptCost are bcrypt's own bounds.
	minBcryptCost     = 4
	maxBcryptCost     = 31
	defaultBcryptCost = 10
	// defaultTokenTTL is the life of an unused token in seconds that 0 stands for.
	defaultTokenTTL = 300
	// maxTokenTTL is the longest life of a token in seconds, about 68 years.
	maxTokenTTL = 1<<31 - 1
	// maxSamplingRate is the number of traced requests per million that means all.
	maxSamplingRate = 1_000_000
)

// readCompaction fills the settings of automatic compaction.
func (c *Config) readCompaction(mode, retention string) error {
	switch mode {
	case CompactionPeriodic, CompactionRevision:
		c.AutoCompactionMode = mode
	case "":
		return errors.New("undefined auto-compaction-mode")
	default:
		return fmt.Errorf("unknown auto-compaction-mode %q", mode)
	}
	kept, err := parseRetention(mode, retention)
	if err != nil {
		return err
	}
	if mode == CompactionPeriodic {
		c.AutoCompactionRetention = time.Duration(kept)
	} else {
		c.AutoCompactionRevisions = kept
	}
	return nil
}

// parseRetention reads a plain number, which counts hours or revisions, or a duration, which etcd takes in
// either mode: as a number of revisions it counts nanoseconds.
func parseRetention(mode, value string) (int64, error) {
	if value == "" {
		return 0, nil
	}
	if n, err := strconv.Atoi(value); err == nil && n >= 0 {
		if mode == CompactionRevision {
			return int64(n), nil
		}
		if int64(n) > math.MaxInt64/int64(time.Hour) {
			return 0, fmt.Errorf("error parsing CompactionRetention: %s hours are too many", value)
		}
		return int64(n) * int64(time.Hour), nil
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		return 0, fmt.Errorf("error parsing CompactionRetention: %w", err)
	}
	if d < 0 {
		return 0, fmt.Errorf("error parsing CompactionRetention: %s is negative", value)
	}
	return int64(d), nil
}

// readTracing fills the settings of tracing; they are checked only when it is on.
func (c *Config) readTracing(all settings) error {
	c.EnableDistributedTracing = all.bool("enable-distributed-tracing")
	c.DistributedTracingAddress = all.text("distributed-tracing-address")
	c.DistributedTracingServiceName = all.text("distributed-tracing-service-name")
	c.DistributedTracingInstanceID = all.text("distributed-tracing-instance-id")
	rate := all.number("distributed-tracing-sampling-rate")
	c.DistributedTracingSamplingRate = min(max(rate, 0), maxSamplingRate)
	switch {
	case !c.EnableDistributedTracing:
	case rate < 0:
		return errors.New("distributed tracing configurition is not valid: (tracing sampling rate must be positive)")
	case rate > maxSamplingRate:
		return fmt.Errorf("distributed tracing configurition is not valid: (tracing sampling rate must be less than %d)", maxSamplingRate)
	}
	return nil
}

// readAccess fills the settings of users' passwords and tokens.
func (c *Config) readAccess(all settings) error {
	c.AuthToken = all.text("auth-token")
	if err := token.CheckSpec(c.AuthToken); err != nil {
		return err
	}
	c.BcryptCost = int(min(all.count("bcrypt-cost"), maxBcryptCost+1))
	if c.BcryptCost < minBcryptCost || c.BcryptCost > maxBcryptCost {
		c.BcryptCost = defaultBcryptCost
		c.warnf("--bcrypt-cost=%s is not between %d and %d; it is taken as %d.", all.text("bcrypt-cost"), minBcryptCost, maxBcryptCost, defaultBcryptCost)
	}
	ttl := min(all.count("auth-token-ttl"), maxTokenTTL)
	if ttl == 0 {
		ttl = defaultTokenTTL
	}
	c.AuthTokenTTL = time.Duration(ttl) * time.Second
	return nil
}
