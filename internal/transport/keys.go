package transport

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// keys are those by which gRPC's packages ask a context for what belongs to a call. They are not exported, but
// whoever is asked sees them; so a call's context can answer by itself, where gRPC's server wraps one context into
// another for each.
type keys struct {
	stream, metadata, peer any
}

// overheard is a context that notes what it is asked for.
type overheard struct {
	context.Context
	key any
}

// Value implements context.Context.
func (o *overheard) Value(key any) any {
	o.key = key
	return nil
}

func findKeys() keys {
	ask := func(by func(context.Context)) any {
		o := &overheard{Context: context.Background()}
		by(o)
		return o.key
	}
	return keys{
		stream:   ask(func(ctx context.Context) { grpc.ServerTransportStreamFromContext(ctx) }),
		metadata: ask(func(ctx context.Context) { metadata.FromIncomingContext(ctx) }),
		peer:     ask(func(ctx context.Context) { peer.FromContext(ctx) }),
	}
}
