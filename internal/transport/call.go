package transport

import (
	"context"
	"sync"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
)

const (
	// inlineBytes is the size in bytes up to which a call's first data lies in the call itself.
	inlineBytes = 384
	// inlineFields is how many fields of a header lie in the call itself.
	inlineFields = 8
)

// call is one call: its stream, its context and what it has received. It is one piece of memory, which is
// never used again, because handlers may keep the context. As a context it answers what gRPC's packages ask for.
type call struct {
	context.Context
	cancel context.CancelFunc
	conn   *conn
	id     uint32
	method *method

	request      request
	compressor   encoding.Compressor // nil where nothing is compressed
	sendEncoding string              // "" where nothing is

	// The connection's lock guards what follows.

	in         inbound
	sendWindow int64
	started    bool // the handler was called
	returned   bool // it has returned
	closed     bool // the stream has ended
	headerSent bool
	header     metadata.MD
	trailer    metadata.MD
	queued     bool          // it is among output.blocked
	canSend    chan struct{} // has room for one; nil until somebody waits
	canReceive chan struct{} // likewise

	asked  bool // the one message of a call that asks once was taken
	stream stream

	once     sync.Once // makes incoming
	incoming metadata.MD

	fields     [inlineFields]hpack.HeaderField
	first      mem.SliceBuffer
	inline     [inlineBytes]byte
	inlineUsed bool
}

func newCall(c *conn, id uint32) *call {
	k := &call{conn: c, id: id}
	k.request.fields = k.fields[:0]
	k.request.length = -1
	k.in.window, k.in.max = streamWindow, c.server.o.MaxRecvBytes
	k.stream.call = k
	return k
}

// Value implements context.Context.
func (k *call) Value(key any) any {
	switch keys := &k.conn.server.keys; key {
	case keys.metadata:
		return k.metadata()
	case keys.stream:
		return k
	case keys.peer:
		return &k.conn.peer
	}
	return k.Context.Value(key)
}

// serve answers the call. It runs on a worker.
func (k *call) serve() {
	if k.method.stream != nil {
		k.finish(asStatus(k.method.stream(k.method.impl, &k.stream)), true)
		return
	}
	reply, err := k.method.unary(k.method.impl, k, k.receive, nil)
	if err == nil {
		err = k.reply(reply, true)
	}
	if err != nil {
		k.finish(asStatus(err), true)
	}
	k.cancel()
}

// wakeSender tells who waits to send that it may go on. The lock is held.
func (k *call) wakeSender() { wake(k.canSend) }

// wakeReceiver is the same for who waits for a message.
func (k *call) wakeReceiver() { wake(k.canReceive) }

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // nobody waits, or it was woken already
	}
}

// giveCredit tells the client how much more it may send. The lock is held.
func (k *call) giveCredit() {
	if more := k.in.credit(); more > 0 && !k.closed && k.conn.out.err == nil {
		_ = k.conn.framer.WriteWindowUpdate(k.id, uint32(more))
	}
}
