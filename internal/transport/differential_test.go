package transport_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip"

	"github.com/keelson-db/keelson/internal/transport"
)

// odd is a request that gRPC's server has an answer of its own to.
type odd struct {
	name    string
	path    string
	changes []string // of the usual header
	data    []byte
	open    bool // the client does not end the stream
}

func prefixed(flag byte, length int, b ...byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(length)), b...)
}

func oddRequests() []odd {
	const server, client = "/grpc.testing.TestService/StreamingOutputCall", "/grpc.testing.TestService/StreamingInputCall"
	two := append(message(3), message(3)...)
	return []odd{
		{name: "a usual one", path: unaryPath, data: message(10)},
		{name: "unknown service", path: "/no.such/Method"},
		{name: "unknown method", path: "/grpc.testing.TestService/No"},
		{name: "method with a slash", path: "/grpc.testing.TestService/No/Such"},
		{name: "path without slashes", path: "nothing"},
		{name: "path with one slash", path: "/nothing"},
		{name: "unknown service, stream left open", path: "/no.such/Method", open: true},
		{name: "GET", path: unaryPath, changes: []string{":method", "GET"}},
		{name: "no content type", path: unaryPath, changes: []string{"content-type", ""}},
		{name: "another content type", path: unaryPath, changes: []string{"content-type", "application/json"}},
		{name: "gRPC for the web", path: unaryPath, changes: []string{"content-type", "application/grpc-web"}},
		{name: "content type with a subtype", path: unaryPath, changes: []string{"content-type", "application/grpc+proto"}, data: message(1)},
		{name: "content type with an unknown subtype", path: unaryPath, changes: []string{"content-type", "application/grpc;unknown"}, data: message(1)},
		{name: "no authority", path: unaryPath, changes: []string{":authority", ""}},
		{name: "a host instead", path: unaryPath, changes: []string{":authority", "", "host", "h"}, data: message(1)},
		{name: "a host beside", path: unaryPath, changes: []string{"host", "h"}, data: message(1)},
		{name: "no te", path: unaryPath, changes: []string{"te", ""}, data: message(1)},
		{name: "timeout too short", path: unaryPath, changes: []string{"grpc-timeout", "S"}},
		{name: "timeout too long", path: unaryPath, changes: []string{"grpc-timeout", "123456789S"}},
		{name: "timeout without unit", path: unaryPath, changes: []string{"grpc-timeout", "10"}},
		{name: "timeout that is no number", path: unaryPath, changes: []string{"grpc-timeout", "-1S"}},
		{name: "timeout of nothing", path: unaryPath, changes: []string{"grpc-timeout", "0n"}},
		{name: "very long timeout", path: unaryPath, changes: []string{"grpc-timeout", "99999999H"}, data: message(1)},
		{name: "metadata that is no base 64", path: unaryPath, changes: []string{"a-bin", "***"}},
		{name: "padded base 64", path: unaryPath, changes: []string{"a-bin", "AQ=="}, data: message(1)},
		{name: "unknown encoding", path: unaryPath, changes: []string{"grpc-encoding", "lzma"}, data: message(1)},
		{name: "identity", path: unaryPath, changes: []string{"grpc-encoding", "identity"}, data: message(1)},
		{name: "compressed without encoding", path: unaryPath, data: prefixed(1, 1, 0)},
		{name: "compressed with identity", path: unaryPath, changes: []string{"grpc-encoding", "identity"}, data: prefixed(1, 1, 0)},
		{name: "compressed wrongly", path: unaryPath, changes: []string{"grpc-encoding", "gzip"}, data: prefixed(1, 1, 0)},
		{name: "plain though an encoding is named", path: unaryPath, changes: []string{"grpc-encoding", "gzip"}, data: message(0)},
		{name: "unknown flag", path: unaryPath, data: prefixed(7, 0)},
		{name: "no message", path: unaryPath},
		{name: "two messages", path: unaryPath, data: two},
		{name: "part of a prefix", path: unaryPath, data: []byte{0, 0}},
		{name: "part of a message", path: unaryPath, data: prefixed(0, 5, 1)},
		{name: "a message and a part", path: unaryPath, data: append(message(1), 0, 0)},
		{name: "a message that is none", path: unaryPath, data: prefixed(0, 1, 0xff)},
		{name: "a message too long", path: unaryPath, data: prefixed(0, 5000, 1), open: true},
		{name: "a message of 4 GiB", path: unaryPath, data: prefixed(0, 1<<32-1, 1), open: true},
		{name: "server stream: no message", path: server},
		{name: "server stream: two messages", path: server, data: two},
		{name: "server stream: one", path: server, data: message(0)},
		{name: "client stream: no message", path: client},
		{name: "client stream: part of one", path: client, data: prefixed(0, 5, 1)},
		{name: "client stream: too long", path: client, data: prefixed(0, 5000, 1), open: true},
		{name: "both: no message", path: fullPath},
		{name: "both: two messages", path: fullPath, data: two},
		{name: "both: part of one", path: fullPath, data: append(message(3), 0)},
	}
}

// said is all that a server says on a stream, in words.
func said(r *raw, id uint32) string {
	outcome := r.outcome(id)
	if a := r.got[id]; a != nil {
		if outcome = strings.ReplaceAll(outcome, "\u00a0", " "); a.ended && a.fields["grpc-message"] == "" {
			outcome = strings.TrimSpace(outcome)
		}
		var others []string
		for _, name := range slices.Sorted(maps.Keys(a.fields)) {
			switch name {
			case ":status", "grpc-status", "grpc-message", "grpc-accept-encoding":
			default:
				others = append(others, name+"="+a.fields[name])
			}
		}
		return fmt.Sprintf("%s %v %x", outcome, others, a.data)
	}
	return outcome
}

// TestOddRequestsAreAnsweredAsByGRPC says the same to gRPC's server and to ours.
func TestOddRequestsAreAnsweredAsByGRPC(t *testing.T) {
	s := func() *service { return &service{output: sendNothing} }
	theirs := start(t, grpc.NewServer(grpc.MaxRecvMsgSize(1000)), s())
	our := start(t, ours(transport.Options{MaxRecvBytes: 1000}), s())
	for _, c := range oddRequests() {
		t.Run(c.name, func(t *testing.T) {
			answers := map[string]string{}
			for name, address := range map[string]string{"theirs": theirs, "ours": our} {
				r := connect(t, address, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
				r.open(1, len(c.data) == 0 && !c.open, usual(c.path, c.changes...))
				if len(c.data) > 0 {
					r.must(r.framer.WriteData(1, !c.open, c.data))
				}
				answers[name] = said(r, 1)
			}
			if answers["ours"] != answers["theirs"] {
				t.Errorf("\nours:   %s\ntheirs: %s", answers["ours"], answers["theirs"])
			}
		})
	}
}
