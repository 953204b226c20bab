package rpc

import (
	"context"
	"errors"
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

// Proposer is what most services need of the replica.
type Proposer interface {
	// Propose puts a command into the order of all commands and waits until it is applied here.
	Propose(ctx context.Context, op command.Op) (state.Result, error)
	// Barrier waits until a view shows everything that was acknowledged before the call.
	Barrier(ctx context.Context) error
	// Status says where the replica stands. It is cheap.
	Status() replica.Status
	// LeaderChanged returns a channel that is closed when the leader, as seen here, changes, and when this member
	// has become able to decide as one.
	LeaderChanged() <-chan struct{}
}

// Replica is what the services about the members themselves need besides.
type Replica interface {
	Proposer
	// Change adds, promotes or removes a member and waits until that is applied here. The response of its result
	// is the members after it, a []*pb.Member.
	Change(ctx context.Context, c command.MemberChange) (state.Result, error)
	// TransferLeader hands leadership to a voter and waits until this member leads no longer.
	TransferLeader(ctx context.Context, to uint64) error
	// Progress is how far the other members are, by ID; nil on a member that does not lead.
	Progress() map[uint64]replica.Progress
}

// Connectivity tells whom this member is connected with.
type Connectivity interface {
	// ActiveSince returns since when a member is connected in both directions; it is not ok while it is not.
	ActiveSince(id uint64) (since time.Time, ok bool)
}

// Leader carries questions to the member that leads, as far as this member knows. It asks once and does not wait for
// a leader. There a Promoter and a Lessor answer.
type Leader interface {
	// Promote has the leader make a voter of a learner. The leader's own answer is nil or a gRPC status, as its
	// Promoter gave it; any other error means that there was no answer.
	Promote(ctx context.Context, id uint64) error
	// Renew has the leader give a lease its full time again; 0 means that there is no such lease any more. An error
	// means that there was no answer, or that the one who was asked cannot give any.
	Renew(ctx context.Context, id lease.ID) (ttl int64, err error)
	// TimeToLive is the whole seconds that a lease has left by the leader's clock, and how many it was granted.
	// It is not ok for a lease that there is not. Errors are those of Renew.
	TimeToLive(ctx context.Context, id lease.ID) (left, granted int64, ok bool, err error)
}

// LeaseClock is what the lease service needs of the room that knows what time it is: the clock of this member.
type LeaseClock interface {
	// Renew gives a lease its full time again; 0 means that there is no such lease any more. A member that
	// does not lead returns expiry.ErrNotPrimary.
	Renew(ctx context.Context, id lease.ID) (ttl int64, err error)
	// Remaining is the whole seconds that a lease has left, and how many it was granted.
	// It is not ok for a lease that has ended, and on a member that does not lead.
	Remaining(id lease.ID) (left, granted int64, ok bool)
	// Leads reports whether this clock is the one that counts.
	Leads() bool
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
	Replica Replica
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
	// Connectivity knows the connections to other members; nil has none.
	Connectivity Connectivity
	// Leader reaches the member that leads, where that is another one; nil reaches nobody.
	Leader Leader
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

	StrictReconfigCheck bool // refuse changes of the membership after which too few members would be there
	MaxLearners         int  // learners that there may be at the same time
}

// requestTime is how long a request that others have to answer may take.
func (l Limits) requestTime() time.Duration { return replica.RequestTimeout + 2*l.ElectionTimeout }

// noOthers is the connections of a member without any.
type noOthers struct{}

var errNoOthers = errors.New("ask the leader: this member has no connections to others")

// ActiveSince implements Connectivity.
func (noOthers) ActiveSince(uint64) (time.Time, bool) { return time.Time{}, false }

// Promote implements Leader.
func (noOthers) Promote(context.Context, uint64) error { return errNoOthers }

// Renew implements Leader.
func (noOthers) Renew(context.Context, lease.ID) (int64, error) { return 0, errNoOthers }

// TimeToLive implements Leader.
func (noOthers) TimeToLive(context.Context, lease.ID) (left, granted int64, ok bool, err error) {
	return 0, 0, false, errNoOthers
}

// complete fills in what may be left out.
func (d Deps) complete() Deps {
	if d.Connectivity == nil {
		d.Connectivity = noOthers{}
	}
	if d.Leader == nil {
		d.Leader = noOthers{}
	}
	return d
}
