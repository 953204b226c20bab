package transport

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// gRPC's flag before each message.
const (
	flagPlain      = 0
	flagCompressed = 1
)

// receive decodes the next message into v. A call that asks once must then have said all it had to say. Who is told of
// an error has nothing more to say: the client hears it at once.
func (k *call) receive(v any) error {
	err := k.receiveOne(v)
	if err == nil && k.method.asksOnce {
		err = k.receiveEnd()
	}
	if errors.Is(err, io.EOF) && k.method.asksOnce && !k.asked {
		err = status.Error(codes.Internal, "cardinality violation: received no request message from non-client-streaming RPC")
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = asRPCError(err)
		k.finish(status.Convert(err), false)
	}
	return err
}

func (k *call) receiveOne(v any) error {
	flag, message, err := k.next()
	if err != nil {
		return err
	}
	if flag != flagPlain {
		if message, err = k.unpack(flag, message); err != nil {
			return err
		}
	}
	defer message.Free()
	k.asked = true
	if err := k.conn.server.o.Codec.Unmarshal(message, v); err != nil {
		return status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", err)
	}
	return nil
}

// receiveEnd wants the client to have nothing more to say.
func (k *call) receiveEnd() error {
	_, message, err := k.next()
	message.Free()
	switch {
	case err == nil:
		return status.Error(codes.Internal, "cardinality violation: received multiple request messages for non-client-streaming RPC")
	case errors.Is(err, io.EOF):
		return nil
	}
	return err
}

// next waits for a message and takes it.
func (k *call) next() (flag byte, message mem.BufferSlice, err error) {
	c := k.conn
	c.out.Lock()
	for !k.closed && !k.in.ready() {
		if k.canReceive == nil {
			k.canReceive = make(chan struct{}, 1)
		}
		c.out.Unlock()
		select {
		case <-k.canReceive:
		case <-k.Done():
		}
		c.out.Lock()
		if k.Err() != nil {
			break
		}
	}
	defer c.out.pushElsewhere()
	switch {
	case k.closed || k.Err() != nil && !k.in.ready():
		return 0, nil, k.ended()
	case k.in.tooLong():
		return 0, nil, status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", k.in.front-prefixBytes, k.in.max)
	}
	flag, message, err = k.in.take()
	k.giveCredit()
	return flag, message, err
}

// ended says why the call is over for its handler.
func (k *call) ended() error {
	if err := k.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	return status.FromContextError(context.Canceled).Err()
}

// unpack decompresses a message, which it frees.
func (k *call) unpack(flag byte, packed mem.BufferSlice) (mem.BufferSlice, error) {
	defer packed.Free()
	switch {
	case flag != flagCompressed:
		return nil, status.Errorf(codes.Internal, "grpc: received unexpected payload format %d", flag)
	case k.compressor == nil:
		return nil, status.Error(codes.Internal, "grpc: compressed flag set with identity or empty encoding")
	}
	from := packed.Reader()
	defer from.Close()
	unpacked, err := k.compressor.Decompress(from)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: failed to decompress the message: %v", err)
	}
	if closer, ok := unpacked.(io.Closer); ok {
		defer closer.Close()
	}
	out, err := mem.ReadAll(io.LimitReader(unpacked, int64(k.in.max)+1), mem.DefaultBufferPool())
	if err != nil {
		out.Free()
		return nil, status.Errorf(codes.Internal, "grpc: failed to read decompressed data: %v", err)
	}
	if out.Len() > k.in.max {
		out.Free()
		return nil, status.Errorf(codes.ResourceExhausted, "grpc: received message after decompression larger than max %d", k.in.max)
	}
	return out, nil
}

// pack compresses a message if the call does so.
func (k *call) pack(plain mem.BufferSlice, with encoding.Compressor) (byte, mem.BufferSlice, error) {
	if with == nil || plain.Len() == 0 {
		plain.Ref()
		return flagPlain, plain, nil
	}
	var out mem.BufferSlice
	to, err := with.Compress(mem.NewWriter(&out, mem.DefaultBufferPool()))
	for _, b := range plain {
		if err == nil {
			_, err = to.Write(b.ReadOnlyData())
		}
	}
	if err == nil {
		err = to.Close()
	}
	if err != nil {
		out.Free()
		return 0, nil, status.Errorf(codes.Internal, "grpc: error while compressing: %v", err)
	}
	return flagCompressed, out, nil
}
