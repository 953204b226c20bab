package lock

import (
	"context"
	"maps"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/lock/electionpb"
	"github.com/keelson-db/keelson/internal/lock/lockpb"
)

// refusal is a connection to a server that refuses everything, and remembers what it was sent.
type refusal struct {
	grpc.ClientConnInterface
	err  error
	sent metadata.MD
}

func (r *refusal) Invoke(ctx context.Context, _ string, _, _ any, _ ...grpc.CallOption) error {
	r.sent, _ = metadata.FromOutgoingContext(ctx)
	return r.err
}

// calls are all methods but Observe, asked with ctx.
func calls(ctx context.Context, s *Service) map[string]func() error {
	return map[string]func() error{
		"Lock":     func() error { _, err := s.Lock(ctx, &lockpb.LockRequest{Name: []byte("n"), Lease: 7}); return err },
		"drawn":    func() error { _, err := s.Lock(ctx, &lockpb.LockRequest{Name: []byte("n")}); return err },
		"Unlock":   func() error { _, err := s.Unlock(ctx, &lockpb.UnlockRequest{Key: []byte("n/7")}); return err },
		"Campaign": func() error { _, err := s.Campaign(ctx, &electionpb.CampaignRequest{Lease: 7}); return err },
		"Proclaim": func() error {
			_, err := s.Proclaim(ctx, &electionpb.ProclaimRequest{Leader: &electionpb.LeaderKey{Lease: 7}})
			return err
		},
		"Leader": func() error { _, err := s.Leader(ctx, &electionpb.LeaderRequest{}); return err },
		"Resign": func() error {
			_, err := s.Resign(ctx, &electionpb.ResignRequest{Leader: &electionpb.LeaderKey{}})
			return err
		},
	}
}

func TestCredentialsGoAlongAndNothingElse(t *testing.T) {
	conn := &refusal{err: status.Error(codes.PermissionDenied, "etcdserver: permission denied")}
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(
		"token", "abc", "authorization", "Bearer def", CallerHeader, "\x00ghi", "hasleader", "true", "grpcgateway-accept", "x", "user-agent", "y"))
	for name, call := range calls(ctx, New(conn)) {
		conn.sent = nil
		err := call()
		if status.Code(err) != codes.Unknown || status.Convert(err).Message() != "etcdserver: permission denied" {
			t.Errorf("%s: the refusal arrives as %v", name, err)
		}
		want := metadata.MD{"token": {"abc"}, "authorization": {"Bearer def"}, CallerHeader: {"\x00ghi"}}
		if !maps.EqualFunc(conn.sent, want, slices.Equal) {
			t.Errorf("%s: the metadata is %v", name, conn.sent)
		}
	}
}

func TestTheEndOfACallIsNoTextOfTheServer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range calls(ctx, New(&refusal{err: status.Error(codes.Unavailable, "etcdserver: request timed out")})) {
		if err := call(); status.Code(err) != codes.Canceled {
			t.Errorf("%s: a cancelled call ends with %v", name, err)
		}
	}
}

func TestALeaderMustBeNamed(t *testing.T) {
	s := New(&refusal{})
	_, proclaimed := s.Proclaim(t.Context(), &electionpb.ProclaimRequest{})
	_, resigned := s.Resign(t.Context(), &electionpb.ResignRequest{})
	for _, err := range []error{proclaimed, resigned} {
		if status.Code(err) != codes.Unknown || status.Convert(err).Message() != `"leader" field must be provided` {
			t.Errorf("without a leader the answer is %v", err)
		}
	}
}
