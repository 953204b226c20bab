package rpc

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/watch"
	"github.com/keelson-db/keelson/internal/wire"
)

// watchConfig is what the Watch service needs.
type watchConfig struct {
	Access access
	Hub    *watch.Hub
	Store  *mvcc.Store // encodes the events that the hub hands out
	// ClusterID, MemberID and Term fill the headers.
	ClusterID, MemberID uint64
	Term                func() uint64
	// ProgressInterval is the time between two progress notices of an idle watcher.
	ProgressInterval time.Duration
	// FragmentBytes is the response size from which on a watcher that allows it gets fragments.
	FragmentBytes int
	Metrics       *metrics.Watch
	// Observed says that the transport tells somebody of every message: then each is sent on its own.
	Observed bool
	// Sent counts messages that go to the transport past gRPC, which else counts them.
	Sent func(messages, bytes int)
}

// watchServer is the Watch service. Every call has two goroutines: gRPC's own, which sends, and one that
// receives and ends when the call does.
type watchServer struct {
	pb.UnimplementedWatchServer
	watchConfig
	bursts mem.BufferPool
}

var _ pb.WatchServer = (*watchServer)(nil)

func newWatchServer(c watchConfig) *watchServer {
	return &watchServer{watchConfig: c, bursts: wire.NewBurstPool()}
}

// Watch serves one stream of watchers until the client or the server ends it.
func (w *watchServer) Watch(stream pb.Watch_WatchServer) error {
	s := w.Hub.NewStream(watch.StreamOptions{ProgressInterval: w.ProgressInterval})
	defer s.Close() // also ends the receiver, should it wait for room
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	rights := &watchRights{access: w.Access, ctx: stream.Context(), stream: s}
	go func() {
		if err := receiveWatches(ctx, stream, s, rights); err != nil {
			cancel(err)
		}
	}()
	err := w.send(ctx, stream, s, rights)
	if ctx.Err() != nil { // then a failure to send is only the consequence
		err = context.Cause(ctx)
		if own := stream.Context().Err(); own != nil && errors.Is(err, context.Canceled) {
			err = own
		}
	}
	return watchEnd(err)
}

// watchEnd is the status with which a stream ends.
func watchEnd(err error) error {
	switch {
	case errors.Is(err, context.Canceled), status.Code(err) == codes.Canceled:
		return rpctypes.ErrGRPCWatchCanceled
	case errors.Is(err, watch.ErrStopped):
		return rpctypes.ErrGRPCStopped
	}
	return err
}

// receiveWatches turns requests into calls. A client that only closes its sending side goes on receiving.
func receiveWatches(ctx context.Context, stream pb.Watch_WatchServer, s *watch.Stream, rights *watchRights) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Room(ctx); err != nil {
			return err
		}
		switch r := req.RequestUnion.(type) {
		case *pb.WatchRequest_CreateRequest:
			if r.CreateRequest != nil {
				rights.create(r.CreateRequest)
			}
		case *pb.WatchRequest_CancelRequest:
			if r.CancelRequest != nil {
				s.Cancel(r.CancelRequest.WatchId)
			}
		case *pb.WatchRequest_ProgressRequest:
			if r.ProgressRequest != nil {
				s.RequestProgress()
			}
		}
	}
}

func createOf(r *pb.WatchCreateRequest) watch.Create {
	return watch.Create{
		ID:             r.WatchId,
		Key:            r.Key,
		End:            r.RangeEnd,
		Start:          mvcc.Rev(r.StartRevision),
		NoPut:          slices.Contains(r.Filters, pb.WatchCreateRequest_NOPUT),
		NoDelete:       slices.Contains(r.Filters, pb.WatchCreateRequest_NODELETE),
		PrevKV:         r.PrevKv,
		ProgressNotify: r.ProgressNotify,
		Fragment:       r.Fragment,
	}
}

// send is the sending side: the only caller of Next and SendMsg.
func (w *watchServer) send(ctx context.Context, stream pb.Watch_WatchServer, s *watch.Stream, rights *watchRights) error {
	var past wire.TransportWrite
	if !w.Observed {
		past = wire.TransportOf(stream.Context())
	}
	out := watchSender{stream: stream, fragmentBytes: w.FragmentBytes, burst: wire.NewBurst(past, w.Sent, w.bursts)}
	defer out.burst.Release()
	out.encoder.SetMember(w.ClusterID, w.MemberID)
	for {
		turn, err := s.Next(ctx)
		if err != nil {
			return err
		}
		if turn = rights.review(turn); len(turn) == 0 {
			continue
		}
		begun := time.Now()
		out.encoder.SetTerm(w.Term())
		if err := out.send(w.Store, turn); err != nil {
			return err
		}
		w.observe(turn, time.Since(begun))
	}
}

// watchSender turns responses into messages on a stream.
type watchSender struct {
	encoder       wire.WatchEncoder
	burst         wire.Burst
	stream        grpc.ServerStream
	fragmentBytes int
}

// send sends what was handed out together. A lone response goes the usual way, which is made for one.
func (o *watchSender) send(store *mvcc.Store, turn []*watch.Response) error {
	for _, r := range turn {
		if err := o.encoder.Load(store, r); err != nil {
			return err
		}
		for more := true; more; {
			var m wire.WatchMessage
			m, more = o.encoder.Next(o.fragmentBytes)
			if err := o.sendOne(m, len(turn) == 1); err != nil {
				return err
			}
		}
	}
	err := o.burst.Flush()
	o.burst.Release()
	return err
}

func (o *watchSender) sendOne(m wire.WatchMessage, alone bool) error {
	if alone || !o.burst.Takes(m.Size()) {
		if err := o.burst.Flush(); err != nil {
			return err
		}
		return o.stream.SendMsg(o.encoder.Message(m))
	}
	buf, err := o.burst.Begin(m.Size())
	if err == nil {
		*buf = o.encoder.AppendMessage(*buf, m)
	}
	return err
}

// observe counts responses that were sent together. Each kind of response among them gets one sample of the
// time that one of them took: a sample for each would cost as much as sending it.
func (w *watchServer) observe(turn []*watch.Response, took time.Duration) {
	events, control, progress := 0, false, false
	for _, r := range turn {
		events += len(r.Events)
		control = control || r.Created || r.Canceled
		progress = progress || len(r.Events) == 0 && !r.Created && !r.Canceled
	}
	each := took.Seconds() / float64(len(turn))
	if events > 0 {
		w.Metrics.Events.Add(uint64(events))
		w.Metrics.StreamDuration.Observe(each)
		w.Metrics.StreamDurationPerEvent.Observe(took.Seconds() / float64(events))
	}
	if control {
		w.Metrics.ControlDuration.Observe(each)
	}
	if progress {
		w.Metrics.ProgressDuration.Observe(each)
	}
}
