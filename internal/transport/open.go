package transport

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// maxAbandoned is how many calls of a connection may still run whose streams their client has reset. At more the
// connection is not read until some have ended, so that nobody makes work faster than it is done.
const maxAbandoned = 1024

// readHeaders reads a header. It opens a stream, or is a trailer.
func (c *conn) readHeaders(head http2.FrameHeader) error {
	if head.StreamID == 0 {
		return protocolError("HEADERS without a stream")
	}
	ended := head.Flags.Has(http2.FlagHeadersEndStream)
	if head.StreamID <= c.lastID { // only the reader writes lastID
		return c.readTrailer(head, ended)
	}
	if head.StreamID%2 == 0 {
		return protocolError("a client opens a stream of the server")
	}
	k := newCall(c, head.StreamID)
	fault := c.request.read(c.framer, c.in, head, &k.request)
	c.out.Lock()
	defer c.out.Unlock()
	c.lastID = head.StreamID
	if fault != nil {
		return fault
	}
	if c.lastAllowed > 0 {
		return nil // the client was told that no further stream is served
	}
	k.in.ended = ended
	return c.admit(k)
}

// readTrailer reads a header on a stream that was opened before. gRPC's clients send none, but they may.
func (c *conn) readTrailer(head http2.FrameHeader, ended bool) error {
	var fields request
	fields.length = -1
	if err := c.request.read(c.framer, c.in, head, &fields); err != nil {
		return err
	}
	c.out.Lock()
	k := c.calls[head.StreamID]
	gone := c.weLeft(head.StreamID)
	c.out.Unlock()
	switch {
	case k == nil && gone:
		return nil
	case k == nil:
		return connError{http2.ErrCodeStreamClosed, "HEADERS on a stream that has ended"}
	case k.in.ended:
		return streamError{head.StreamID, http2.ErrCodeStreamClosed}
	case !ended || c.request.seen != 0:
		return streamError{head.StreamID, http2.ErrCodeProtocol}
	}
	return c.deliver(k, mem.SliceBuffer(nil), 0, true)
}

// admit begins a call, or answers at once why it does not. The lock is held.
func (c *conn) admit(k *call) error {
	q := &k.request
	if !q.tooLarge && (c.request.seen&^sawAuthority != sawMethod|sawScheme|sawPath || q.path == "") {
		return streamError{k.id, http2.ErrCodeProtocol}
	}
	if k.in.ended && q.length > 0 {
		return streamError{k.id, http2.ErrCodeProtocol}
	}
	if st, code := c.judge(k); st != nil {
		c.abort(k, st, code)
		return nil
	}
	if c.open >= int(c.server.o.MaxConcurrentStreams) {
		return streamError{k.id, http2.ErrCodeRefusedStream}
	}
	if q.method != http.MethodPost {
		c.abort(k, status.Newf(codes.Internal, "Received a HEADERS frame with :method %q which should be POST", q.method), http.StatusMethodNotAllowed)
		return nil
	}
	if q.timed && q.timeout <= 0 {
		c.abort(k, status.New(codes.DeadlineExceeded, context.DeadlineExceeded.Error()), http.StatusOK)
		return nil
	}
	if k.method = c.server.methods.byPath[q.path]; k.method == nil {
		c.abort(k, c.server.methods.missing(q.path), http.StatusOK)
		return nil
	}
	if q.encoding != "" && q.encoding != encoding.Identity {
		if k.compressor = encoding.GetCompressor(q.encoding); k.compressor == nil {
			k.offerEncodings()
			c.abort(k, status.Newf(codes.Unimplemented, "grpc: Decompressor is not installed for grpc-encoding %q", q.encoding), http.StatusOK)
			return nil
		}
		k.sendEncoding = q.encoding
	}
	c.begin(k)
	return nil
}

// judge says what is wrong with a header in gRPC's eyes, and the HTTP status that goes with it; nil for nothing.
func (c *conn) judge(k *call) (*status.Status, int) {
	q := &k.request
	switch {
	case q.tooLarge:
		return status.Newf(codes.ResourceExhausted, "header list larger than max (%d bytes)", maxHeaderListBytes), http.StatusRequestHeaderFieldsTooLarge
	case q.authorities > 1 || q.hosts > 1:
		return status.New(codes.Internal, fmt.Sprintf("num values of :authority: %v, num values of host: %v, both must only have 1 value as per HTTP/2 spec",
			q.authorities, q.hosts)), http.StatusBadRequest
	case !q.isGRPC:
		return status.Newf(codes.InvalidArgument, "invalid gRPC request content-type %q", q.contentType), http.StatusUnsupportedMediaType
	case q.complaint != "":
		return status.New(codes.Internal, q.complaint), http.StatusBadRequest
	case q.authorities == 0 && q.hosts == 0:
		return status.New(codes.Internal, "no host or :authority header present"), http.StatusBadRequest
	}
	return nil, 0
}

// begin takes a call into the books. Its handler runs at once if it serves a stream, or else when the
// question is there. The lock is held.
func (c *conn) begin(k *call) {
	if q := &k.request; q.timed {
		k.Context, k.cancel = context.WithDeadline(context.Background(), time.Now().Add(q.timeout))
	} else {
		k.Context, k.cancel = context.WithCancel(context.Background())
	}
	k.sendWindow = c.initialWindow
	c.calls[k.id] = k
	c.recent = k
	c.open++
	if !k.method.asksOnce || k.in.ended {
		k.started = true
		c.server.workers.run(k)
	}
}

// abort answers a header that does not become a call. The lock is held.
func (c *conn) abort(k *call, st *status.Status, code int) {
	c.out.answer()
	if !k.appendTrailer(st, code) {
		c.resetStream(k.id, http2.ErrCodeInternal, nil)
		return
	}
	if !k.in.ended {
		_ = c.framer.WriteRSTStream(k.id, http2.ErrCodeNo)
		c.remember(k.id)
	}
}
