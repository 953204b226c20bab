package rpc

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/state"
)

// leaseIDTries is how many lease IDs are drawn before giving up; a second one is needed about as often
// as a random number of 63 bits hits one of the leases there are.
const leaseIDTries = 10

// leaseServer answers the lease service. Which leases exist is decided by commands, how long they have
// left by the clock of the member that leads. What clients may ask about them is decided on the member that they ask.
type leaseServer struct {
	headers
	access
	space
	replica    Proposer
	clock      LeaseClock // to list leases
	lessor     *Lessor
	leader     Leader
	limit      time.Duration // of a question to the leader
	table      *lease.Table
	set        *metrics.Set
	minSeconds int64
	grants     proposing[*pb.LeaseGrantResponse]
	revokes    proposing[*pb.LeaseRevokeResponse]

	mu  sync.Mutex // held while ids is used
	ids *rand.Rand
}

// minLeaseSeconds is the shortest time to live there is: a lease must outlive an election.
func minLeaseSeconds(election time.Duration) int64 {
	return int64((election*3/2 + time.Second - 1) / time.Second)
}

func (s *leaseServer) grant(ctx context.Context, r *pb.LeaseGrantRequest) (any, error) {
	if err := s.admit(r); err != nil {
		return nil, err
	}
	if err := s.may(ctx, r); err != nil { // before the time to live is looked at, as in etcd
		return nil, err
	}
	if r.TTL > lease.MaxTTL {
		return nil, s.tooLong()
	}
	r.TTL = max(r.TTL, s.minSeconds)
	draw := r.ID == 0
	for try := 1; ; try++ {
		if draw {
			r.ID = s.newID()
		}
		out, rev, err := s.grants.propose(ctx, r)
		if draw && try < leaseIDTries && errors.Is(err, lease.ErrExists) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s.set.Lease.TTL.Observe(float64(r.TTL))
		out.Header = s.at(rev)
		return out, nil
	}
}

// tooLong is what is said of a time to live beyond all bounds. An alarm is told of first, as it would be if the
// request had become a command, which in etcd it has.
func (s *leaseServer) tooLong() error {
	switch {
	case s.machine.Raised(pb.AlarmType_CORRUPT):
		return state.ErrCorrupt
	case s.machine.Raised(pb.AlarmType_NOSPACE):
		return state.ErrNoSpace
	}
	return rpctypes.ErrGRPCLeaseTTLTooLarge
}

// newID draws a lease ID: positive, because clients print and parse it as such.
func (s *leaseServer) newID() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return 1 + s.ids.Int64N(1<<63-1)
}

func (s *leaseServer) revoke(ctx context.Context, r *pb.LeaseRevokeRequest) (any, error) {
	out, rev, err := s.revokes.propose(ctx, &command.LeaseRevoke{IDs: []int64{r.ID}})
	if err != nil {
		return nil, err
	}
	out.Header = s.at(rev)
	return out, nil
}

// keepAlive answers one renewal after the other. Receiving has a goroutine of its own, because nothing
// but the end of the call ends a receive, and a stream that lost its leader has to end before.
func (s *leaseServer) keepAlive(stream grpc.ServerStream) error {
	ended := make(chan error, 1)
	go func() { ended <- s.renewAll(stream) }()
	select {
	case err := <-ended:
		return err
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
}

func (s *leaseServer) renewAll(stream grpc.ServerStream) error {
	ctx, in := stream.Context(), new(pb.LeaseKeepAliveRequest)
	for {
		if err := stream.RecvMsg(in); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			if ctx.Err() == nil {
				s.set.Network.StreamFailures.WithLabelValues("receive", "lease-keepalive").Inc()
			}
			return err
		}
		// The header comes first: it must not tell a revision at which the lease may be gone already.
		out := &pb.LeaseKeepAliveResponse{Header: s.now(), ID: in.ID}
		var err error
		if out.TTL, err = s.renew(ctx, lease.ID(in.ID)); err != nil {
			return err
		}
		if err := stream.SendMsg(out); err != nil {
			if ctx.Err() == nil {
				s.set.Network.StreamFailures.WithLabelValues("send", "lease-keepalive").Inc()
			}
			return err
		}
	}
}

// renew gives a lease its time again, if the caller may write all that hangs on it by now.
func (s *leaseServer) renew(ctx context.Context, id lease.ID) (int64, error) {
	by := func(renew func(context.Context, lease.ID) (int64, error)) func(context.Context) (int64, error) {
		return func(ctx context.Context) (int64, error) {
			if err := s.may(ctx, &pb.LeaseKeepAliveRequest{ID: int64(id)}); err != nil {
				return 0, refused{err}
			}
			return renew(ctx, id)
		}
	}
	return question[int64]{here: by(s.lessor.Renew), there: by(s.leader.Renew), final: isRefused}.ask(ctx, s.replica, s.limit)
}

// refused is an error of this member among those of another one.
type refused struct{ error }

// Unwrap returns the error itself.
func (r refused) Unwrap() error { return r.error }

func isRefused(err error) bool { return errors.As(err, new(refused)) }

// leaseTime is what a clock says of a lease.
type leaseTime struct {
	left, granted int64
	ok            bool // there is such a lease
}

// timeLeft has the leader say how long a lease has left.
func (s *leaseServer) timeLeft(ctx context.Context, id lease.ID) (leaseTime, error) {
	by := func(look func(context.Context, lease.ID) (int64, int64, bool, error)) func(context.Context) (leaseTime, error) {
		return func(ctx context.Context) (t leaseTime, err error) {
			t.left, t.granted, t.ok, err = look(ctx, id)
			return t, err
		}
	}
	never := func(error) bool { return false }
	t, err := question[leaseTime]{here: by(s.lessor.TimeToLive), there: by(s.leader.TimeToLive), final: never}.ask(ctx, s.replica, s.limit)
	if elsewhere(err) {
		err = rpctypes.ErrGRPCLeaderChanged
	}
	return t, err
}

func (s *leaseServer) timeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (any, error) {
	if err := s.may(ctx, r); err != nil {
		return nil, err
	}
	// That a lease does not exist is said only by a member that knows everything and leads: a client
	// that hears it takes its session for lost.
	t, err := s.timeLeft(ctx, lease.ID(r.ID))
	if err != nil {
		return nil, err
	}
	if !t.ok {
		return &pb.LeaseTimeToLiveResponse{Header: s.now(), ID: r.ID, TTL: -1}, nil
	}
	if r.Keys && !leads(s.replica) {
		// The leader has applied everything acknowledged before it answered, and this member may not have.
		if err := s.replica.Barrier(ctx); err != nil {
			return nil, err
		}
	}
	out := &pb.LeaseTimeToLiveResponse{Header: s.now(), ID: r.ID, TTL: t.left, GrantedTTL: t.granted}
	if r.Keys {
		for _, key := range s.table.Keys(lease.ID(r.ID)) {
			out.Keys = append(out.Keys, []byte(key))
		}
		// Keys may have come to hang on the lease since the question, and they are what is told.
		if err := s.mayReadAll(ctx, out.Keys); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// mayReadAll says whether the caller may read every one of some keys that hang on a lease. As for everything that
// is asked about leases, root may at any auth revision.
func (s *leaseServer) mayReadAll(ctx context.Context, keys [][]byte) error {
	by, view, err := s.caller(ctx)
	if !view.Enabled() {
		return err
	}
	if err == nil && view.CheckRoot(by) == nil {
		return nil
	}
	for i := 0; i < len(keys) && err == nil; i++ {
		err = view.CheckRange(by, auth.Read, keys[i], nil)
	}
	return err
}

// leases lists what this member knows, those that end first in front.
func (s *leaseServer) leases(ctx context.Context, r *pb.LeaseLeasesRequest) (any, error) {
	out := &pb.LeaseLeasesResponse{Header: s.now()}
	for _, id := range s.clock.ByExpiry() {
		out.Leases = append(out.Leases, &pb.LeaseStatus{ID: int64(id)})
	}
	if err := s.may(ctx, r); err != nil { // by what hangs on them now, which is no older than the list
		return nil, err
	}
	return out, nil
}
