package rpc

import (
	"context"

	"google.golang.org/grpc"

	"github.com/keelson-db/keelson/internal/lock/electionpb"
	"github.com/keelson-db/keelson/internal/lock/lockpb"
)

// The lock and election services are recipes over keys and leases. Everybody may call them: what they do on
// the way is asked of the other services in the caller's name, so each step has a guard of its own.

func lockMethods(d Deps) built {
	s, a := d.Lock, d.access()
	if s == nil {
		return built{}
	}
	return built{unary: map[string]unaryMethod{
		"Lock":   vouchedMethod(a, func(ctx context.Context, r *lockpb.LockRequest) (any, error) { return s.Lock(ctx, r) }),
		"Unlock": vouchedMethod(a, func(ctx context.Context, r *lockpb.UnlockRequest) (any, error) { return s.Unlock(ctx, r) }),
	}}
}

func electionMethods(d Deps) built {
	s, a := d.Election, d.access()
	if s == nil {
		return built{}
	}
	return built{
		unary: map[string]unaryMethod{
			"Campaign": vouchedMethod(a, func(ctx context.Context, r *electionpb.CampaignRequest) (any, error) { return s.Campaign(ctx, r) }),
			"Proclaim": vouchedMethod(a, func(ctx context.Context, r *electionpb.ProclaimRequest) (any, error) { return s.Proclaim(ctx, r) }),
			"Leader":   vouchedMethod(a, func(ctx context.Context, r *electionpb.LeaderRequest) (any, error) { return s.Leader(ctx, r) }),
			"Resign":   vouchedMethod(a, func(ctx context.Context, r *electionpb.ResignRequest) (any, error) { return s.Resign(ctx, r) }),
		},
		stream: map[string]streamMethod{"Observe": openStream(func(stream grpc.ServerStream) error {
			r := new(electionpb.LeaderRequest)
			if err := stream.RecvMsg(r); err != nil {
				return err
			}
			return s.Observe(r, &grpc.GenericServerStream[electionpb.LeaderRequest, electionpb.LeaderResponse]{ServerStream: vouchedStream{stream, a}})
		})},
	}
}
