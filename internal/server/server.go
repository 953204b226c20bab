package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keelson-db/keelson/internal/bootstrap"
	"github.com/keelson-db/keelson/internal/chores"
	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/copies"
	"github.com/keelson-db/keelson/internal/expiry"
	"github.com/keelson-db/keelson/internal/frames"
	"github.com/keelson-db/keelson/internal/lock"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/peer"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/rpc"
	"github.com/keelson-db/keelson/internal/storage"
	"github.com/keelson-db/keelson/internal/token"
	"github.com/keelson-db/keelson/internal/watch"
)

// What clients are told of versions: those of the etcd whose contract this is. Kubernetes parses them.
const (
	clusterVersion = "3.7.0"
	storageVersion = "3.7.0"
)

// Limits of a stop.
const (
	// drainTime is how long requests under way may go on once a stop has begun.
	drainTime = time.Second
	// checkpointTime is how long the leases' remaining time may take to be noted.
	checkpointTime = time.Second
	// traceTime is how long the last traces may take to be sent.
	traceTime = time.Second
	// handOverTime is how long handing leadership over may take.
	handOverTime = time.Second
	// readyWait is how long clients are kept waiting for a quorum at a start.
	readyWait = 5 * time.Second
	// publishPause is the time between two tries to publish this member.
	publishPause = 500 * time.Millisecond
	// failTime is how long goroutines may take to end after the storage engine has failed.
	failTime = time.Second
)

// Server is one member.
type Server struct {
	config  *config.Config
	env     Env
	log     *slog.Logger
	metrics *metrics.Set

	data     *data
	replica  *replica.Replica
	hub      *watch.Hub
	clock    *expiry.Clock
	upkeep   upkeep
	tokens   *token.Authority
	inside   *inside
	tracing  *tracing
	services *rpc.Services
	grpc     grpcServer
	doors    *doors
	peers    *peerDoors
	mesh     *peer.Mesh
	copies   *copies.Server
	among    *among
	copied   *copied // set by catchUp before it ends
	// membership is how this server changes who is in the cluster by itself.
	membership *rpc.Membership

	invitations invitations

	ready chan struct{}
}

// Open opens the data and builds the rooms. Nothing runs yet, but the sockets are open and the directory
// is taken: call Run, which also closes, or Close.
func Open(ctx context.Context, c *config.Config, env Env) (_ *Server, err error) {
	s := &Server{config: c, env: env, log: env.Log, metrics: metrics.New(), ready: make(chan struct{})}
	env.copied.count(s.metrics.Network.SnapshotReceive)
	// The sockets first: a second server on the same addresses should not touch any data.
	if s.doors, err = openDoors(ctx, c, env); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.peers, err = openPeerDoors(ctx, c, env); err != nil {
		return nil, err
	}
	if s.data, err = openData(ctx, c, env, s.peers); err != nil {
		return nil, err
	}
	if c.FeatureGates["InitialCorruptCheck"] {
		if err = chores.CheckAll(ctx, s.data.machine.KV(), s.log); err != nil {
			return nil, fmt.Errorf("open the data directory %s: %w", c.DataDir, err)
		}
	}
	s.replica, err = replica.New(replica.Options{
		Log: s.data.log, Machine: s.data.machine,
		Heartbeat: c.HeartbeatInterval, Election: c.ElectionTimeout,
		MaxRequestBytes: int(c.MaxRequestBytes), WarnApply: c.WarningApplyDuration,
		Seed: env.Seed, Metrics: s.metrics, Logger: s.log,
		Priority: c.LeaderPriority, LeaseReads: c.LeaderLeaseReads, TickAdvance: c.InitialElectionTickAdvance,
	})
	if err != nil {
		return nil, fmt.Errorf("open the data directory %s: %w", c.DataDir, err)
	}
	s.buildEngine()
	s.buildMesh()
	if err = s.openServices(ctx); err != nil {
		return nil, err
	}
	s.buildServices()
	if err = s.doors.build(s); err != nil {
		return nil, err
	}
	return s, nil
}

// buildEngine builds the rooms beside the replica.
func (s *Server) buildEngine() {
	kv := s.data.machine.KV()
	s.hub = watch.New(kv, watch.Options{Seed: s.env.Seed})
	s.clock = expiry.New(expiry.Options{
		Leases: s.data.machine.Leases(), Proposer: s.replica, Leadership: leadership{s.replica},
		ElectionTimeout: s.config.ElectionTimeout, Metrics: s.metrics.Lease, Logger: s.log,
	})
	s.upkeep = s.newUpkeep()
}

// buildMesh builds what stands between this member and the others.
func (s *Server) buildMesh() {
	c := s.config
	o := peer.Options{
		Members: s.data.machine.Members(), Metrics: s.metrics.Network, Log: s.log,
		Version: config.APIVersion(), Level: command.Level, MinLevel: s.data.machine.Level,
		MaxFrameBytes: max(frames.DefaultBytes, 2*int(c.MaxRequestBytes)),
		Dial:          peerDialer(c), ReadTimeout: c.RaftReadTimeout, WriteTimeout: c.RaftWriteTimeout,
	}
	s.among = &among{node: node{s}}
	o.Local, o.Answerer = s.among, s.among
	if s.peers.tls != nil {
		o.TLS = func() *tls.Config { return s.peers.tls.Client("") }
	}
	s.mesh = peer.New[*replica.Outbox](s.replica, o)
	s.copies = copies.NewServer(s.data.machine, copies.Options{
		Cluster: s.data.machine.Members().ClusterID(), BytesPerSecond: int64(c.SnapshotRate), Begun: s.copyBegun, Log: s.log,
	})
	mux := http.NewServeMux()
	mux.Handle(copies.Path, s.announceFetches(s.copies))
	mux.Handle(bootstrap.JoinPath, bootstrap.JoinHandler(s.welcome))
	mux.Handle("/", s.mesh.Handler())
	s.peers.build(mux, s.env)
}

// openServices opens what the services stand on beside the data.
func (s *Server) openServices(ctx context.Context) (err error) {
	c := s.config
	if s.tokens, err = token.New(token.Options{Spec: c.AuthToken, SimpleTTL: c.AuthTokenTTL, Cost: c.BcryptCost}); err != nil {
		return fmt.Errorf("open --auth-token: %w", err)
	}
	if s.tracing, err = openTracing(ctx, c); err != nil {
		return err
	}
	s.inside, err = openInside()
	return err
}

// buildServices builds the gRPC services and the transport below them.
func (s *Server) buildServices() {
	c, members := s.config, s.data.machine.Members()
	recipes := lock.New(s.inside.conn)
	deps := rpc.Deps{
		Replica: s.replica, Machine: s.data.machine, Hub: s.hub, Clock: s.clock, Metrics: s.metrics, Log: s.log,
		ClusterID: members.ClusterID(), MemberID: uint64(members.Local()),
		Version: config.APIVersion(), StorageVersion: storageVersion,
		Tokens: s.tokens, ClientCertAuth: c.ClientTLS.ClientCertAuth, Quota: s.upkeep.quota,
		Lock: recipes, Election: recipes, Stats: s.tracing.handler(),
		Connectivity:     s.mesh,
		Leader:           peer.NewLeader(s.mesh, s.replica.Status),
		DatabaseBytes:    s.databaseBytes,
		ExtensiveMetrics: c.MetricsLevel == "extensive",
		Seed:             s.env.Seed,
		Limits: rpc.Limits{
			MaxTxnOps: int(c.MaxTxnOps), MaxRequestBytes: int(c.MaxRequestBytes), MaxConcurrentStreams: c.MaxConcurrentStreams,
			KeepAliveMinTime: c.GRPCKeepAliveMinTime, KeepAliveInterval: c.GRPCKeepAliveInterval, KeepAliveTimeout: c.GRPCKeepAliveTimeout,
			ElectionTimeout: c.ElectionTimeout, WarningUnaryRequestDuration: c.WarningUnaryRequestDuration,
			WatchProgressNotifyInterval: c.WatchProgressNotifyInterval, QuotaBackendBytes: c.QuotaBackendBytes,
			StrictReconfigCheck: c.StrictReconfigCheck, MaxLearners: c.MaxLearners,
		},
	}
	s.among.lessor, s.among.promoter = rpc.NewLessor(deps), rpc.NewPromoter(deps)
	s.membership = rpc.NewMembership(deps)
	s.services = rpc.New(deps)
	s.grpc = newGRPC(c, deps)
	s.services.Register(s.grpc)
	s.inside.register(s.services, deps)
	s.observe()
}

// Ready returns a channel that is closed once the member serves.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Close gives sockets and data back. It is for a server that was opened and never run.
func (s *Server) Close() error {
	errs := []error{s.doors.close(), s.closeServices()}
	if s.peers != nil {
		errs = append(errs, s.peers.close())
	}
	if s.data != nil {
		errs = append(errs, s.data.close())
	}
	return errors.Join(errs...)
}

// closeServices ends what openServices opened.
func (s *Server) closeServices() error {
	ctx, cancel := context.WithTimeout(context.Background(), traceTime)
	defer cancel()
	errs := []error{s.tracing.close(ctx)}
	if s.inside != nil {
		errs = append(errs, s.inside.close())
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends or something fails, and has everything closed when it returns.
func (s *Server) Run(ctx context.Context) error {
	// The floors below outlive the doors, so they do not end with ctx but when Run says so.
	below, stopBelow := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBelow()
	logs, stopLogs := context.WithCancel(context.WithoutCancel(ctx))
	logged := s.runLogs(logs)
	defer func() { stopLogs(); <-logged }()

	engine, below := errgroup.WithContext(below)
	for _, run := range s.engineRuns(below) {
		engine.Go(run)
	}
	err := s.serve(ctx, below)
	if below.Err() == nil {
		s.checkpoint(below)
		s.handOver(below)
	}
	stopBelow()
	if failed := waitBelow(engine, s.data.engine); failed != nil {
		err = errors.Join(failed, err)
	}
	err = errors.Join(err, s.peers.close())
	if s.data.engine.Err() == nil {
		// After a failure something may still be running down there; the end of the process closes.
		err = errors.Join(err, s.data.close())
	}
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// serve opens the doors and keeps them open until ctx ends, a door fails, or the floors below do.
func (s *Server) serve(ctx, below context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(below, stop)()
	// Clients that connect meanwhile wait at the sockets: whoever asks is told this member's name. They do not wait
	// longer than for a while, because a member without a quorum can still tell how it is.
	announced := make(chan struct{})
	go func() { defer close(announced); s.announce(ctx) }()
	defer func() { stop(); <-announced }()
	select {
	case <-announced:
	case <-time.After(readyWait):
		s.log.Warn("there is no quorum yet: serving what can be served without one")
	}
	if ctx.Err() != nil {
		return errors.Join(s.doors.close(), s.closeServices())
	}
	front, open := errgroup.WithContext(ctx)
	for _, run := range s.doors.runs(open) {
		front.Go(run)
	}
	s.log.Info("ready to serve client requests")
	close(s.ready)
	if s.env.Notify != nil {
		s.env.Notify()
	}
	<-open.Done()
	if err := context.Cause(below); errors.Is(err, ErrCopied) {
		s.log.Info("starting again with the copy of the state")
	} else if err != nil {
		s.log.Error("stopping: a part of the server failed", "error", err.Error())
	} else {
		s.log.Info("stopping")
	}
	s.services.Shutdown()
	s.doors.drain(drainTime)
	err := front.Wait()
	if closed := s.closeServices(); closed != nil {
		s.log.Warn("end the services", "error", closed.Error())
	}
	return err
}

// waitBelow waits for the goroutines below the doors. One that calls into a storage engine that has failed
// may never return; then the wait is short, and the end of the process ends it.
func waitBelow(group *errgroup.Group, engine *storage.Engine) error {
	done := make(chan error, 1)
	go func() { done <- group.Wait() }()
	select {
	case err := <-done:
		return err
	case <-engine.Failed():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(failTime):
		return engine.Err()
	}
}

// engineRuns are the goroutines below the doors.
func (s *Server) engineRuns(ctx context.Context) []func() error {
	bind := func(run func(context.Context) error) func() error {
		return func() error {
			if err := run(ctx); ctx.Err() == nil {
				return err
			}
			return nil // it was told to end, and how it says so does not matter
		}
	}
	return append(s.peerRuns(ctx), []func() error{
		bind(s.replica.Run), s.replica.RunAppend, s.replica.RunApply, bind(s.data.log.Run),
		bind(s.hub.Run), bind(s.clock.Run), bind(s.services.Run),
		bind(s.upkeep.sweeper.Run), bind(s.upkeep.cutter.Run), bind(s.upkeep.quota.Run), bind(s.upkeep.compactor.Run),
		bind(s.upkeep.checker.Run), bind(s.upkeep.levels.Run), bind(s.upkeep.autopilot.Run),
		bind(s.upkeep.comparer.Run),
		func() error {
			select {
			case <-ctx.Done():
				return nil
			case <-s.data.engine.Failed():
				return fmt.Errorf("the storage engine failed: %w%s", s.data.engine.Err(), hint(s.data.engine.Err()))
			}
		},
	}...)
}

// peerRuns are the goroutines between this member and the others.
func (s *Server) peerRuns(ctx context.Context) []func() error {
	bind := func(run func(context.Context) error) func() error { return func() error { return run(ctx) } }
	return append(s.peers.runs(ctx), bind(s.mesh.Run), bind(s.catchUp), bind(s.tellVote), bind(s.copies.Run), bind(s.tellFetches), bind(s.becomeVoter))
}

// runLogs writes the log's lines in the background; the channel is closed when the last is written.
func (s *Server) runLogs(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if s.env.LogWriter != nil {
			if err := s.env.LogWriter.Run(ctx); err != nil {
				s.log.Error("log output failed", "error", err.Error())
			}
		}
	}()
	return done
}

// announce tells the cluster who this member is, unless ctx ends first: its name and client addresses, which data
// directory it has and what its release can do.
func (s *Server) announce(ctx context.Context) {
	if err := s.waitForLeader(ctx); err != nil {
		return
	}
	// The clock starts before clients come: a lease granted from now on is given its own time and not what
	// leases are given that were there before.
	s.clock.Leads()
	s.upkeep.quota.Adopt()
	members := s.data.machine.Members()
	local, _ := members.Get(members.Local())
	want := command.MemberPublish{
		ID: uint64(members.Local()), Name: s.config.Name, ClientURLs: texts(s.config.AdvertiseClientURLs),
		Incarnation: s.data.log.ID(), Level: command.Level, Version: config.ProductVersion(),
	}
	if local.Name == want.Name && slices.Equal(local.ClientURLs, want.ClientURLs) && local.Incarnation == want.Incarnation &&
		local.Level == want.Level && local.Version == want.Version {
		return
	}
	for ctx.Err() == nil {
		_, err := s.replica.Propose(ctx, &want)
		if err == nil {
			return
		}
		s.log.Warn("publish this member: trying again", "error", err.Error())
		select {
		case <-ctx.Done():
		case <-time.After(publishPause):
		}
	}
}

// handOver gives leadership to another member before this one stops, so that nobody has to miss it first.
func (s *Server) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	if err := s.replica.HandOver(ctx); err != nil {
		s.log.Warn("hand leadership over before the stop: the others elect a leader when they miss this one", "error", err.Error())
	}
}

// waitForLeader returns once reads and writes can be answered.
func (s *Server) waitForLeader(ctx context.Context) error {
	for {
		err := s.replica.Barrier(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// checkpoint notes what time the leases have left, so that the next start need not give them all of it
// again. Failing is harmless: they then live longer.
func (s *Server) checkpoint(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, checkpointTime)
	defer cancel()
	if err := s.clock.Checkpoint(ctx); err != nil {
		s.log.Warn("note the leases' remaining time: they will get all of it again", "error", err.Error())
	}
}
