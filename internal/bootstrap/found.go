package bootstrap

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/invariant"
	"github.com/keelson-db/keelson/internal/member"
)

// knownLimit is how long another member may take to tell whether it knows this one: at a founding most are not there yet.
const knownLimit = time.Second

// Lost is the refusal to found a cluster that knows this member as started: its data was lost, and with it what it
// has promised the others.
type Lost struct {
	// Cluster and ID are who this member was.
	Cluster uint64
	ID      member.ID
	// Sources are the peer URLs of the other members.
	Sources []string

	started bool // and not removed since
}

// Error is etcd's sentence.
func (l *Lost) Error() string {
	return fmt.Sprintf("member %x has already been bootstrapped", uint64(l.ID))
}

// found begins a new cluster with the members that are listed.
func (b *beginning) found(ctx context.Context, listed roster) (Plan, error) {
	if err := listed.checkLocal(b.config.Name); err != nil {
		return Plan{}, err
	}
	if err := b.matchAdvertised(ctx, listed[b.config.Name]); err != nil {
		return Plan{}, err
	}
	if listed.hasDuplicate() {
		return Plan{}, fmt.Errorf("initial cluster %s has duplicate url", listed)
	}
	return b.foundUnlessKnown(ctx, listed, b.config.InitialClusterToken)
}

// foundUnlessKnown begins a new cluster if this member is new: one that was there before would promise again what it
// has promised already.
func (b *beginning) foundUnlessKnown(ctx context.Context, listed roster, token string) (Plan, error) {
	p := b.foundersPlan(listed, token)
	lost, err := b.lookForMyself(ctx, p, listed)
	switch {
	case err != nil:
		return Plan{}, err
	case lost != nil && b.config.AutoRejoin:
		return b.rejoin(ctx, lost)
	case lost != nil && lost.started:
		return Plan{}, lost
	}
	return p, nil
}

// foundersPlan is the Plan of a new cluster.
func (b *beginning) foundersPlan(listed roster, token string) Plan {
	p := Plan{Members: listed.founders(token)}
	var ids []uint64
	for _, m := range p.Members {
		ids = append(ids, uint64(m.ID))
		if m.Name == b.config.Name {
			p.Local = m.ID
		}
	}
	invariant.Check(p.Local != 0, "who founds a cluster is one of its members")
	p.Cluster = config.ClusterID(ids)
	return p
}

// lookForMyself asks the other members whether one of them knows this one as started, or has this cluster without it: then
// it was there before. Who does not answer is passed over, for at a founding somebody is always the first.
func (b *beginning) lookForMyself(ctx context.Context, p Plan, listed roster) (*Lost, error) {
	for _, u := range listed.others(b.config.Name) {
		cluster, err := b.peers.members(ctx, u, knownLimit)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			b.log.Debug("a member of the new cluster does not answer yet", "url", u, "error", err.Error())
			continue
		}
		m, known := cluster.find(p.Local)
		if started := len(m.ClientURLs) > 0; started || !known && cluster.id == p.Cluster {
			return &Lost{Cluster: cluster.id, ID: p.Local, Sources: cluster.sources(p.Local), started: started}, nil
		}
	}
	return nil, nil
}

// matchAdvertised demands that this member's part of the list and its advertised URLs lead to the same places.
func (b *beginning) matchAdvertised(ctx context.Context, own []string) error {
	advertised := b.advertised()
	ctx, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
	why := b.names.compare(ctx, advertised, own)
	if why == nil {
		return nil
	}
	name := b.config.Name
	if missing := without(own, advertised); len(missing) > 0 {
		return fmt.Errorf("--initial-cluster has %s but missing from --initial-advertise-peer-urls=%s (%w)",
			roster{name: missing}, strings.Join(advertised, ","), why)
	}
	if missing := without(advertised, own); len(missing) > 0 {
		return fmt.Errorf("--initial-advertise-peer-urls has %s but missing from --initial-cluster=%s",
			strings.Join(missing, ","), roster{name: advertised})
	}
	return fmt.Errorf("failed to resolve %s to match --initial-cluster=%s (%w)", strings.Join(advertised, ","), roster{name: advertised}, why)
}

// advertised are this member's own peer URLs, sorted.
func (b *beginning) advertised() []string {
	var all []string
	for i := range b.config.InitialAdvertisePeerURLs {
		all = append(all, b.config.InitialAdvertisePeerURLs[i].String())
	}
	slices.Sort(all)
	return all
}

// without returns what stands in a and not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(u string) bool { return slices.Contains(b, u) })
}
