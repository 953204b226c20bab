package lock

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/lock/electionpb"
	"github.com/keelson-db/keelson/internal/lock/lockpb"
)

const (
	// drawnLeaseSeconds is how long a lease lives that is taken for a caller who named none. Nobody renews
	// it, unless the caller reads its ID from the key and does.
	drawnLeaseSeconds = 60

	// settleTimeout is how long a step that must not be left half done goes on after its caller has gone. It
	// is longer than the server itself takes to give up a proposal.
	settleTimeout = 15 * time.Second
)

// CallerHeader is the metadata in which the services tell themselves who calls where no token does. What it
// holds is for them to believe or not; here it is passed on like a token.
const CallerHeader = "keelson-caller-bin"

// Errors of the recipes. Clients compare their texts.
var (
	errExpired   = errors.New("mutex: session is expired")
	errNotLeader = errors.New("election: not leader")
	errNoLeader  = errors.New("election: no leader")
	errNoField   = errors.New(`"leader" field must be provided`)
)

// Service carries out both services. Its methods may be called from many goroutines at once.
type Service struct {
	lockpb.UnsafeLockServer
	electionpb.UnsafeElectionServer

	kv      pb.KVClient
	watches pb.WatchClient
	leases  pb.LeaseClient
}

var (
	_ lockpb.LockServer         = (*Service)(nil)
	_ electionpb.ElectionServer = (*Service)(nil)
)

// New makes a service of the connection that the server has to itself. The connection stays its owner's: it
// is closed after the last call.
func New(conn grpc.ClientConnInterface) *Service {
	return &Service{kv: pb.NewKVClient(conn), watches: pb.NewWatchClient(conn), leases: pb.NewLeaseClient(conn)}
}

// asCaller is the context for what is asked on behalf of whoever is behind ctx, and what must be called at the
// end. It carries their credentials and nothing else of what they sent. It ends with ctx, but it does not tell
// the services until when that is: they would end first, and it could not be told why.
func asCaller(ctx context.Context) (context.Context, func()) {
	var pairs []string
	for _, name := range []string{"token", "authorization", CallerHeader} {
		for _, value := range metadata.ValueFromIncomingContext(ctx, name) {
			pairs = append(pairs, name, value)
		}
	}
	asking, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { end(ctx.Err()) })
	if ctx.Err() != nil {
		end(ctx.Err())
	}
	return metadata.AppendToOutgoingContext(asking, pairs...), func() { stop(); end(nil) }
}

// settling is the context for a step that must not be left half done, and it ends some time after ctx's own.
func settling(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
}

// answer gives an error the form in which the caller gets it: the end of the call as such, anything else as a
// text without a code of its own.
func answer(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ended := context.Cause(ctx); ended != nil {
		return status.FromContextError(ended).Err()
	}
	return status.Error(codes.Unknown, status.Convert(err).Message())
}

// lease is the lease a caller named, or one drawn for them.
func (s *Service) lease(ctx context.Context, named int64) (id int64, drawn bool, err error) {
	if named != 0 {
		return named, false, nil
	}
	granted, err := s.leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: drawnLeaseSeconds})
	if err != nil {
		return 0, false, err
	}
	return granted.ID, true, nil
}
