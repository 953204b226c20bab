package transport

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// How fields are encoded: as RFC 7541 says for literals that no table keeps. The numbers are those of its static
// table; what has none is spelled out. So no header depends on another one.
const (
	indexedStatus200  = 0x88 // :status: 200, all of it
	nameStatus        = 8
	nameContentType   = 31
	literal           = 0x00
	fourBits          = 0x0f
	sevenBits         = 0x7f
	shrinkTo0         = 0x20 // "our table has no room"
	fieldOverhead     = 32   // what HTTP/2 counts for a field beside its letters
	detailsField      = "grpc-status-details-bin"
	encodingsField    = "grpc-accept-encoding"
	compressionByName = "gzip" // the encoding that we offer where it is built in
)

// usualHeader and usualTrailer are those of almost every call.
var (
	usualHeader  = appendKnown([]byte{indexedStatus200}, nameContentType, baseContentType)
	usualTrailer = appendField(nil, "grpc-status", "0")
)

// block is a header under construction.
type block struct {
	b    []byte
	size int // as HTTP/2 counts it
}

func (l *block) add(name, value string) {
	l.b = appendField(l.b, name, value)
	l.size += len(name) + len(value) + fieldOverhead
}

// start begins a response.
func (l *block) start(code int, contentType string) {
	if code == 200 {
		l.b = append(l.b, indexedStatus200)
	} else {
		l.b = appendKnown(l.b, nameStatus, strconv.Itoa(code))
	}
	l.b = appendKnown(l.b, nameContentType, contentType)
	l.size += len(":status200content-type") + len(contentType) + 2*fieldOverhead
}

// addAll adds what a handler wants sent, but not what is HTTP/2's or gRPC's own, and nothing that would break a header.
func (l *block) addAll(md metadata.MD) {
	for name, values := range md {
		if reserved(name) || !validKey(name) {
			continue
		}
		for _, v := range values {
			if isBinary(name) {
				v = base64.RawStdEncoding.EncodeToString([]byte(v))
			}
			if printable(v) {
				l.add(name, v)
			}
		}
	}
}

// appendHeader appends the response's header. If the client does not take one so long, the stream ends. The lock
// is held.
func (k *call) appendHeader() error {
	k.headerSent = true
	if len(k.header) == 0 && k.request.subtype == "" && k.sendEncoding == "" {
		k.appendBlock(usualHeader, 0)
		return nil
	}
	var l block
	l.start(200, k.contentType())
	if k.sendEncoding != "" {
		l.add("grpc-encoding", k.sendEncoding)
	}
	l.addAll(k.header)
	if l.size > int(k.conn.maxHeaderList) {
		k.conn.resetStream(k.id, http2.ErrCodeInternal, k)
		return errHeaderTooLong
	}
	k.appendBlock(l.b, 0)
	return nil
}

// appendTrailer appends the end of the response, which is all of it if no header was sent; code is its HTTP status, or
// 0 for the usual one. It reports whether the client takes one so long. The lock is held.
func (k *call) appendTrailer(st *status.Status, code int) bool {
	if st.Code() == 0 && k.headerSent && len(k.trailer) == 0 {
		k.appendBlock(usualTrailer, http2.FlagHeadersEndStream)
		return true
	}
	var l block
	if !k.headerSent {
		if code == 0 {
			code = 200
		}
		k.headerSent = true
		l.start(code, k.contentType())
	}
	l.add("grpc-status", strconv.Itoa(int(st.Code())))
	l.add("grpc-message", percentEncode(st.Message()))
	if p := st.Proto(); len(p.GetDetails()) > 0 {
		if b, err := proto.Marshal(p); err == nil {
			delete(k.trailer, detailsField) // a handler's own would say it twice
			l.add(detailsField, base64.RawStdEncoding.EncodeToString(b))
		}
	}
	l.addAll(k.trailer)
	if l.size > int(k.conn.maxHeaderList) {
		return false
	}
	k.appendBlock(l.b, http2.FlagHeadersEndStream)
	return true
}

func (k *call) contentType() string {
	if k.request.subtype == "" {
		return baseContentType
	}
	return baseContentType + "+" + k.request.subtype
}

// appendBlock appends a header in as many frames as it takes. The lock is held.
func (k *call) appendBlock(b []byte, flags http2.Flags) {
	c := k.conn
	if c.shrinkTable {
		c.shrinkTable = false
		b = append([]byte{shrinkTo0}, b...)
	}
	kind := http2.FrameHeaders
	for more := true; more; kind, flags = http2.FrameContinuation, 0 {
		n := min(len(b), maxFrameBytes)
		if more = n < len(b); !more {
			flags |= http2.FlagHeadersEndHeaders
		}
		c.out.reserve(frameHeaderBytes + n)
		c.out.pending = append(appendFrameHeader(c.out.pending, n, kind, flags, k.id), b[:n]...)
		b = b[n:]
	}
	c.sent = true
}

// offerEncodings tells a client that used another encoding which one we know.
func (k *call) offerEncodings() {
	if encoding.GetCompressor(compressionByName) != nil {
		k.trailer = metadata.Pairs(encodingsField, compressionByName)
	}
}

// appendKnown appends a field whose name has a number.
func appendKnown(b []byte, name int, value string) []byte {
	return appendString(appendInt(append(b, literal), fourBits, name), value)
}

func appendField(b []byte, name, value string) []byte {
	return appendString(appendString(append(b, literal), name), value)
}

func appendString(b []byte, s string) []byte {
	return append(appendInt(append(b, 0), sevenBits, len(s)), s...)
}

// appendInt writes a number into the low bits of the last byte, and what does not fit there behind it.
func appendInt(b []byte, mask byte, n int) []byte {
	last := len(b) - 1
	if n < int(mask) {
		b[last] |= byte(n)
		return b
	}
	b[last] |= mask
	for n -= int(mask); n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// reserved reports whether a field is HTTP/2's or gRPC's own.
func reserved(name string) bool {
	switch name {
	case "content-type", "user-agent", "grpc-message-type", "grpc-encoding", "grpc-message", "grpc-status", "grpc-timeout", "te":
		return true
	}
	return strings.HasPrefix(name, ":")
}

// validKey reports whether gRPC lets a field be called so.
func validKey(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_') {
			return name[0] == ':'
		}
	}
	return name != ""
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// isBinary reports whether a field's value is sent in base 64.
func isBinary(name string) bool { return strings.HasSuffix(name, "-bin") }

// decodeBinary reads base 64 with padding or without.
func decodeBinary(s string) ([]byte, error) {
	if len(s)%4 == 0 {
		return base64.StdEncoding.DecodeString(s)
	}
	return base64.RawStdEncoding.DecodeString(s)
}

// percentEncode encodes a status message for its field: what is no printable ASCII, and the sign itself.
func percentEncode(s string) string {
	if printable(s) && !strings.Contains(s, "%") {
		return s
	}
	var out strings.Builder
	for _, r := range s { // what is no UTF-8 comes as the sign for that
		if r < utf8.RuneSelf && printable(string(r)) && r != '%' {
			out.WriteByte(byte(r))
			continue
		}
		for _, b := range []byte(string(r)) {
			fmt.Fprintf(&out, "%%%02X", b)
		}
	}
	return out.String()
}
