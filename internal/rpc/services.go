package rpc

import (
	"context"
	cryptorand "crypto/rand"
	"math/rand/v2"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/lock/electionpb"
	"github.com/keelson-db/keelson/internal/lock/lockpb"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/watch"
)

// leaseSeedStream sets the sequence of lease IDs apart from other sequences with the same seed.
const leaseSeedStream = 0x6c65617365

// Services are etcd's gRPC services of one member.
type Services struct {
	gate   *gate
	health *health.Server
	users  *auth.Table
	hub    *watch.Hub
	descs  []*grpc.ServiceDesc
}

// built are the methods of a service that answer; by name.
type built struct {
	unary  map[string]unaryMethod
	stream map[string]streamMethod
}

// New builds the services. They begin to answer when they are registered and the transport is started.
func New(d Deps) *Services {
	d = d.complete()
	leader := func() uint64 { return d.Replica.Status().Leader }
	d.secret = cryptorand.Text()
	s := &Services{
		gate: &gate{
			set: d.Metrics, log: d.Log, slow: d.WarningUnaryRequestDuration,
			leader: leader, streams: newLeaderStreams(leader, d.ElectionTimeout), learner: d.learner,
		},
		health: health.NewServer(), users: d.Machine.Auth(), hub: d.Hub,
	}
	s.add(d, &pb.KV_ServiceDesc, kvMethods(d))
	s.add(d, &pb.Watch_ServiceDesc, watchMethods(d))
	s.add(d, &pb.Lease_ServiceDesc, leaseMethods(d))
	s.add(d, &pb.Cluster_ServiceDesc, clusterMethods(d))
	s.add(d, &pb.Maintenance_ServiceDesc, maintenanceMethods(d))
	s.add(d, &pb.Auth_ServiceDesc, authMethods(d))
	s.add(d, &lockpb.Lock_ServiceDesc, lockMethods(d))
	s.add(d, &electionpb.Election_ServiceDesc, electionMethods(d))
	s.add(d, &healthpb.Health_ServiceDesc, healthMethods(s.health))
	return s
}

// Register puts the services onto a transport. The transport must have been made with TransportOptions or
// ServerOptions, which bring the codec.
func (s *Services) Register(r grpc.ServiceRegistrar) {
	for _, desc := range s.descs {
		r.RegisterService(desc, nil)
	}
}

// Run looks after streams that asked for a leader, and after watchers when users change, until ctx ends.
func (s *Services) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.gate.streams.run(ctx) })
	group.Go(func() error {
		for {
			changed := s.users.Changed() // taken before the interrupt, so that nothing is missed in between
			s.hub.Interrupt()
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	return group.Wait()
}

// Shutdown tells health checks that this member will serve no longer.
func (s *Services) Shutdown() { s.health.Shutdown() }

// add makes our own copy of a service's description: each method leads through the gate to what is built
// of it, or to a plain statement that it is not.
func (s *Services) add(d Deps, theirs *grpc.ServiceDesc, b built) {
	ours := &grpc.ServiceDesc{ServiceName: theirs.ServiceName, HandlerType: (*any)(nil), Metadata: theirs.Metadata}
	var infos []metrics.MethodInfo
	for _, m := range theirs.Methods {
		infos = append(infos, metrics.MethodInfo{Service: theirs.ServiceName, Method: m.MethodName, Type: metrics.Unary})
	}
	for _, m := range theirs.Streams {
		infos = append(infos, metrics.MethodInfo{
			Service: theirs.ServiceName, Method: m.StreamName, Type: metrics.TypeOf(m.ClientStreams, m.ServerStreams),
		})
	}
	d.Metrics.GRPC.Register(infos, d.ExtensiveMetrics)

	for _, m := range theirs.Methods {
		full := "/" + theirs.ServiceName + "/" + m.MethodName
		handler := refusedMethod(s.gate, full, unbuilt(m.MethodName))
		if method, ok := b.unary[m.MethodName]; ok {
			handler = method.handler(s.gate, full)
		}
		ours.Methods = append(ours.Methods, grpc.MethodDesc{MethodName: m.MethodName, Handler: handler})
	}
	for _, m := range theirs.Streams {
		method, ok := b.stream[m.StreamName]
		if !ok {
			method = openStream(func(grpc.ServerStream) error { return unbuilt(m.StreamName) })
		}
		m.Handler = method.handler(s.gate, "/"+theirs.ServiceName+"/"+m.StreamName)
		ours.Streams = append(ours.Streams, m)
	}
	s.descs = append(s.descs, ours)
}

// unbuilt is the answer of a method that is not built: never a fake success.
func unbuilt(name string) error {
	return status.Error(codes.Unimplemented, "keelson: "+name+" is not built yet; see docs/compat.md")
}

// refusedMethod does not even read the request: whatever it says, the answer is the same.
func refusedMethod(g *gate, full string, answer error) grpc.MethodHandler {
	m := g.set.GRPC.Method(full)
	return func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
		m.Started()
		m.Handled(status.Code(answer))
		return nil, answer
	}
}

// learner reports whether this member is a learner. It is cheap.
func (d Deps) learner() bool { return slices.Contains(d.Machine.ConfState().GetLearners(), d.MemberID) }

func (d Deps) headers() headers {
	return headers{
		cluster: d.ClusterID, member: d.MemberID, store: d.Machine.KV(),
		term: func() uint64 { return d.Replica.Status().Term },
	}
}

func kvMethods(d Deps) built {
	kv := &kvServer{
		headers: d.headers(), access: d.access(), space: space{d.Quota},
		replica: d.Replica, store: d.Machine.KV(), counts: d.Metrics.MVCC,
		maxOps: d.MaxTxnOps, maxBytes: d.MaxRequestBytes,
		puts:         newProposing[*pb.PutResponse](d, "Put"),
		deletes:      newProposing[*pb.DeleteRangeResponse](d, "DeleteRange"),
		txns:         newProposing[*pb.TxnResponse](d, "Txn"),
		compactions:  newProposing[*pb.CompactionResponse](d, "Compaction"),
		rangeTook:    d.Metrics.Server.RequestOutcomes("Range"),
		readTxnTook:  d.Metrics.Server.RequestOutcomes("ReadonlyTxn"),
		rangeLooking: d.Metrics.Server.RangeOutcomes(),
	}
	return built{
		unary: map[string]unaryMethod{
			"Range":       askingMethod(kv.rangeKeys),
			"Put":         proposedMethod(kv.put),
			"DeleteRange": proposedMethod(kv.deleteRange),
			"Txn":         askingMethod(kv.txn),
			"Compact":     proposedMethod(kv.compact),
		},
		stream: map[string]streamMethod{"RangeStream": askingStream(kv.rangeStream)},
	}
}

func watchMethods(d Deps) built {
	w := newWatchServer(watchConfig{
		Access: d.access(), Hub: d.Hub, Store: d.Machine.KV(),
		ClusterID: d.ClusterID, MemberID: d.MemberID, Term: d.headers().term,
		ProgressInterval: d.WatchProgressNotifyInterval,
		FragmentBytes:    d.MaxRequestBytes + grpcOverheadBytes,
		Metrics:          d.Metrics.Watch,
		Observed:         d.Stats != nil,
		Sent: func(messages, bytes int) {
			d.Metrics.Network.ClientSentBytes.Add(uint64(bytes))
			m := d.Metrics.GRPC.Method(pb.Watch_Watch_FullMethodName)
			for range messages {
				m.MsgSent()
			}
		},
	})
	return built{stream: map[string]streamMethod{"Watch": askingStream(func(stream grpc.ServerStream) error {
		return w.Watch(&grpc.GenericServerStream[pb.WatchRequest, pb.WatchResponse]{ServerStream: stream})
	})}}
}

func leaseMethods(d Deps) built {
	l := &leaseServer{
		headers: d.headers(), access: d.access(), space: space{d.Quota},
		replica: d.Replica, clock: d.Clock, lessor: NewLessor(d), leader: d.Leader, table: d.Machine.Leases(), set: d.Metrics,
		minSeconds: minLeaseSeconds(d.ElectionTimeout), limit: d.requestTime(),
		grants:  newProposing[*pb.LeaseGrantResponse](d, "LeaseGrant"),
		revokes: newProposing[*pb.LeaseRevokeResponse](d, "LeaseRevoke"),
		ids:     rand.New(rand.NewPCG(d.Seed^d.MemberID, leaseSeedStream)),
	}
	return built{
		unary: map[string]unaryMethod{
			"LeaseGrant":      askingMethod(l.grant),
			"LeaseRevoke":     proposedMethod(l.revoke),
			"LeaseTimeToLive": askingMethod(l.timeToLive),
			"LeaseLeases":     askingMethod(l.leases),
		},
		stream: map[string]streamMethod{"LeaseKeepAlive": askingStream(l.keepAlive)},
	}
}

func healthMethods(h *health.Server) built {
	return built{
		unary: map[string]unaryMethod{
			"Check": openMethod(func(ctx context.Context, r *healthpb.HealthCheckRequest) (any, error) { return h.Check(ctx, r) }),
			"List":  openMethod(func(ctx context.Context, r *healthpb.HealthListRequest) (any, error) { return h.List(ctx, r) }),
		},
		stream: map[string]streamMethod{"Watch": openStream(func(stream grpc.ServerStream) error {
			r := new(healthpb.HealthCheckRequest)
			if err := stream.RecvMsg(r); err != nil {
				return err
			}
			return h.Watch(r, &grpc.GenericServerStream[healthpb.HealthCheckRequest, healthpb.HealthCheckResponse]{ServerStream: stream})
		})},
	}
}
