package rpc

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/snapshot"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/wire"
)

const (
	// snapshotChunk is the size of the piece of a snapshot that one message carries, in bytes.
	snapshotChunk = 32 << 10
	// snapshotStall is how long a client may take no byte of its snapshot. While it lasts, a snapshot holds the
	// disk space of everything that is replaced or removed meanwhile; nothing else waits for it.
	snapshotStall = time.Minute
)

// errSnapshotStall is what a client hears that has stopped reading.
var errSnapshotStall = status.Error(codes.DeadlineExceeded, "keelson: the snapshot was given up, because nothing of it was taken for a minute")

// snapshotServer sends snapshots.
type snapshotServer struct {
	machine  *state.Machine
	versions func() snapshot.Versions
	took     prometheus.Observer
	log      *slog.Logger
	stall    time.Duration
}

// send answers with the database file of this moment, in pieces, and the SHA-256 of all of it at the end.
// Sending is a goroutine of its own, because a send to a client that does not read never returns before the
// call has ended.
func (s *snapshotServer) send(_ *pb.SnapshotRequest, stream grpc.ServerStream) error {
	start := time.Now()
	versions := s.versions()
	file, err := snapshot.Open(s.machine, versions)
	if err != nil {
		return err
	}
	size := file.Size()
	s.log.Info("sending database snapshot to client", "total-bytes", size, "storage-version", versions.Storage)
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	out := &chunks{
		stream: stream, left: size, version: []byte(versions.Storage), sum: sha256.New(), start: start,
	}
	done := make(chan error, 1)
	go func() { done <- errors.Join(out.write(ctx, file), file.Close()) }()
	if err := s.watch(ctx, out, done); err != nil {
		cancel(err)
		return err
	}
	if slow := file.Slow(); slow != nil {
		s.log.Warn("a snapshot took longer than it should, because its records could not be sorted on the disk", "error", slow)
	}
	took := time.Since(start)
	s.took.Observe(took.Seconds())
	s.log.Info("sent database snapshot to client", "total-bytes", size, "took", took.String())
	return nil
}

// watch waits until a snapshot is sent, or until the client has not taken a message for too long. Time that the
// server spends on the next message is not the client's.
func (s *snapshotServer) watch(ctx context.Context, out *chunks, done <-chan error) error {
	timer := time.NewTimer(s.stall)
	defer timer.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-timer.C:
			waits := out.waits()
			if waits >= s.stall {
				s.log.Warn("gave up a snapshot whose client does not read", "stall", s.stall.String())
				return errSnapshotStall
			}
			timer.Reset(s.stall - waits)
		case <-ctx.Done():
			// No send waits any more, and the storage must not be closed under a scan.
			if err := <-done; err == nil {
				return nil // it was sent after all
			}
			return ctx.Err()
		}
	}
}

// chunks cuts a file into messages. The bytes are copied once, into memory that the transport gives back when it
// has sent them.
type chunks struct {
	stream  grpc.ServerStream
	left    int64
	version []byte
	sum     hash.Hash
	buf     *[]byte // of gRPC's pool; nil if there is nothing in it
	start   time.Time
	offered atomic.Int64 // when the message was offered that the client has not taken, in time since start; 0 if there is none
}

// write sends the file and then its sum.
func (c *chunks) write(ctx context.Context, f *snapshot.File) error {
	if err := f.Write(ctx, c); err != nil {
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	if c.left != 0 {
		return fmt.Errorf("send a snapshot: %w", io.ErrUnexpectedEOF)
	}
	return c.message(mem.SliceBuffer(c.sum.Sum(nil)))
}

// Write takes the next bytes of the file.
func (c *chunks) Write(b []byte) (n int, err error) {
	n = len(b)
	for len(b) > 0 {
		if c.buf == nil {
			c.buf = mem.DefaultBufferPool().Get(snapshotChunk)
			*c.buf = (*c.buf)[:0]
		}
		take := min(len(b), snapshotChunk-len(*c.buf))
		*c.buf = append(*c.buf, b[:take]...)
		b = b[take:]
		if len(*c.buf) == snapshotChunk {
			if err := c.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (c *chunks) flush() error {
	if c.buf == nil {
		return nil
	}
	_, _ = c.sum.Write(*c.buf)
	c.left -= int64(len(*c.buf))
	blob := mem.NewBuffer(c.buf, mem.DefaultBufferPool())
	c.buf = nil
	return c.message(blob)
}

// message sends a piece. The transport takes its memory over.
func (c *chunks) message(blob mem.Buffer) error {
	c.offered.Store(max(int64(time.Since(c.start)), 1))
	defer c.offered.Store(0)
	return c.stream.SendMsg(wire.SnapshotPiece(uint64(c.left), blob, c.version))
}

// waits is how long the message that was offered last has waited for the client.
func (c *chunks) waits() time.Duration {
	if at := c.offered.Load(); at > 0 {
		return time.Since(c.start) - time.Duration(at)
	}
	return 0
}
