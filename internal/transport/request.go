package transport

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// maxHeaderListBytes is the size of the largest header that a call may have, counted as HTTP/2 does.
	maxHeaderListBytes = 1 << 20
	// maxContinuations is how many frames may follow the first one of a header.
	maxContinuations = maxHeaderListBytes/maxFrameBytes + 16
	// defaultTableBytes is the size of the table of header compression that HTTP/2 begins with.
	defaultTableBytes = 4096
	// priorityBytes is the length of the priority that a HEADERS frame may begin with.
	priorityBytes = 5
)

// request is what a call's header says.
type request struct {
	method, scheme, path string
	authorities, hosts   int // how many there were
	contentType          string
	isGRPC               bool
	subtype              string // of the content type
	encoding             string
	timeout              time.Duration
	timed                bool
	length               int64 // that the header promises, less what has come; negative for no promise
	fields               []hpack.HeaderField

	tooLarge  bool
	malformed bool   // as HTTP/2 sees it
	complaint string // as gRPC sees it; "" for none
}

// requestReader decodes headers. It belongs to the reader of a connection.
type requestReader struct {
	decoder *hpack.Decoder
	to      *request
	left    int  // bytes that the header may still have
	regular bool // a field was seen that is no pseudo-header
	seen    uint8
	buf     []byte
}

// Pseudo-headers, each of which may come once.
const (
	sawMethod = 1 << iota
	sawScheme
	sawPath
	sawAuthority
)

func (r *requestReader) init() {
	r.decoder = hpack.NewDecoder(defaultTableBytes, r.field)
	r.decoder.SetMaxStringLength(maxHeaderListBytes)
}

// read decodes the header that begins with a frame into a request. It reads it whole even if it is no good: the
// decoder must see all of it.
func (r *requestReader) read(framer *http2.Framer, in io.Reader, head http2.FrameHeader, to *request) error {
	r.to, r.left, r.regular, r.seen = to, maxHeaderListBytes, false, 0
	r.decoder.SetEmitEnabled(true)
	block, err := r.fragment(in, head)
	if err != nil {
		return err
	}
	stream := head.StreamID
	for frames := 0; ; frames++ {
		if _, err := r.decoder.Write(block); err != nil {
			return connError{http2.ErrCodeCompression, "malformed header"}
		}
		if head.Flags.Has(http2.FlagHeadersEndHeaders) {
			break
		}
		if frames == maxContinuations {
			return connError{http2.ErrCodeEnhanceYourCalm, "header of too many frames"}
		}
		// The framer lets nothing but a CONTINUATION of the same stream through.
		if head, err = framer.ReadFrameHeader(); err != nil {
			return readError(err)
		}
		if block, err = r.payload(in, int(head.Length)); err != nil {
			return err
		}
	}
	if r.decoder.Close() != nil {
		return connError{http2.ErrCodeCompression, "incomplete header"}
	}
	if to.malformed {
		return streamError{stream, http2.ErrCodeProtocol}
	}
	return nil
}

func (r *requestReader) payload(in io.Reader, n int) ([]byte, error) {
	if cap(r.buf) < n {
		r.buf = make([]byte, max(n, minBuffer))
	}
	_, err := io.ReadFull(in, r.buf[:n])
	return r.buf[:n], err
}

// fragment reads what a HEADERS frame has of the header, without padding and priority.
func (r *requestReader) fragment(in io.Reader, head http2.FrameHeader) ([]byte, error) {
	b, err := r.payload(in, int(head.Length))
	if err != nil {
		return nil, err
	}
	padding := 0
	if head.Flags.Has(http2.FlagHeadersPadded) {
		if len(b) == 0 {
			return nil, connError{http2.ErrCodeFrameSize, "no room for the length of the padding"}
		}
		padding, b = int(b[0]), b[1:]
	}
	if head.Flags.Has(http2.FlagHeadersPriority) {
		if len(b) < priorityBytes {
			return nil, connError{http2.ErrCodeFrameSize, "no room for the priority"}
		}
		const exclusive = 1 << 31 // the bit before the stream that it depends on
		if binary.BigEndian.Uint32(b)&^exclusive == head.StreamID {
			r.to.malformed = true // it would depend on itself
		}
		b = b[priorityBytes:]
	}
	if len(b) < padding {
		return nil, protocolError("more padding than frame")
	}
	return b[:len(b)-padding], nil
}

// field takes one field of a header.
func (r *requestReader) field(f hpack.HeaderField) {
	q := r.to
	if r.left -= int(f.Size()); r.left < 0 {
		q.tooLarge = true
		q.fields = nil
		r.decoder.SetEmitEnabled(false)
		return
	}
	if !httpguts.ValidHeaderFieldValue(f.Value) {
		q.malformed = true
		return
	}
	if f.IsPseudo() {
		q.malformed = q.malformed || r.regular || !r.pseudo(f)
		return
	}
	r.regular = true
	if !validName(f.Name) {
		q.malformed = true
		return
	}
	q.regular(f)
}

// pseudo takes a pseudo-header and reports whether it may be there.
func (r *requestReader) pseudo(f hpack.HeaderField) bool {
	var which uint8
	q := r.to
	switch f.Name {
	case ":method":
		which, q.method = sawMethod, f.Value
	case ":scheme":
		which, q.scheme = sawScheme, f.Value
	case ":path":
		which, q.path = sawPath, f.Value
	case ":authority":
		which = sawAuthority
		q.authorities++
		q.fields = append(q.fields, f)
	default:
		return false
	}
	again := r.seen&which != 0
	r.seen |= which
	return !again || which == sawAuthority // gRPC has an answer of its own to two authorities
}

// regular takes a field that is no pseudo-header.
func (q *request) regular(f hpack.HeaderField) {
	switch f.Name {
	case "content-type":
		subtype, ok := subtypeOf(f.Value)
		if !ok {
			q.contentType = f.Value
			return
		}
		q.isGRPC, q.subtype = true, subtype
		q.fields = append(q.fields, f)
	case "grpc-encoding":
		q.encoding = f.Value
	case "grpc-timeout":
		q.timed = true
		var err error
		if q.timeout, err = parseTimeout(f.Value); err != nil {
			q.complaint = "malformed grpc-timeout: " + err.Error()
		}
	case "te":
		q.malformed = q.malformed || f.Value != "trailers"
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		q.malformed = true
	case "content-length":
		n, err := strconv.ParseInt(f.Value, 10, 64)
		q.malformed = q.malformed || err != nil || n < 0
		q.length = n
		q.fields = append(q.fields, f)
	case "host":
		q.hosts++
		q.fields = append(q.fields, f)
	case "grpc-message-type", "grpc-message", "grpc-status":
		// these are gRPC's own, and mean nothing in a request
	default:
		q.metadata(f)
	}
}

// metadata takes a field that is the caller's.
func (q *request) metadata(f hpack.HeaderField) {
	if isBinary(f.Name) {
		v, err := decodeBinary(f.Value)
		if err != nil {
			q.complaint = fmt.Sprintf("malformed binary metadata %q in header %q: %v", f.Value, f.Name, err)
			return
		}
		f.Value = string(v)
	}
	q.fields = append(q.fields, f)
}

// baseContentType is what the content type of every call of gRPC begins with.
const baseContentType = "application/grpc"

// subtypeOf is what a content type of gRPC says after its base.
func subtypeOf(contentType string) (string, bool) {
	rest, ok := strings.CutPrefix(contentType, baseContentType)
	if !ok || rest == "" {
		return "", ok
	}
	return rest[1:], rest[0] == '+' || rest[0] == ';'
}

// validName reports whether a header's name is one in HTTP/2, which knows no capital letters.
func validName(name string) bool {
	if name == "" {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c >= 'A' && c <= 'Z' || !httpguts.IsTokenRune(rune(c)) {
			return false
		}
	}
	return true
}

// maxTimeoutBytes is how long gRPC's notation of a timeout may be: eight digits and a unit.
const maxTimeoutBytes = 9

// parseTimeout reads gRPC's notation of a timeout. What does not fit a duration is cut.
func parseTimeout(s string) (time.Duration, error) {
	switch {
	case len(s) < 2:
		return 0, fmt.Errorf("transport: timeout string is too short: %q", s)
	case len(s) > maxTimeoutBytes:
		return 0, fmt.Errorf("transport: timeout string is too long: %q", s)
	}
	var unit time.Duration
	switch s[len(s)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, fmt.Errorf("transport: timeout unit is not recognized: %q", s)
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 64)
	if err != nil {
		return 0, err
	}
	const longest = time.Duration(1<<63 - 1)
	if n > uint64(longest/unit) {
		return longest, nil
	}
	return time.Duration(n) * unit, nil
}
