package rpc

import (
	"context"
	"errors"
	"log/slog"
	"time"
	"unicode/utf8"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/wire"
)

// gate stands before every method: it counts, checks what the request's metadata asks for, translates
// errors and tells the log about slow requests. It takes the place of gRPC's interceptors because those
// see a method by its name, and everything known about a name would be looked up again for each call.
type gate struct {
	set     *metrics.Set
	log     *slog.Logger
	slow    time.Duration // 0 logs none
	leader  func() uint64 // 0 when there is none
	streams *leaderStreams
	learner func() bool // this member has no vote, and may be far behind
}

// unary makes a gRPC handler of a function.
func unary[In any](g *gate, full string, f func(context.Context, *In) (any, error)) grpc.MethodHandler {
	m := g.set.GRPC.Method(full)
	return func(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := new(In)
		if err := decode(in); err != nil {
			return nil, err
		}
		if intercept == nil {
			return call(ctx, g, m, full, in, f)
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{FullMethod: full}, func(ctx context.Context, _ any) (any, error) {
			return call(ctx, g, m, full, in, f)
		})
	}
}

func call[In any](ctx context.Context, g *gate, m *metrics.Method, full string, in *In, f func(context.Context, *In) (any, error)) (any, error) {
	start := time.Now()
	m.Started()
	m.MsgReceived()
	err := g.admitUnary(ctx, in)
	var out any
	way := &journey{Context: ctx}
	if err == nil {
		out, err = f(way, in)
	}
	took := time.Since(start)
	if m.Timed() {
		m.Took(took)
	}
	if g.slow > 0 && !g.tellWhenSent(way, full, start, in, out) && took > g.slow {
		g.tellSlow(way, full, took, in, err)
	}
	if err != nil {
		err = wireError(err)
		m.Handled(status.Code(err))
		return nil, err
	}
	m.MsgSent()
	m.Handled(0)
	return out, nil
}

// admitUnary checks whether this member answers such a request, and the call's metadata.
func (g *gate) admitUnary(ctx context.Context, in any) error {
	if g.learner() && !forLearners(in) {
		return rpctypes.ErrGRPCNotSupportedForLearner
	}
	version, err := clientVersion(ctx)
	if err != nil {
		return err
	}
	g.set.Server.ClientRequests.Unary(version).Inc()
	if wantsLeader(ctx) && g.leader() == 0 {
		return rpctypes.ErrGRPCNoLeader
	}
	return nil
}

// forLearners reports whether a learner answers a request: it says how it is, and reads for clients that are content
// with what it has. Of streams it has only snapshots.
func forLearners(in any) bool {
	switch r := in.(type) {
	case *pb.StatusRequest:
		return true
	case *pb.RangeRequest:
		return r.Serializable
	}
	return false
}

// clientVersion is the API version the client says it speaks, or "".
func clientVersion(ctx context.Context) (string, error) {
	v, _ := sentValue(ctx, rpctypes.MetadataClientAPIVersionKey)
	if !utf8.ValidString(v) {
		return "", rpctypes.ErrGRPCInvalidClientAPIVersion
	}
	return v, nil
}

func wantsLeader(ctx context.Context) bool {
	v, _ := sentValue(ctx, rpctypes.MetadataRequireLeaderKey)
	return v == rpctypes.MetadataHasLeader
}

// sentValue is the first value that a client has sent with a call under a name, which is in small letters. Our own transport
// finds it without making a map of all of them.
func sentValue(ctx context.Context, name string) (string, bool) {
	if s, ok := grpc.ServerTransportStreamFromContext(ctx).(interface{ HeaderValue(string) (string, bool) }); ok {
		return s.HeaderValue(name)
	}
	v := metadata.ValueFromIncomingContext(ctx, name)
	if len(v) == 0 {
		return "", false
	}
	return v[0], true
}

// stream makes a gRPC handler of a function that serves one stream.
func (g *gate) stream(full string, f func(grpc.ServerStream) error) grpc.StreamHandler {
	m := g.set.GRPC.Method(full)
	return func(_ any, raw grpc.ServerStream) error {
		start := time.Now()
		m.Started()
		err := rpctypes.ErrGRPCNotSupportedForLearner
		if !g.learner() || full == pb.Maintenance_Snapshot_FullMethodName {
			err = wireError(g.serve(raw, m, f))
		}
		m.Handled(status.Code(err))
		if m.Timed() {
			m.Took(time.Since(start))
		}
		return err
	}
}

// serve checks a stream's metadata and runs it. A stream that asked for a leader is watched over: when it
// is cancelled for having none, whatever f made of that, the client hears the reason.
func (g *gate) serve(raw grpc.ServerStream, m *metrics.Method, f func(grpc.ServerStream) error) error {
	ctx := raw.Context()
	version, err := clientVersion(ctx)
	if err != nil {
		return err
	}
	g.set.Server.ClientRequests.Stream(version).Inc()
	if !wantsLeader(ctx) {
		return f(&countedStream{ServerStream: raw, ctx: ctx, m: m})
	}
	if g.leader() == 0 {
		return rpctypes.ErrGRPCNoLeader
	}
	ctx, leave := g.streams.enter(ctx)
	defer leave()
	err = f(&countedStream{ServerStream: raw, ctx: ctx, m: m})
	if errors.Is(context.Cause(ctx), rpctypes.ErrGRPCNoLeader) {
		return rpctypes.ErrGRPCNoLeader
	}
	return err
}

// countedStream counts messages and carries the context that ends when the leader is missed.
type countedStream struct {
	grpc.ServerStream
	ctx context.Context
	m   *metrics.Method
}

func (s *countedStream) Context() context.Context { return s.ctx }

func (s *countedStream) RecvMsg(in any) error {
	err := s.ServerStream.RecvMsg(in)
	if err == nil {
		s.m.MsgReceived()
	}
	return err
}

func (s *countedStream) SendMsg(out any) error {
	err := s.ServerStream.SendMsg(out)
	if err == nil {
		s.m.MsgSent()
	}
	return err
}

// tellWhenSent has a large reply's request judged when the client has taken the reply. It reports whether it
// will be: then nobody else needs to.
func (g *gate) tellWhenSent(way *journey, full string, start time.Time, in, out any) bool {
	large, ok := out.(*wire.Encoded)
	if !ok {
		return false
	}
	answered := time.Now()
	return large.WhenSent(func() {
		way.took[stepSend] = time.Since(answered)
		if took := time.Since(start); took > g.slow {
			g.tellSlow(way, full, took, in, nil)
		}
	})
}

// tellSlow logs a slow request: where it came from, what it was about and where its time went, but no values,
// because they may be secrets and they may be large.
func (g *gate) tellSlow(ctx *journey, full string, took time.Duration, in any, err error) {
	attrs := []slog.Attr{slog.String("method", full), slog.Duration("took", took), slog.Duration("expected", g.slow)}
	attrs = append(attrs, ctx.attrs()...)
	attrs = append(attrs, callerOf(ctx)...)
	switch in := in.(type) {
	case *pb.RangeRequest:
		attrs = append(attrs, slog.String("key", shown(in.Key)), slog.String("range_end", shown(in.RangeEnd)),
			slog.Int64("limit", in.Limit), slog.Int64("revision", in.Revision))
	case *pb.PutRequest:
		attrs = append(attrs, slog.String("key", shown(in.Key)), slog.Int("value_bytes", len(in.Value)))
	case *pb.DeleteRangeRequest:
		attrs = append(attrs, slog.String("key", shown(in.Key)), slog.String("range_end", shown(in.RangeEnd)))
	case *pb.TxnRequest:
		attrs = append(attrs, slog.Int("compares", len(in.Compare)), slog.Int("success", len(in.Success)), slog.Int("failure", len(in.Failure)))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	g.log.LogAttrs(ctx, slog.LevelWarn, "request took too long", attrs...)
}

// callerOf is where a call came from, for the log.
func callerOf(ctx context.Context) (attrs []slog.Attr) {
	if p, ok := peer.FromContext(ctx); ok {
		attrs = append(attrs, slog.String("remote", p.Addr.String()))
	}
	// The JSON gateway tells for whom it asks. A client may say the same of itself, so it is no more than a claim.
	if via := metadata.ValueFromIncomingContext(ctx, "x-forwarded-for"); len(via) > 0 {
		attrs = append(attrs, slog.String("forwarded_for", shown([]byte(via[0]))))
	}
	return attrs
}

// shownKeyBytes is how many bytes of a key are logged.
const shownKeyBytes = 256

func shown(key []byte) string { return string(key[:min(len(key), shownKeyBytes)]) }
