package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keelson-db/keelson/internal/frames"
	"github.com/keelson-db/keelson/internal/replica"
)

const (
	// redialMin and redialMax bound the pause before the next try to reach a member, which doubles. The first try
	// after a connection broke has none.
	redialMin = 5 * time.Millisecond
	redialMax = 500 * time.Millisecond
	// refusedPause is the pause after a member has answered and does not want to listen.
	refusedPause = time.Second
	// beats is how many signs of life go out while a connection may be silent.
	beats = 5
	// writeStepBytes is how much is written before the time to write begins anew, in bytes.
	writeStepBytes = 256 << 10
	// keptBufferBytes is the largest buffer that is kept for the next batch, in bytes.
	keptBufferBytes = 1 << 20
)

// errMoved ends a connection to an address that the member has no longer.
var errMoved = errors.New("the member has moved")

// errUnwanted means that bytes came where none belong.
var errUnwanted = errors.New("bytes came against the direction of the lane")

// sender owns one lane to another member: the connection, and what goes out on it.
type sender struct {
	remote *remote
	lane   replica.Lane
	outbox Outbox
	queue  *queue        // frames beside raft's messages
	poke   chan struct{} // holds a token when it is to look again at once
	packer *frames.Packer

	sent, lost prometheus.Counter

	// Owned by run: the URL of the last connection and the address, by number, that it led to.
	lastURL, last string
}

func newSender(r *remote, lane replica.Lane) *sender {
	network := r.mesh.o.Metrics
	return &sender{
		remote: r, lane: lane, outbox: r.mesh.outbox(r.id, lane), queue: newQueue(), poke: make(chan struct{}, 1),
		packer: frames.NewPacker(r.mesh.o.MaxFrameBytes),
		sent:   network.PeerSentBytes.WithLabelValues(r.name), lost: network.PeerSentFailures.WithLabelValues(r.name),
	}
}

// run keeps the lane connected until ctx ends.
func (s *sender) run(ctx context.Context) {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		conn, to, err := s.connect(ctx)
		if err == nil {
			began := time.Now()
			if err = s.serve(ctx, conn, to); time.Since(began) > redialMax {
				pause = 0
			}
		} else if s.last = ""; ctx.Err() == nil {
			s.lost.Inc() // alerts find members that are down by this
		}
		if ctx.Err() != nil {
			return
		}
		var no *refusal
		switch {
		case errors.As(err, &no):
			s.remote.refusedBy(no)
			pause = max(pause, refusedPause)
		case errors.Is(err, syscall.ECONNREFUSED):
			s.remote.nobody()
		}
		s.complain(err)
		if pause > 0 && !s.wait(ctx, jitter(pause)) {
			return
		}
		pause = min(max(2*pause, redialMin), redialMax)
	}
}

// wait lets time pass, or less when there is a reason to look again. It returns false when ctx ended.
func (s *sender) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-s.poke:
			timer.Reset(min(d, redialMin)) // not at once, so that two members cannot drive each other
		case <-timer.C:
			return true
		}
	}
}

// complain logs trouble with the member, and the same trouble only now and then, whichever lane has it.
func (s *sender) complain(err error) {
	if missed, ok := s.remote.trouble.due(gist(err)); ok {
		s.remote.mesh.o.Log.Warn("no connection to a member: trying again", "member", s.remote.name, "lane", laneNames[s.lane],
			"error", err.Error(), "not-logged-before", missed)
	}
}

// gist is what an error says without the ports, which are others each time.
func gist(err error) string {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Op + " " + op.Err.Error()
	}
	return err.Error()
}

// serve sends what there is to send until the connection breaks or ctx ends.
func (s *sender) serve(ctx context.Context, conn net.Conn, to string) error {
	broken := make(chan error, 1)
	var watching sync.WaitGroup
	watching.Go(func() { broken <- watch(conn) })
	defer watching.Wait()
	defer conn.Close()
	// A write that waits for a slow reader is cut as well.
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	s.queue.open()
	s.outbox.Open()
	s.remote.up(s.lane)
	defer func() {
		s.outbox.Close()
		s.queue.close()
		s.remote.down(s.lane)
	}()
	beat := time.NewTicker(s.remote.mesh.o.ReadTimeout / beats)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-broken:
			return err
		case <-s.poke:
			if !slices.Contains(s.remote.addresses(), to) {
				return errMoved
			}
			continue
		case <-beat.C:
			s.beat()
		case <-s.outbox.Ready():
		case <-s.queue.ready:
		}
		if err := s.send(conn); err != nil {
			return err
		}
	}
}

// watch returns when the connection breaks. Nothing comes on it.
func watch(conn net.Conn) error {
	var one [1]byte
	n, err := conn.Read(one[:])
	switch {
	case n > 0:
		err = errUnwanted
	case err == nil || errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the connection broke: %w", err)
}

// beat puts a sign of life into the queue, so that a dead wire is told from a silent one.
func (s *sender) beat() {
	if s.lane == replica.Urgent {
		s.queue.put(frames.Ping, s.remote.mesh.mark())
		return
	}
	s.queue.put(frames.Here, nil)
}

// send writes everything that waits, one write for all of it unless it is much.
func (s *sender) send(conn net.Conn) error {
	p := s.packer
	p.Begin(s.queue.take(p.Take()))
	messages := s.outbox.Take()
	written := 0 // messages that are out, or never will be
	for i, m := range messages {
		if err := p.Add(m); err != nil {
			s.lost.Inc()
			s.remote.mesh.o.Log.Error("a message to a member was not sent", "member", s.remote.name, "error", err.Error())
		}
		if p.Len() >= keptBufferBytes {
			if err := s.flush(conn); err != nil {
				s.lost.Add(float64(len(messages) - written))
				return err
			}
			written = i + 1
		}
	}
	if err := s.flush(conn); err != nil {
		s.lost.Add(float64(len(messages) - written))
		return err
	}
	return nil
}

// flush writes what is packed.
func (s *sender) flush(conn net.Conn) error {
	b := s.packer.Take()
	if cap(b) <= 2*keptBufferBytes {
		defer s.packer.Begin(b[:0])
	}
	s.sent.Add(float64(len(b)))
	for len(b) > 0 {
		if err := conn.SetWriteDeadline(time.Now().Add(s.remote.mesh.o.WriteTimeout)); err != nil {
			return fmt.Errorf("set the time to write: %w", err)
		}
		n, err := conn.Write(b[:min(len(b), writeStepBytes)])
		if err != nil {
			return fmt.Errorf("write to a member: %w", err)
		}
		b = b[n:]
	}
	return nil
}
