package wire

import (
	"context"
	"encoding/binary"
	"reflect"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

const (
	// burstBytes is how many bytes of messages go to the transport at once, at most. gRPC lets a stream have as
	// many under way before it makes the sender wait.
	burstBytes = 64 << 10
	// burstMessageBytes is the size in bytes up to which a message is copied into a burst. A larger one goes
	// alone, because then the cost of sending is in its bytes.
	burstMessageBytes = 4 << 10
	// grpcPrefixBytes is the length of what gRPC puts before each message: a flag and four bytes of length.
	grpcPrefixBytes = 5
)

// Burst collects messages for one stream and sends them in one piece. Handing each message to gRPC costs
// about as much as all the rest of a watch event: five allocations, a queue, a wake-up and an HTTP/2 frame of
// its own. On the wire a burst is what single messages are: the frames of HTTP/2 mean nothing to gRPC. It belongs
// to the goroutine that sends on the stream.
type Burst struct {
	write TransportWrite // nil where every message is sent on its own
	sent  func(messages, bytes int)
	pool  mem.BufferPool

	buf      *[]byte // of burstBytes from the pool, or nil
	messages int
}

// NewBurst is an empty burst of a stream. A nil write makes one that takes nothing. sent hears of each burst that
// has left how many messages were in it and how many bytes they had, without gRPC's prefixes. The pool comes from
// NewBurstPool and is shared by all streams.
func NewBurst(write TransportWrite, sent func(messages, bytes int), pool mem.BufferPool) Burst {
	return Burst{write: write, sent: sent, pool: pool}
}

// NewBurstPool is a pool of whole bursts and of small ones.
func NewBurstPool() mem.BufferPool {
	return mem.NewTieredBufferPool(burstBytes/64, burstBytes/16, burstBytes/4, burstBytes)
}

// Takes says whether a message of size bytes can be part of a burst.
func (b *Burst) Takes(size int) bool { return b.write != nil && size <= burstMessageBytes }

// Begin writes the prefix of a message and returns the buffer that the message itself, of exactly size bytes,
// is to be appended to. What is in the burst already is sent first if it leaves no room.
func (b *Burst) Begin(size int) (*[]byte, error) {
	if b.buf != nil && len(*b.buf)+grpcPrefixBytes+size > burstBytes {
		if err := b.Flush(); err != nil {
			return nil, err
		}
	}
	if b.buf == nil {
		b.buf = b.pool.Get(burstBytes)
		*b.buf = (*b.buf)[:0]
	}
	b.messages++
	*b.buf = binary.BigEndian.AppendUint32(append(*b.buf, 0), uint32(size)) // the flag says: not compressed
	return b.buf, nil
}

// Flush sends what was collected.
func (b *Burst) Flush() error {
	if b.messages == 0 {
		return nil
	}
	bytes, messages := len(*b.buf), b.messages
	b.messages = 0
	var data mem.Buffer
	if bytes > burstBytes/4 {
		data, b.buf = mem.NewBuffer(b.buf, b.pool), nil
	} else {
		// The transport counts bytes, not buffers, when it makes a sender wait for a slow client: it must not
		// come to hold many that are almost empty.
		data = mem.Copy(*b.buf, b.pool)
		*b.buf = (*b.buf)[:0]
	}
	err := b.write(mem.BufferSlice{data})
	data.Free() // the transport has its own reference
	if err == nil {
		b.sent(messages, bytes-messages*grpcPrefixBytes)
	}
	return err
}

// Release gives back what the burst holds between two turns of a stream, which may be far apart.
func (b *Burst) Release() {
	if b.buf != nil {
		b.pool.Put(b.buf)
		b.buf, b.messages = nil, 0
	}
}

// TransportWrite puts bytes behind what a stream has sent so far: whole messages, each with gRPC's prefix. It waits
// while too much is under way. The references of its argument stay with the caller.
type TransportWrite func(mem.BufferSlice) error

// TransportOf is the way past gRPC's framing to the transport of the call that ctx belongs to, or nil if there
// is none. Our own transport offers it. The stream of gRPC's has such a method too, but one of its parameters, which the
// server side leaves unused, has a type that only gRPC can name; hence the reflection. It costs nothing beside a burst, and where
// gRPC turns out to be another than we know, every message is sent on its own instead. What gRPC would do with
// a message on the way is counted here, and otherwise not needed: compression, tracing and binary logs.
func TransportOf(ctx context.Context) TransportWrite {
	stream := grpc.ServerTransportStreamFromContext(ctx)
	if stream == nil {
		return nil
	}
	if s, ok := stream.(interface{ SendCompress() string }); !ok || s.SendCompress() != "" {
		return nil // the bytes would have to be compressed here
	}
	if s, ok := stream.(interface{ WriteMessages(mem.BufferSlice) error }); ok {
		return s.WriteMessages
	}
	return reflectedWrite(stream)
}

// reflectedWrite is the method of gRPC's own transport.
func reflectedWrite(stream grpc.ServerTransportStream) TransportWrite {
	method := reflect.ValueOf(stream).MethodByName("Write")
	if !method.IsValid() {
		return nil
	}
	t := method.Type() // func(header []byte, data mem.BufferSlice, options *unnameable) error
	if t.NumIn() != 3 || t.In(0) != reflect.TypeFor[[]byte]() || t.In(1) != reflect.TypeFor[mem.BufferSlice]() ||
		t.In(2).Kind() != reflect.Pointer || t.NumOut() != 1 || t.Out(0) != reflect.TypeFor[error]() {
		return nil
	}
	args := [3]reflect.Value{reflect.Zero(t.In(0)), {}, reflect.Zero(t.In(2))}
	return func(data mem.BufferSlice) error {
		args[1] = reflect.ValueOf(data)
		err, _ := method.Call(args[:])[0].Interface().(error)
		if _, ok := status.FromError(err); !ok { // as gRPC makes of a broken connection
			err = status.Error(codes.Unavailable, err.Error())
		}
		return err
	}
}
