package bootstrap

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/keelson-db/keelson/internal/config"
)

// introduced begins a new cluster with the members that register at a discovery cluster under the same token.
func (b *beginning) introduced(ctx context.Context) (Plan, error) {
	if b.config.JoinsExisting() {
		return Plan{}, errDiscoveryUnwise
	}
	self := roster{b.config.Name: b.advertised()}
	token := b.config.Discovery.Token
	id := config.MemberID(self[b.config.Name], token)
	listed, err := b.register(ctx, fmt.Sprintf("%x", id), self)
	if err != nil {
		b.log.Error("no new cluster was found at the discovery cluster: generate a new token for each, and do not use one again",
			"token", token, "endpoints", b.config.Discovery.Endpoints, "error", err.Error())
		return Plan{}, fmt.Errorf("failed to join discovery cluster (%w)", err)
	}
	if listed.hasDuplicate() {
		return Plan{}, fmt.Errorf("discovery cluster %s has duplicate url", listed)
	}
	if !slices.Equal(listed[b.config.Name], self[b.config.Name]) {
		return Plan{}, fmt.Errorf("discovery cluster %s has another member with the name %q: give each one a name of its own with --name", listed, b.config.Name)
	}
	return b.foundUnlessKnown(ctx, listed, token)
}

// register writes this member into the registry and waits until all of its cluster are there.
func (b *beginning) register(ctx context.Context, id string, self roster) (roster, error) {
	client, err := dial(ctx, &b.config.Discovery, b.log)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	d := &directory{
		client: client, log: b.log, limit: b.config.Discovery.RequestTimeout,
		prefix: path.Join(registry, b.config.Discovery.Token), self: id,
	}
	p, err := d.read(ctx)
	if err != nil {
		return nil, err
	}
	if !p.hasRoom(d.selfKey()) {
		return nil, errFullCluster
	}
	if err := d.write(ctx, self.String()); err != nil {
		return nil, err
	}
	for {
		if p, err = d.read(ctx); err != nil {
			return nil, err
		}
		switch {
		case !p.hasRoom(d.selfKey()):
			return nil, errFullCluster
		case len(p.entries) >= p.size:
			return p.roster()
		}
		d.log.Info("waiting for members to register at the discovery cluster", "registered", len(p.entries), "size", p.size)
		if err := d.wait(ctx, p.revision); err != nil {
			return nil, err
		}
	}
}
