package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/keelson-db/keelson/internal/certs"
)

const (
	// minPeerTimeout is the shortest timeout of connections between members; shorter ones are raised to it, as in etcd.
	minPeerTimeout = 5 * time.Second
	// maxLeaderPriority bounds --leader-priority on both sides of 0.
	maxLeaderPriority = 1000
	// deadElections is how many election timeouts a member must at least be out of reach before it may be removed: less
	// would remove members that only start again.
	deadElections = 10
	// minCompareInterval is the shortest pause between two comparisons of the members' states.
	minCompareInterval = time.Second
)

// errBadAutopilot begins the refusal of a wait that would remove living members.
var errBadAutopilot = errors.New("--autopilot-remove-dead-after is too short")

// Cluster is what concerns this member's life among others.
type Cluster struct {
	// DiscoverySRV is the domain whose SRV records list the members, or empty; DiscoverySRVName is the suffix of
	// the service names.
	DiscoverySRV, DiscoverySRVName string
	// Discovery is another cluster that introduces the members of a new one to each other.
	Discovery Discovery
	// Join are peer URLs of members of a running cluster, one of which is asked to take this member in; empty for
	// the other ways to begin. Only a first start looks at it.
	Join []string
	// JoinToken is what a member of that cluster gave out, or empty.
	JoinToken string
	// AutoRejoin lets a member that lost its data come back by itself, as a learner at first.
	AutoRejoin bool

	// PeerTLS is what members show each other and demand of each other. With PeerAutoTLS its certificate is not named
	// here: the server makes it.
	PeerTLS certs.Options
	// PeerAutoTLS makes the server make its certificate for other members itself.
	PeerAutoTLS bool
	// PeerLocalAddress is the address from which other members are dialled; invalid leaves it to the system.
	PeerLocalAddress netip.Addr
	// RaftReadTimeout is how long a connection between members may be silent, RaftWriteTimeout how long a write
	// on one may take.
	RaftReadTimeout, RaftWriteTimeout time.Duration

	// ForceNewCluster makes this member the only one of its cluster, with the data that it has.
	ForceNewCluster bool
	// StrictReconfigCheck refuses member changes that would lose the quorum.
	StrictReconfigCheck bool
	// MaxLearners is the largest number of learners; at least 0.
	MaxLearners int
	// InitialElectionTickAdvance shortens the wait for the first election after a start.
	InitialElectionTickAdvance bool
	// SnapshotCatchUpEntries are the entries of the raft log that are kept for members that are behind.
	SnapshotCatchUpEntries uint64
	// SnapshotRate bounds a copy of the state on its way to another member, in bytes per second; 0 does not.
	SnapshotRate uint64
	// CompareInterval is the pause between two comparisons of the members' states; 0 makes none.
	CompareInterval time.Duration

	// LeaderPriority says which of two members that are equally far is to lead: the one with the higher number.
	LeaderPriority int
	// LeaderLeaseReads lets the leader answer reads for as long as its heartbeats prove that it leads.
	LeaderLeaseReads bool
	// AutopilotPromote lets the leader make voters of learners that have caught up.
	AutopilotPromote bool
	// AutopilotRemoveDeadAfter is how long a member is out of reach before the leader removes it; 0 removes none.
	AutopilotRemoveDeadAfter time.Duration
}

// Discovery says how to talk to the cluster that introduces the members of a new one.
type Discovery struct {
	// Endpoints are its client addresses; empty when it is not asked.
	Endpoints []string
	// Token is the name of the new cluster there, and takes the place of InitialClusterToken.
	Token string

	// DialTimeout, RequestTimeout, KeepAliveTime and KeepAliveTimeout are those of its client.
	DialTimeout, RequestTimeout, KeepAliveTime, KeepAliveTimeout time.Duration

	// CertFile, KeyFile, TrustedCAFile and ServerName are TLS towards it; InsecureTransport does without TLS unless
	// one of them is given, and InsecureSkipVerify trusts any certificate.
	CertFile, KeyFile, TrustedCAFile, ServerName string
	// InsecureTransport and InsecureSkipVerify are explained above.
	InsecureTransport, InsecureSkipVerify bool

	// User and Password, or AuthToken, tell it who asks.
	User, Password, AuthToken string
}

// JoinsExisting reports whether the cluster is said to be running.
func (c *Config) JoinsExisting() bool { return c.InitialClusterState == stateExisting }

// readCluster fills what concerns the life among other members, all but TLS.
func (c *Config) readCluster(all settings) {
	c.Cluster = Cluster{
		DiscoverySRV:     all.text("discovery-srv"),
		DiscoverySRVName: all.text("discovery-srv-name"),
		Discovery: Discovery{
			Endpoints: words(all.text("discovery-endpoints")), Token: all.text("discovery-token"),
			DialTimeout: all.period("discovery-dial-timeout"), RequestTimeout: all.period("discovery-request-timeout"),
			KeepAliveTime: all.period("discovery-keepalive-time"), KeepAliveTimeout: all.period("discovery-keepalive-timeout"),
			CertFile: all.text("discovery-cert"), KeyFile: all.text("discovery-key"), TrustedCAFile: all.text("discovery-cacert"),
			ServerName:        all.text("discovery-config.client.secure.server-name"),
			InsecureTransport: all.bool("discovery-insecure-transport"), InsecureSkipVerify: all.bool("discovery-insecure-skip-tls-verify"),
			User: all.text("discovery-user"), Password: all.text("discovery-password"), AuthToken: all.text("discovery-config.client.auth.token"),
		},
		JoinToken:  all.text("join-token"),
		AutoRejoin: all.bool("auto-rejoin"),

		RaftReadTimeout:  max(all.period("raft-read-timeout"), minPeerTimeout),
		RaftWriteTimeout: max(all.period("raft-write-timeout"), minPeerTimeout),

		ForceNewCluster:            all.bool("force-new-cluster"),
		StrictReconfigCheck:        all.bool("strict-reconfig-check"),
		MaxLearners:                int(all.number("max-learners")),
		InitialElectionTickAdvance: all.bool("initial-election-tick-advance"),
		SnapshotCatchUpEntries:     uint64(all.count("snapshot-catchup-entries")),
		SnapshotRate:               uint64(all.count("snapshot-rate")),
		CompareInterval:            all.period("compare-interval"),

		LeaderPriority:           int(all.number("leader-priority")),
		LeaderLeaseReads:         all.bool("leader-lease-reads"),
		AutopilotPromote:         all.bool("autopilot-promote"),
		AutopilotRemoveDeadAfter: all.period("autopilot-remove-dead-after"),
	}
}

// validateCluster checks numbers and addresses, after the ways to begin and the times are known to be right.
func (c *Config) validateCluster(all settings) (err error) {
	switch {
	case c.MaxLearners < 0:
		// etcd finds more learners than that in any cluster.
		return errors.New("membership: too many learner members in cluster")
	case c.LeaderPriority < -maxLeaderPriority || c.LeaderPriority > maxLeaderPriority:
		return fmt.Errorf("--leader-priority=%d is not between -%d and %d", c.LeaderPriority, maxLeaderPriority, maxLeaderPriority)
	case c.CompareInterval != 0 && c.CompareInterval < minCompareInterval:
		return fmt.Errorf("--compare-interval=%v is below %v: use 0 to compare nothing", c.CompareInterval, minCompareInterval)
	case c.AutopilotRemoveDeadAfter != 0 && c.AutopilotRemoveDeadAfter < deadElections*c.ElectionTimeout:
		return fmt.Errorf("%w (%v): a member that only starts again would be removed for ever; use at least %d election timeouts (%v), or 0 to remove none",
			errBadAutopilot, c.AutopilotRemoveDeadAfter, deadElections, deadElections*c.ElectionTimeout)
	}
	if c.Join, err = c.readJoin(all); err != nil {
		return err
	}
	if c.FeatureGates["SetMemberLocalAddr"] {
		c.chooseLocalAddress()
	}
	if c.Name == defaultName && c.JoinsExisting() {
		c.warnf("--name is not given, and every member without one is called %q: an entry of --initial-cluster that belongs to another one is then taken for this one's.", defaultName)
	}
	return nil
}

// readJoin makes URLs of the addresses of --join: one without a scheme has that of this member's own peer URL.
func (c *Config) readJoin(all settings) ([]string, error) {
	scheme := "http"
	if len(c.ListenPeerURLs) > 0 && Secure(&c.ListenPeerURLs[0]) {
		scheme = "https"
	}
	var found []string
	for _, word := range words(all.text("join")) {
		full := word
		if !strings.Contains(word, "://") {
			full = scheme + "://" + word
		}
		list, err := parseURLList([]string{full})
		if err == nil {
			err = checkHostURLs(list)
		}
		if err != nil {
			return nil, fmt.Errorf("--join: %q is not the address of a member, as in 10.0.0.1:2380 or https://10.0.0.1:2380: %w", word, err)
		}
		found = append(found, list[0].String())
	}
	return found, nil
}

// chooseLocalAddress takes the first advertised address that is one of this machine's own to the outside.
func (c *Config) chooseLocalAddress() {
	for i := range c.InitialAdvertisePeerURLs {
		addr, err := netip.ParseAddr(c.InitialAdvertisePeerURLs[i].Hostname())
		if err == nil && !addr.IsLoopback() && !addr.IsUnspecified() {
			c.PeerLocalAddress = addr
			return
		}
	}
	c.warnf("The feature gate SetMemberLocalAddr=true has no effect: --initial-advertise-peer-urls names no address of this machine that others can see.")
}
