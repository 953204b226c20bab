package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// received is a transport that keeps what it gets.
type received struct {
	writes          [][]byte
	messages, bytes int
	err             error
}

func (r *received) burst() Burst {
	write := func(data mem.BufferSlice) error {
		r.writes = append(r.writes, data.Materialize())
		return r.err
	}
	return NewBurst(write, func(messages, bytes int) { r.messages += messages; r.bytes += bytes }, NewBurstPool())
}

// split takes gRPC's prefixes off.
func split(t *testing.T, stream []byte) (messages [][]byte) {
	t.Helper()
	for len(stream) > 0 {
		if len(stream) < grpcPrefixBytes || stream[0] != 0 {
			t.Fatalf("no prefix of a plain message: %x", stream[:min(len(stream), 8)])
		}
		end := grpcPrefixBytes + int(binary.BigEndian.Uint32(stream[1:]))
		if end > len(stream) {
			t.Fatalf("a message of %d bytes ends after %d", end, len(stream))
		}
		messages, stream = append(messages, stream[grpcPrefixBytes:end]), stream[end:]
	}
	return messages
}

func TestBurstsCarryEveryMessageInOrder(t *testing.T) {
	var to received
	b := to.burst()
	var want [][]byte
	total := 0
	for i := range 300 { // of about 2 KiB: several bursts, the last of which is small
		m := bytes.Repeat([]byte{byte(i)}, 1+(i*977)%burstMessageBytes)
		if i == 299 {
			m = []byte("last")
		}
		want = append(want, m)
		total += len(m)
		buf, err := b.Begin(len(m))
		if err != nil {
			t.Fatal(err)
		}
		*buf = append(*buf, m...)
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	writes := len(to.writes)
	if err := b.Flush(); err != nil || len(to.writes) != writes {
		t.Fatalf("an empty burst was sent: %v", err)
	}
	b.Release()
	got := split(t, bytes.Join(to.writes, nil))
	if len(got) != len(want) || !bytes.Equal(bytes.Join(got, []byte{'|'}), bytes.Join(want, []byte{'|'})) {
		t.Fatalf("%d messages arrive, not the %d that were sent", len(got), len(want))
	}
	if to.messages != len(want) || to.bytes != total {
		t.Fatalf("counted %d messages of %d bytes, want %d of %d", to.messages, to.bytes, len(want), total)
	}
	for i, w := range to.writes {
		if len(w) > burstBytes {
			t.Errorf("burst %d has %d bytes", i, len(w))
		}
	}
	if writes < total/burstBytes || writes > 2*total/burstBytes {
		t.Errorf("%d bursts for %d bytes", writes, total)
	}
}

func TestABurstThatFailsIsNotCounted(t *testing.T) {
	to := received{err: errors.New("gone")}
	b := to.burst()
	buf, err := b.Begin(1)
	if err != nil {
		t.Fatal(err)
	}
	*buf = append(*buf, 'x')
	if err := b.Flush(); !errors.Is(err, to.err) {
		t.Fatalf("flush says %v", err)
	}
	if to.messages != 0 {
		t.Errorf("%d messages counted", to.messages)
	}
	b.Release()
}

// callStream is what gRPC knows of a call, in shapes that it might have one day.
type callStream struct{ compressor string }

func (callStream) Method() string               { return "/m" }
func (callStream) SetHeader(metadata.MD) error  { return nil }
func (callStream) SendHeader(metadata.MD) error { return nil }
func (callStream) SetTrailer(metadata.MD) error { return nil }
func (s callStream) SendCompress() string       { return s.compressor }

type writingStream struct{ callStream }

func (writingStream) Write([]byte, mem.BufferSlice, *struct{}) error {
	return errors.New("broken pipe")
}

type otherWritingStream struct{ callStream }

func (otherWritingStream) Write([]byte, mem.BufferSlice) error { return nil }

// ownStream is what our own transport offers.
type ownStream struct{ callStream }

func (ownStream) WriteMessages(mem.BufferSlice) error {
	return status.Error(codes.Unavailable, "transport is closing")
}

func TestBurstsNeedATransportThatTheyKnow(t *testing.T) {
	for name, s := range map[string]grpc.ServerTransportStream{
		"none":                nil,
		"no write":            callStream{},
		"other write":         otherWritingStream{},
		"compressed":          writingStream{callStream{compressor: "gzip"}},
		"as we know it":       writingStream{},
		"our own":             ownStream{},
		"our own, compressed": ownStream{callStream{compressor: "gzip"}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			if s != nil {
				ctx = grpc.NewContextWithServerTransportStream(ctx, s)
			}
			write := TransportOf(ctx)
			b := NewBurst(write, nil, nil)
			if known := name == "as we know it" || name == "our own"; (write != nil) != known || b.Takes(1) != known {
				t.Fatalf("known: %v, taken: %v", write != nil, b.Takes(1))
			}
			if write == nil {
				return
			}
			if err := write(nil); status.Code(err) != codes.Unavailable {
				t.Errorf("a broken connection is told as %v", err)
			}
		})
	}
}
