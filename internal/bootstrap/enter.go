package bootstrap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/version"

	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/member"
)

const (
	// listLimit is how long a member of a running cluster may take to tell who is in it.
	listLimit = 10 * time.Second
	// requestLimit is how long it may take to tell its version, beside two election timeouts.
	requestLimit = 5 * time.Second
)

// Errors of entering a running cluster, in etcd's words.
var (
	errUnreachable     = errors.New("could not retrieve cluster information from the given URLs")
	errUnequal         = errors.New("member count is unequal")
	errIncompatible    = errors.New("incompatible with current running cluster")
	errDiscoveryUnwise = errors.New("discovery URL should not be set when joining existing initial cluster")
	errTooManyLearners = errors.New("membership: too many learner members in cluster")
)

// enter begins as a member that a running cluster has on its list.
func (b *beginning) enter(ctx context.Context, listed roster) (Plan, error) {
	if err := listed.checkLocal(b.config.Name); err != nil {
		return Plan{}, err
	}
	if listed.hasDuplicate() {
		return Plan{}, fmt.Errorf("initial cluster %s has duplicate url", listed)
	}
	cluster, err := b.askAnyone(ctx, listed.others(b.config.Name))
	if err != nil {
		return Plan{}, fmt.Errorf("cannot fetch cluster info from peer urls: %w", err)
	}
	local, err := b.findMyself(ctx, listed, cluster)
	if err != nil {
		return Plan{}, fmt.Errorf("error validating peerURLs %s: %w", cluster, err)
	}
	if err := b.checkRunning(ctx, cluster, local); err != nil {
		return Plan{}, err
	}
	if m, _ := cluster.find(local); len(m.ClientURLs) > 0 && b.config.AutoRejoin {
		return b.rejoin(ctx, &Lost{Cluster: cluster.id, ID: local, Sources: cluster.sources(local), started: true})
	}
	return cluster.plan(local), nil
}

// askAnyone returns the cluster that the first who answers is in.
func (b *beginning) askAnyone(ctx context.Context, urls []string) (*remoteCluster, error) {
	for _, u := range urls {
		cluster, err := b.peers.members(ctx, u, listLimit)
		if err == nil || errors.Is(err, errNoMembers) {
			return cluster, err
		}
		b.log.Warn("a member of the running cluster does not answer", "url", u, "error", err.Error())
	}
	return nil, errUnreachable
}

// findMyself finds a member of the list for every member of the cluster, and returns this one's id.
func (b *beginning) findMyself(ctx context.Context, listed roster, cluster *remoteCluster) (member.ID, error) {
	if len(listed) != len(cluster.members) {
		return 0, errUnequal
	}
	ctx, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
	// The order is etcd's: of two members that could be meant the one with the smaller id is.
	candidates := listed.founders(b.config.InitialClusterToken)
	var local member.ID
	for _, m := range cluster.members {
		i, err := b.findPartner(ctx, m, candidates)
		if err != nil {
			return 0, fmt.Errorf("PeerURLs: no match found for existing member (%x, %v), last resolver error (%w)", uint64(m.ID), m.PeerURLs, err)
		}
		if candidates[i].Name == b.config.Name {
			local = m.ID
		}
	}
	if local == 0 {
		return 0, fmt.Errorf("PeerURLs: %v are nobody's in the running cluster: add this member first", listed[b.config.Name])
	}
	return local, nil
}

// findPartner finds who is meant. Name servers are asked only when the texts leave it open, so that a host that
// no longer has a name keeps nobody out.
func (b *beginning) findPartner(ctx context.Context, m remoteMember, candidates []member.Member) (int, error) {
	i := slices.IndexFunc(candidates, func(c member.Member) bool {
		return len(c.PeerURLs) == len(m.PeerURLs) && sameText(m.PeerURLs, c.PeerURLs)
	})
	if i >= 0 {
		return i, nil
	}
	var err error
	for i, c := range candidates {
		if err = b.names.compare(ctx, m.PeerURLs, c.PeerURLs); err == nil {
			return i, nil
		}
	}
	return -1, err
}

// checkRunning demands that this member's release may be part of the cluster, and that there are not too many learners.
func (b *beginning) checkRunning(ctx context.Context, cluster *remoteCluster, local member.ID) error {
	if !b.compatible(ctx, cluster, local) {
		return errIncompatible
	}
	learners := 0
	for _, m := range cluster.members {
		if m.IsLearner {
			learners++
		}
	}
	if learners > b.config.MaxLearners {
		return errTooManyLearners
	}
	return nil
}

// compatible asks all other members for the cluster's version. One that answers is enough; one that is out of
// range is too many.
func (b *beginning) compatible(ctx context.Context, cluster *remoteCluster, local member.ID) bool {
	limit := requestLimit + 2*b.config.ElectionTimeout
	others := slices.DeleteFunc(slices.Clone(cluster.members), func(m remoteMember) bool { return m.ID == local })
	lowest, highest := allowedVersions(b.downgrades(ctx, others, limit))
	found := false
	for _, m := range others {
		answer, err := b.peers.version(ctx, m, limit)
		if err != nil {
			continue
		}
		v, err := parseRelease(answer.Cluster)
		if err != nil {
			b.log.Warn("a member does not know its cluster's version", "member", fmt.Sprintf("%x", uint64(m.ID)), "version", answer.Cluster)
			continue
		}
		if v.less(lowest) || highest.less(v) {
			b.log.Error("the cluster's version is not one that this release can work with", "member", fmt.Sprintf("%x", uint64(m.ID)),
				"version", answer.Cluster, "lowest", lowest.String(), "highest", highest.String())
			return false
		}
		found = true
	}
	return found
}

// downgrades asks until one answers whether the cluster is on its way to an older version.
func (b *beginning) downgrades(ctx context.Context, others []remoteMember, limit time.Duration) bool {
	for _, m := range others {
		if on, err := b.peers.downgrades(ctx, m, limit); err == nil {
			return on
		}
	}
	return false
}

// release is a version without its patch.
type release struct{ major, minor int }

func (r release) less(other release) bool {
	return cmp.Or(cmp.Compare(r.major, other.major), cmp.Compare(r.minor, other.minor)) < 0
}

// String is the form of versions.
func (r release) String() string { return fmt.Sprintf("%d.%d.0", r.major, r.minor) }

func parseRelease(text string) (release, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return release{}, fmt.Errorf("%q is not a version", text)
	}
	major, errMajor := strconv.Atoi(parts[0])
	minor, errMinor := strconv.Atoi(parts[1])
	return release{major, minor}, errors.Join(errMajor, errMinor)
}

// allowedVersions are the cluster versions that this release can work with. While a cluster is on its way to this
// release from the next one, only the next one is what it says.
func allowedVersions(downgrading bool) (lowest, highest release) {
	highest, _ = parseRelease(config.APIVersion())
	lowest, _ = parseRelease(version.MinClusterVersion)
	if downgrading {
		highest.minor++
		lowest = highest
	}
	return lowest, highest
}
