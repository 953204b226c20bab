package web

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/keelson-db/keelson/internal/lock/electionpb"
	"github.com/keelson-db/keelson/internal/lock/lockpb"
)

// GatewayOptions is what the JSON gateway is built from.
type GatewayOptions struct {
	Log *slog.Logger

	// MaxRequestBytes is the largest request that the services take, in bytes; it bounds how much JSON is
	// read for one message.
	MaxRequestBytes int
	// RefuseNamed says whether a client whose certificate names a user is turned away, because the gateway
	// does not ask in that user's name. It is called for every request with such a certificate; nil is never.
	RefuseNamed func() bool
}

// gateway translates JSON over HTTP into calls of the gRPC services, which it reaches as a client.
type gateway struct {
	ctx        context.Context // every request ends when it does
	mux        *runtime.ServeMux
	log        *slog.Logger
	bodyBytes  int64
	refuse     func() bool
	conversing map[string]bool // the paths where both sides may send more than one message
}

// NewGateway is the JSON gateway: every method of the services under its path below /v3/. It asks over conn,
// which outlives it. When ctx ends, so does what is being asked, WebSockets too: the HTTP server has given
// those away and would not end them.
func NewGateway(ctx context.Context, conn grpc.ClientConnInterface, o GatewayOptions) (http.Handler, error) {
	g := &gateway{
		ctx: ctx, log: o.Log, refuse: o.RefuseNamed,
		bodyBytes:  jsonPerByte*(int64(o.MaxRequestBytes)+grpcSlackBytes) + jsonSlackBytes,
		conversing: map[string]bool{"/v3/watch": true, "/v3/lease/keepalive": true},
	}
	g.mux = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, &translator{JSONPb: runtime.JSONPb{
			MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
			UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
		}}),
		runtime.WithErrorHandler(explain),
		runtime.WithStreamErrorHandler(explainStream),
	)
	if err := route(ctx, g.mux, conn); err != nil {
		return nil, fmt.Errorf("route the JSON gateway: %w", err)
	}
	return g, nil
}

// route gives every service its paths.
func route(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
	for _, register := range []func() error{
		func() error { return gw.RegisterKVHandlerClient(ctx, mux, pb.NewKVClient(conn)) },
		func() error { return gw.RegisterWatchHandlerClient(ctx, mux, pb.NewWatchClient(conn)) },
		func() error { return gw.RegisterLeaseHandlerClient(ctx, mux, pb.NewLeaseClient(conn)) },
		func() error { return gw.RegisterClusterHandlerClient(ctx, mux, pb.NewClusterClient(conn)) },
		func() error { return gw.RegisterMaintenanceHandlerClient(ctx, mux, pb.NewMaintenanceClient(conn)) },
		func() error { return gw.RegisterAuthHandlerClient(ctx, mux, pb.NewAuthClient(conn)) },
		func() error { return lockpb.RegisterLockHandlerClient(ctx, mux, lockpb.NewLockClient(conn)) },
		func() error {
			return electionpb.RegisterElectionHandlerClient(ctx, mux, electionpb.NewElectionClient(conn))
		},
	} {
		if err := register(); err != nil {
			return err
		}
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.refuse != nil && named(r) && g.refuse() {
		http.Error(w, "CommonName of client sending a request against gateway will be ignored and not used as expected",
			http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(g.ctx, cancel)()
	if asksForSocket(r) {
		g.serveSocket(ctx, cancel, w, r)
		return
	}
	control := http.NewResponseController(w)
	body := g.bodyOf(r, cancel)
	switch {
	case !body.converses:
		body.hurry(control)
	case r.ContentLength >= 0:
		body.hurry(control)
		body.take()
	default:
		defer body.converse(w, r, control)()
	}
	g.serve(ctx, w, r, body)
}

// serve has one request answered.
func (g *gateway) serve(ctx context.Context, w http.ResponseWriter, r *http.Request, body *jsonBody) {
	defer close(body.over)
	r = r.WithContext(context.WithValue(ctx, bodyKey{}, body))
	r.Body = body
	g.mux.ServeHTTP(w, r)
}

// named says whether a verified certificate of the client carries a name.
func named(r *http.Request) bool {
	if r.TLS == nil {
		return false
	}
	for _, chain := range r.TLS.VerifiedChains {
		if len(chain) > 0 && chain[0].Subject.CommonName != "" {
			return true
		}
	}
	return false
}

// explain answers with an error.
func explain(ctx context.Context, mux *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	runtime.DefaultHTTPErrorHandler(ctx, mux, m, w, r, because(ctx, err))
}

// explainStream is explain for a stream.
func explainStream(ctx context.Context, err error) *status.Status {
	return status.Convert(because(ctx, err))
}

// because is what is wrong with the request's body, if something is, and otherwise err: a call that was cut
// off because of its body does not know why.
func because(ctx context.Context, err error) error {
	if body, ok := ctx.Value(bodyKey{}).(*jsonBody); ok {
		if fault := body.found(); fault != nil {
			return fault
		}
	}
	return err
}

// tooLarge is the answer to a body of which no more is read.
func tooLarge(limit int64) error {
	return status.Errorf(codes.ResourceExhausted, "the request's body is larger than %d bytes", limit)
}
