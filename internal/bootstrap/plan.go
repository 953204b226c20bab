package bootstrap

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/member"
)

// Options are the world outside.
type Options struct {
	// Client reaches the peer ports of other members. Its time limits are set here.
	Client *http.Client
	// Pinned is such a client that takes only the server with a certificate of this fingerprint. Joining with a token
	// needs it.
	Pinned func(fingerprint [32]byte) *http.Client
	// Resolver asks name servers; nil stands for the system's.
	Resolver Resolver
	// Log hears about what was tried.
	Log *slog.Logger
}

// Resolver asks name servers. net.Resolver is one.
type Resolver interface {
	// LookupIPAddr returns the addresses of a host.
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	// LookupSRV returns the records of a service of a domain.
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// Plan is how a member begins.
type Plan struct {
	// Cluster is the cluster's id.
	Cluster uint64
	// Local is this member.
	Local member.ID
	// Members are all of them, this one too, by id.
	Members []member.Member
	// Existing tells that the cluster is running: its state is to be fetched before anything else is done.
	Existing bool
	// Sources are the peer URLs of other members, where the state can be fetched.
	Sources []string
	// Lost tells that the cluster knows this member as started: its data was lost.
	Lost bool
}

// beginning is one search for a Plan.
type beginning struct {
	config *config.Config
	peers  peers
	names  *names
	log    *slog.Logger
	pinned func(fingerprint [32]byte) *http.Client
}

// Resolve finds out who is in the cluster. It is for a member without data.
func Resolve(ctx context.Context, c *config.Config, o Options) (Plan, error) {
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	b := &beginning{
		config: c, peers: peers{client: o.Client, log: o.Log}, log: o.Log, pinned: o.Pinned,
		names: &names{resolver: o.Resolver, log: o.Log, known: map[string][]net.IPAddr{}},
	}
	switch {
	case len(c.Join) > 0:
		return b.join(ctx)
	case len(c.Discovery.Endpoints) > 0:
		return b.introduced(ctx)
	}
	listed := roster(c.InitialCluster)
	if c.DiscoverySRV != "" {
		var err error
		if listed, err = b.lookUpRoster(ctx); err != nil {
			return Plan{}, fmt.Errorf("error setting up initial cluster: %w", err)
		}
	}
	if c.JoinsExisting() {
		return b.enter(ctx, listed)
	}
	return b.found(ctx, listed)
}
