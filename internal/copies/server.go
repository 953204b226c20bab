package copies

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/keelson-db/keelson/internal/state"
)

// Path is where the server of copies answers.
const Path = "/snapshot"

// What both sides say in headers.
const (
	headerCluster = "X-Etcd-Cluster-Id"
	headerFrom    = "X-Server-From"          // who asks, a member ID in hexadecimal
	headerStream  = "X-Keelson-Copy-Version" // of the frames
	headerFormat  = "X-Keelson-State-Format"
	headerID      = "X-Keelson-Copy-Id"
	headerIndex   = "X-Keelson-Applied-Index"
	headerTerm    = "X-Keelson-Applied-Term"
	headerLevel   = "X-Keelson-Cluster-Level"
	headerBytes   = "X-Keelson-Copy-Bytes" // about what the rows take
	headerDisk    = "X-Keelson-Disk-Bytes" // about what the copy takes on the disk
)

const (
	// maxKept is how many copies are kept at a time. Each keeps on the disk what was replaced since.
	maxKept = 3
	// keptIdle is how long a copy that nobody fetches is kept.
	keptIdle = time.Minute
	// yieldIdle is how long it must be idle to make room for another one, where maxKept are kept.
	yieldIdle = 10 * time.Second
	// stall is the longest time that one frame may take.
	stall = 30 * time.Second
	// comeAgain is what an asker is told to wait where another moment is better, in seconds.
	comeAgain = 1
)

// Options are what a Server is told.
type Options struct {
	Cluster uint64 // who names another one gets nothing
	// BytesPerSecond is how much is sent at most, to all together, packed; 0 is as fast as putting stays undisturbed.
	BytesPerSecond int64
	// Begun is told of each new copy, and for which member it is. What it returns is called at its end and told whether the
	// copy has arrived. It may be nil.
	Begun func(to uint64) (ended func(arrived bool))
	Log   *slog.Logger // nil discards
}

// Server hands out copies of a state.
type Server struct {
	machine *state.Machine
	o       Options
	cluster string
	pace    pace
	piece   int // length of a frame
	idle    time.Duration
	wake    chan struct{} // tells Run that a view became idle

	mu     sync.Mutex // guards what follows, and of each view what it says
	views  map[string]*view
	closed bool
}

// NewServer returns a server of copies of m's state, for Path.
func NewServer(m *state.Machine, o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Begun == nil {
		o.Begun = func(uint64) func(bool) { return func(bool) {} }
	}
	return &Server{
		machine: m, o: o, cluster: strconv.FormatUint(o.Cluster, 16), pace: pace{rate: o.BytesPerSecond},
		piece: pieceBytes, idle: keptIdle, wake: make(chan struct{}, 1), views: map[string]*view{},
	}
}

// Run lets go of copies that nobody fetches, and of all when ctx is done; then nobody is served any more. The storage
// must stay open until it returns.
func (s *Server) Run(ctx context.Context) error {
	timer := time.NewTimer(s.idle)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.end()
		case <-s.wake:
		case <-timer.C:
		}
		left, err := s.expire(time.Now(), s.idle)
		if err != nil {
			return err
		}
		timer.Reset(left)
	}
}

// expire closes the views that are idle for so long, and returns when to look again.
func (s *Server) expire(now time.Time, idle time.Duration) (left time.Duration, err error) {
	left = idle
	for _, v := range s.expired(now, idle, &left) {
		s.o.Log.Info("nobody goes on to fetch a copy of the state; it is given up", "copy", v.id)
		err = errors.Join(err, v.close(false))
		v.turn <- struct{}{} // whoever waits for it finds that the view is gone
	}
	return left, err
}

// expired takes out the views that are idle for so long, with their turns.
func (s *Server) expired(now time.Time, idle time.Duration, left *time.Duration) (old []*view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, v := range s.views {
		if v.stop != nil {
			continue
		}
		if rest := v.idle.Add(idle).Sub(now); rest > 0 {
			*left = min(*left, rest)
			continue
		}
		select {
		case <-v.turn:
			delete(s.views, id)
			old = append(old, v)
		default:
		}
	}
	return old
}

// end stops everybody and closes all views.
func (s *Server) end() error {
	var err error
	for _, v := range s.shut() {
		<-v.turn
		err = errors.Join(err, v.close(false))
		v.turn <- struct{}{}
	}
	return err
}

func (s *Server) shut() (all []*view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, v := range s.views {
		if v.stop != nil {
			v.stop()
		}
		all = append(all, v)
	}
	clear(s.views)
	return all
}

// refusal is an answer that is no copy.
type refusal struct {
	status int
	why    string
}

func (r *refusal) Error() string { return r.why }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// begin takes the state at this moment into a new view for a member, which the caller has the turn of. stop ends the caller.
func (s *Server) begin(to, least uint64, stop func()) (*view, error) {
	if at := s.machine.Applied().Index; at < least {
		return nil, refuse(http.StatusServiceUnavailable, "this member has applied log entry %d, wanted is %d", at, least)
	}
	v := newView(rand.Text())
	<-v.turn
	if s.full() {
		if _, err := s.expire(time.Now(), yieldIdle); err != nil {
			return nil, err
		}
	}
	if err := s.enter(v, stop); err != nil {
		return nil, err
	}
	original, err := s.machine.Original()
	if err != nil {
		s.forget(v)
		return nil, err
	}
	v.original, v.ended = original, s.o.Begun(to)
	s.mu.Lock()
	defer s.mu.Unlock()
	v.index = original.Applied.Index
	return v, nil
}

// Oldest returns up to which log entry the oldest copy goes that is being fetched; who fetches it will need the log behind
// that. It is not ok while nobody fetches.
func (s *Server) Oldest() (index uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.views {
		if v.index != 0 && (!ok || v.index < index) {
			index, ok = v.index, true
		}
	}
	return index, ok
}

func (s *Server) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.views) >= maxKept
}

// enter makes room for a view.
func (s *Server) enter(v *view, stop func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return refuse(http.StatusServiceUnavailable, "this member is stopping")
	}
	if len(s.views) >= maxKept {
		return refuse(http.StatusServiceUnavailable, "this member hands out %d copies of its state already", len(s.views))
	}
	v.stop = stop
	s.views[v.id] = v
	return nil
}

// forget takes a view out and passes on its turn, with nothing in it any more.
func (s *Server) forget(v *view) {
	s.mu.Lock()
	delete(s.views, v.id)
	v.stop = nil
	s.mu.Unlock()
	v.turn <- struct{}{}
}

// resume takes the turn of a view, from whoever has it: that is the asker's earlier connection, which is
// broken without the server knowing it.
func (s *Server) resume(ctx context.Context, id string, stop func()) (*view, error) {
	v := s.interrupt(id)
	if v == nil {
		return nil, refuse(http.StatusGone, "the copy %.40q is not kept any more", id)
	}
	select {
	case <-v.turn:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.views[id] != v {
		v.turn <- struct{}{}
		return nil, refuse(http.StatusGone, "the copy %.40q is not kept any more", id)
	}
	v.stop = stop
	return v, nil
}

// interrupt finds a view and stops whoever sends of it.
func (s *Server) interrupt(id string) *view {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.views[id]
	if v != nil && v.stop != nil {
		v.stop()
	}
	return v
}

// leave gives back the turn of a view, which is kept for who goes on.
func (s *Server) leave(v *view) error {
	err := v.rest()
	s.mu.Lock()
	v.stop, v.idle = nil, time.Now()
	s.mu.Unlock()
	v.turn <- struct{}{}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return err
}
