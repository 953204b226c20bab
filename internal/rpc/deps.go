package rpc

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc/stats"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/lock/electionpb"
	"github.com/keelson-db/keelson/internal/lock/lockpb"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/watch"
)

// Proposer is what the services need of the replica.
type Proposer interface {
	// Propose puts a command into the order of all commands and waits until it is applied here.
	Propose(ctx context.Context, op command.Op) (state.Result, error)
	// Barrier waits until a view shows everything that was acknowledged before the call.
	Barrier(ctx context.Context) error
	// Status says where the replica stands. It is cheap.
	Status() replica.Status
}

// LeaseClock is what the lease service needs of the room that knows what time it is.
type LeaseClock interface {
	// Renew gives a lease its full time again; 0 means that there is no such lease any more. A member that
	// does not lead returns expiry.ErrNotPrimary.
	Renew(ctx context.Context, id lease.ID) (ttl int64, err error)
	// Remaining is the whole seconds that a lease has left, and how many it was granted.
	// It is not ok for a lease that has ended, and on a member that does not lead.
	Remaining(id lease.ID) (left, granted int64, ok bool)
	// ByExpiry are all leases, those that end first in front.
	ByExpiry() []lease.ID
}

// Tokens is what the services need of the room that knows passwords and tokens.
type Tokens interface {
	// Hash makes the hash of a new password.
	Hash(ctx context.Context, password string) ([]byte, error)
	// Login checks a password and returns a token for its user.
	Login(ctx context.Context, v *auth.View, user, password string) (string, error)
	// Identify tells whose a token is.
	Identify(v *auth.View, token string) (auth.Identity, error)
}

// Quota is what the services need of the room that watches over space.
type Quota interface {
	// Admit lets pass what costs so many bytes, or refuses it with state.ErrNoSpace. It is cheap.
	Admit(cost int64) error
}

// Deps is everything the services stand on.
type Deps struct {
	Replica Proposer
	Machine *state.Machine
	Hub     *watch.Hub
	Clock   LeaseClock
	Metrics *metrics.Set
	Log     *slog.Logger

	// Tokens recognises callers. Without it there is no Auth service and no token is good.
	Tokens Tokens
	// ClientCertAuth lets a client's certificate say who the client is, where no token does.
	ClientCertAuth bool
	// secret is what the services recognise each other by, see vouch; New draws it.
	secret string
	// Lock and Election carry out the services of these names, as clients of the others with the rights of
	// whoever calls. A member without them answers that it has none.
	Lock     lockpb.LockServer
	Election electionpb.ElectionServer
	// Quota refuses what would need more space than there may be; nil refuses nothing.
	Quota Quota

	ClusterID, MemberID uint64
	Version             string // the etcd version that clients are told, such as "3.7.3"
	StorageVersion      string // the etcd storage version that clients are told, such as "3.7.0"

	// DatabaseBytes is the size of the database on disk and how much of it holds data.
	DatabaseBytes func() (total, inUse int64)
	// Stats is told of every call and message, for tracing; nil for nobody.
	Stats stats.Handler
	// ExtensiveMetrics also records how long calls take.
	ExtensiveMetrics bool
	// Seed starts the sequence that lease IDs are drawn from. It should differ at every start of a member;
	// where it does not, an ID that is taken is noticed and another one drawn.
	Seed uint64

	Limits
}

// Limits are the values of the server's flags that concern requests.
type Limits struct {
	MaxTxnOps            int    // operations in one list of a transaction
	MaxRequestBytes      int    // bytes of one command as it stands in the log
	MaxConcurrentStreams uint32 // calls at the same time on one connection

	KeepAliveMinTime  time.Duration // clients that ping more often than this are disconnected; 0 is gRPC's default
	KeepAliveInterval time.Duration // how long a connection is silent before it is pinged; 0 is gRPC's default
	KeepAliveTimeout  time.Duration // how long an answer to that may take; 0 is gRPC's default

	ElectionTimeout             time.Duration // from the last sign of a leader to an election
	WarningUnaryRequestDuration time.Duration // requests that take longer are logged; 0 logs none
	WatchProgressNotifyInterval time.Duration // from one progress notice to the next
	QuotaBackendBytes           int64         // bytes the database may have
}
