package rpc

import (
	"context"

	"google.golang.org/grpc"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// guard says who makes sure that the caller of a method may have done what they ask for.
type guard uint8

const (
	// unguarded is the guard of a method that nobody thought of. It is refused, whoever calls.
	unguarded guard = iota
	// open is for what everybody may do: to log in, or to call something whose every step is guarded.
	open
	// checked is asked for by the gate, before the method begins.
	checked
	// asking is for methods that ask themselves, at the right moment: when what they read is pinned, or for
	// each message of a stream.
	asking
	// proposed is for commands: they carry the caller's name and are judged where they are applied.
	proposed
)

// unaryMethod is a method with its guard. The functions below are the only ones that make one, so there is
// none without a guard but the zero one, and that is refused.
type unaryMethod struct {
	guard guard
	bind  func(g *gate, full string) grpc.MethodHandler
}

// streamMethod is a stream with its guard.
type streamMethod struct {
	guard guard
	serve func(grpc.ServerStream) error
}

func unaryBy[In any](g guard, f func(context.Context, *In) (any, error)) unaryMethod {
	return unaryMethod{g, func(g *gate, full string) grpc.MethodHandler { return unary(g, full, f) }}
}

func openMethod[In any](f func(context.Context, *In) (any, error)) unaryMethod {
	return unaryBy(open, f)
}

func askingMethod[In any](f func(context.Context, *In) (any, error)) unaryMethod {
	return unaryBy(asking, f)
}

func proposedMethod[In any](f func(context.Context, *In) (any, error)) unaryMethod {
	return unaryBy(proposed, f)
}

func checkedMethod[In any](a access, f func(context.Context, *In) (any, error)) unaryMethod {
	return unaryBy(checked, func(ctx context.Context, in *In) (any, error) {
		if err := a.may(ctx, in); err != nil {
			return nil, err
		}
		return f(ctx, in)
	})
}

func openStream(serve func(grpc.ServerStream) error) streamMethod { return streamMethod{open, serve} }

func askingStream(serve func(grpc.ServerStream) error) streamMethod {
	return streamMethod{asking, serve}
}

// checkedStream is a stream with one request, which is checked before anything is sent.
func checkedStream[In any](a access, f func(*In, grpc.ServerStream) error) streamMethod {
	return streamMethod{checked, func(stream grpc.ServerStream) error {
		in := new(In)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		if err := a.may(stream.Context(), in); err != nil {
			return err
		}
		return f(in, stream)
	}}
}

// handler is the method behind the gate.
func (m unaryMethod) handler(g *gate, full string) grpc.MethodHandler {
	if m.guard == unguarded {
		return refusedMethod(g, full, rpctypes.ErrGRPCPermissionDenied)
	}
	return m.bind(g, full)
}

// handler is the stream behind the gate.
func (m streamMethod) handler(g *gate, full string) grpc.StreamHandler {
	serve := m.serve
	if m.guard == unguarded {
		serve = func(grpc.ServerStream) error { return rpctypes.ErrGRPCPermissionDenied }
	}
	return g.stream(full, serve)
}
