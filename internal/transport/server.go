package transport

import (
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
)

const (
	// acceptPauseMin and acceptPauseMax bound the pause after a failed accept, which doubles.
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// Server serves gRPC on any number of listeners.
type Server struct {
	o       Options
	methods methods
	workers workers
	buffers sync.Pool // of *[]byte of largeBuffer bytes, for busy connections
	keys    keys

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	serving   bool // somebody has called Serve
	stopping  bool
	gone      sync.Cond     // told when a connection has ended
	stopped   chan struct{} // closed when a stop is through
	once      sync.Once     // closes stopped
}

// NewServer makes a server without services.
func NewServer(o Options) *Server {
	s := &Server{
		o: o.complete(), methods: newMethods(), keys: findKeys(),
		listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{},
		stopped: make(chan struct{}),
	}
	s.buffers.New = func() any { b := make([]byte, 0, largeBuffer); return &b }
	s.gone.L = &s.mu
	return s
}

// RegisterService implements grpc.ServiceRegistrar. It must come before Serve; what is registered twice, or does not
// fit its description, panics.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving {
		panic("transport: " + desc.ServiceName + " is registered after Serve")
	}
	s.methods.add(desc, impl)
}

// Serve accepts connections until the listener fails or the server stops. After a stop it returns nil, when the
// stop is through; on a server that was stopped before, grpc.ErrServerStopped.
func (s *Server) Serve(l net.Listener) error {
	if !s.open(l) {
		l.Close()
		return grpc.ErrServerStopped
	}
	defer s.shut(l)
	for pause := acceptPauseMin; ; {
		raw, err := l.Accept()
		if err == nil {
			pause = acceptPauseMin
			s.start(raw)
			continue
		}
		if s.isStopping() {
			<-s.stopped
			return nil
		}
		if t, ok := err.(interface{ Temporary() bool }); !ok || !t.Temporary() {
			return err
		}
		select {
		case <-time.After(pause):
		case <-s.stopped:
		}
		pause = min(2*pause, acceptPauseMax)
	}
}

func (s *Server) open(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving = true
	if !s.stopping {
		s.listeners[l] = struct{}{}
	}
	return !s.stopping
}

func (s *Server) shut(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.listeners[l]; ok {
		delete(s.listeners, l)
		l.Close()
	}
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// start serves one connection on a goroutine of its own.
func (s *Server) start(raw net.Conn) {
	c := newConn(s, raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		raw.Close()
		return
	}
	s.conns[c] = struct{}{}
	go func() {
		c.serve()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
		s.gone.Broadcast()
	}()
}

// Stop closes all listeners and connections; calls under way are cancelled. It does not wait for their handlers.
func (s *Server) Stop() { s.stop((*conn).close) }

// GracefulStop closes all listeners, has clients open no more calls and returns when the last call has ended and all
// connections are closed. Stop cuts it short.
func (s *Server) GracefulStop() {
	s.stop((*conn).drain)
	s.workers.wait()
}

func (s *Server) stop(end func(*conn)) {
	defer s.once.Do(func() { close(s.stopped) })
	s.mu.Lock()
	s.stopping = true
	for l := range s.listeners {
		delete(s.listeners, l)
		l.Close()
	}
	for c := range s.conns {
		end(c)
	}
	for len(s.conns) > 0 {
		s.gone.Wait()
	}
	s.mu.Unlock()
	s.workers.stop()
}
