package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// startLimit bounds the time from exec to the first answered read.
const startLimit = 3 * time.Minute

// stopLimit bounds the time a server may take to end after SIGTERM.
const stopLimit = 60 * time.Second

// readyPoll is the pause between two attempts to read from a starting server. It bounds the error of a
// start-up time.
const readyPoll = 2 * time.Millisecond

// absentKey is a key that no store holds.
const absentKey = "absent"

// quotaBytes is the backend quota given to both servers: etcd's default of 2 GiB would end long runs.
const quotaBytes = "8589934592"

// place is where a server lives: what it is called, where it listens and keeps its data, and whom it belongs to. A
// server that is started again in its place is the same member again.
type place struct {
	name         string
	dir          string
	client, peer string   // host:port
	initial      string   // the members it begins with, as --initial-cluster has them
	flags        []string // further ones
	drag         *drag    // slows its syncs, unless nil
}

// server is one running process of a product.
type server struct {
	product product
	place   place
	address string
	cmd     *exec.Cmd
	ended   chan struct{} // closed when the process is gone
	dir     string        // its data
	log     string        // path of the file that takes its output
	started time.Time
	token   string // what connections opened from now on say who they are with
}

// startServer starts a product as a cluster of one on free loopback ports with its data in dir and returns at once. The
// end of the context kills it. Further flags may be given.
func startServer(ctx context.Context, p product, dir string, flags ...string) (*server, error) {
	free, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	return launch(ctx, p, place{
		name: "bench", dir: dir, client: free[0], peer: free[1], initial: "bench=http://" + free[1], flags: flags,
	})
}

// launch starts a product in its place and returns at once. The end of the context kills it.
func launch(ctx context.Context, p product, at place) (*server, error) {
	s := &server{
		product: p, place: at, address: at.client, dir: at.dir, log: at.dir + ".log", ended: make(chan struct{}),
	}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, fmt.Errorf("create server log: %w", err)
	}
	defer func() { _ = log.Close() }() // the process has its own copy
	s.cmd = exec.CommandContext(ctx, p.binary, append([]string{
		"--name", at.name, "--data-dir", at.dir,
		"--listen-client-urls", "http://" + at.client, "--advertise-client-urls", "http://" + at.client,
		"--listen-peer-urls", "http://" + at.peer, "--initial-advertise-peer-urls", "http://" + at.peer,
		"--initial-cluster", at.initial,
		"--quota-backend-bytes", quotaBytes, "--log-level", "error",
	}, at.flags...)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.Dir = filepath.Dir(at.dir)
	// An interrupted benchmark must not leave a server behind.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.started = time.Now()
	if at.drag == nil {
		err = s.cmd.Start()
	} else {
		err = at.drag.start(s.cmd)
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		_ = s.cmd.Wait() // the exit status is judged by whoever misses the server
		close(s.ended)
	}()
	return s, nil
}

// startReady starts a product and waits until it answers; the duration runs from exec to the first
// linearizable read.
func startReady(ctx context.Context, p product, dir string, flags ...string) (*server, time.Duration, error) {
	s, err := startServer(ctx, p, dir, flags...)
	if err != nil {
		return nil, 0, err
	}
	took, err := s.awaitRead()
	if err != nil {
		s.kill()
		return nil, 0, err
	}
	return s, took, nil
}

// awaitRead tries linearizable reads until one succeeds.
func (s *server) awaitRead() (time.Duration, error) {
	deadline := s.started.Add(startLimit)
	var last error
	for time.Now().Before(deadline) {
		if err := s.alive(); err != nil {
			return 0, err
		}
		if _, last = s.revision(); last == nil {
			return time.Since(s.started), nil
		}
		time.Sleep(readyPoll)
	}
	return 0, fmt.Errorf("%s did not answer within %v: %w; its log says:\n%s", s.product.name, startLimit, last, s.logTail())
}

// alive is an error if the process has ended.
func (s *server) alive() error {
	select {
	case <-s.ended:
		return fmt.Errorf("%s ended by itself; its log says:\n%s", s.product.name, s.logTail())
	default:
		return nil
	}
}

// revision reads the store's revision with a linearizable read on a connection of its own.
func (s *server) revision() (int64, error) {
	reply, err := s.rangeOnce(appendRange(nil, []byte(absentKey), nil, 0, 0))
	if err != nil {
		return 0, err
	}
	return reply.GetHeader().GetRevision(), nil
}

// rangeOnce makes one Range call and decodes the whole reply: for checks outside the measured time.
func (s *server) rangeOnce(request []byte) (*pb.RangeResponse, error) {
	reply := &pb.RangeResponse{}
	return reply, s.once(methodRange, request, reply)
}

// ask makes one call outside the loads.
func (s *server) ask(path string, request, reply proto.Message) error {
	body, err := proto.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	message, start := beginMessage(nil)
	return s.once(path, endMessage(append(message, body...), start), reply)
}

// once sends one encoded request on a connection of its own, waits for the reply as long as for a start, and
// decodes it.
func (s *server) once(path string, request []byte, reply proto.Message) error {
	c, err := s.dial()
	if err != nil {
		return err
	}
	defer c.close()
	answer, err := c.call(path, request)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := proto.Unmarshal(answer, reply); err != nil {
		return fmt.Errorf("decode the reply of %s: %w", path, err)
	}
	return nil
}

// dial opens one connection.
func (s *server) dial() (*connection, error) {
	c, err := dial(s.address, time.Now().Add(startLimit))
	if err != nil {
		return nil, err
	}
	c.token = s.token
	return c, nil
}

// connect opens n connections.
func (s *server) connect(n int) ([]*connection, error) { return connectOver([]*server{s}, n) }

// connectOver opens n connections, dealt out to the servers in turn.
func connectOver(servers []*server, n int) ([]*connection, error) {
	conns := make([]*connection, 0, n)
	for i := range n {
		c, err := servers[i%len(servers)].dial()
		if err != nil {
			closeAll(conns)
			return nil, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func closeAll(conns []*connection) {
	for _, c := range conns {
		c.close()
	}
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// stop ends the server in order, as an operator would.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w; its log says:\n%s", s.product.name, err, s.logTail())
	}
	return s.awaitEnd()
}

// awaitEnd waits for a server that was told to stop.
func (s *server) awaitEnd() error {
	select {
	case <-s.ended:
		return nil
	case <-time.After(stopLimit):
		s.kill()
		return fmt.Errorf("%s did not stop within %v", s.product.name, stopLimit)
	}
}

// kill ends the server as a crash would. Killing one that has ended does nothing.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// logTail returns the end of what the server printed.
func (s *server) logTail() string {
	data, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}
