package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	// grpcSlackBytes is how much larger than the largest request a gRPC message may be, in bytes.
	grpcSlackBytes = 512 << 10

	// jsonPerByte is how many bytes of JSON may stand for one byte of a message. Base64 needs 1.34; the
	// names of fields in a transaction of many small operations need the rest.
	jsonPerByte = 4

	// jsonSlackBytes is how much JSON may come with a message besides that, in bytes.
	jsonSlackBytes = 1 << 20

	// bodyTimeout is how long a client may take to send the body of a request that is one message.
	bodyTimeout = 5 * time.Minute
)

// bodyKey finds the jsonBody of a request in its context.
type bodyKey struct{}

// jsonBody is the body of one request as the gateway reads it: bounded, and with a memory of what was wrong
// with it. Where both sides converse the bound is for each message, otherwise for the whole.
type jsonBody struct {
	io.ReadCloser
	converses bool
	limit     int64 // bytes
	cancel    func()
	arrived   func()        // called at the end of the body; may be nil
	over      chan struct{} // closed when the request was answered

	left int64 // bytes of limit; whoever reads the body has it, one reader after another

	mu    sync.Mutex // guards fault
	fault error      // what is wrong with the body; nil if nothing
}

func (g *gateway) bodyOf(r *http.Request, cancel func()) *jsonBody {
	return &jsonBody{
		ReadCloser: r.Body, converses: g.conversing[r.URL.Path], cancel: cancel,
		limit: g.bodyBytes, left: g.bodyBytes, over: make(chan struct{}),
	}
}

// hurry sets the time until which the body must have come. At its end the deadline is lifted: from then on
// net/http reads to learn whether the client is still there.
func (b *jsonBody) hurry(control *http.ResponseController) {
	if control.SetReadDeadline(time.Now().Add(bodyTimeout)) != nil {
		return // there is no connection of which to say so
	}
	b.arrived = func() { _ = control.SetReadDeadline(time.Time{}) }
}

// take reads the whole body of a conversation in which the client says at the outset how much it will say.
func (b *jsonBody) take() {
	all, err := io.ReadAll(b)
	if err != nil {
		_ = b.fail(status.Error(codes.InvalidArgument, err.Error())) // found before anything is answered
	}
	b.ReadCloser = io.NopCloser(bytes.NewReader(all))
}

// converse lets the client go on asking while it is answered, and returns what is to be done at the end. Such
// a connection serves nothing else afterwards: whether its client still says something is not known.
func (b *jsonBody) converse(w http.ResponseWriter, r *http.Request, control *http.ResponseController) (over func()) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	// Where this cannot be switched on it need not be: only HTTP/1 of net/http waits for the end of a request
	// before it answers.
	_ = control.EnableFullDuplex()
	return func() {
		// It ends a request only when nobody reads its body any more, so whoever still waits is woken.
		_ = control.SetReadDeadline(time.Unix(1, 0)) // without a connection nobody waits for it
	}
}

// Read implements io.Reader.
func (b *jsonBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, b.fail(tooLarge(b.limit))
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if errors.Is(err, io.EOF) && b.arrived != nil {
		b.arrived()
		b.arrived = nil
	}
	return n, err
}

// fail remembers the first fault. A conversation is over with it; its answering side learns it that way.
func (b *jsonBody) fail(fault error) error {
	b.mu.Lock()
	if b.fault == nil {
		b.fault = fault
	}
	fault = b.fault
	b.mu.Unlock()
	if b.converses {
		b.cancel()
	}
	return fault
}

// ignore takes what cannot be read for the end of what a client has to say, as etcd does, and lets it go on
// hearing. It returns when the client has nothing more to send; if that is because it has gone, all is over.
func (b *jsonBody) ignore() {
	if _, err := io.Copy(io.Discard, b.ReadCloser); err != nil {
		b.cancel()
	}
}

// found is the fault, or nil.
func (b *jsonBody) found() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fault
}

// translator is how messages become JSON, and back.
type translator struct{ runtime.JSONPb }

// NewDecoder implements runtime.Marshaler.
func (t *translator) NewDecoder(r io.Reader) runtime.Decoder {
	body, ok := r.(*jsonBody)
	if !ok {
		return t.JSONPb.NewDecoder(r)
	}
	return &decoder{body: body, json: json.NewDecoder(body), options: t.UnmarshalOptions}
}

// decoder reads messages from a body.
type decoder struct {
	body    *jsonBody
	json    *json.Decoder
	options protojson.UnmarshalOptions
	begun   bool // a message was read
}

// Decode implements runtime.Decoder.
func (d *decoder) Decode(v any) error {
	if d.body.converses {
		d.body.left = d.body.limit
	}
	var text json.RawMessage
	err := d.json.Decode(&text)
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err == nil {
		err = d.options.Unmarshal(text, v.(proto.Message))
	}
	if err == nil {
		d.begun = true
		return nil
	}
	if d.begun && d.body.found() == nil {
		d.body.ignore()
		return io.EOF
	}
	err = d.body.fail(status.Error(codes.InvalidArgument, err.Error()))
	if d.body.converses {
		// The fault has ended the conversation. Whoever sends on it would end it as well, in good order, and the
		// client would hear of that if it were first.
		<-d.body.over
		return io.EOF
	}
	return err
}
