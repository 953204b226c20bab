package compat

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/encoding/protojson"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/test/harness"
)

const (
	// maxBlob is the most bytes of one message of a snapshot.
	maxBlob = 32 << 10
	// boltMagic is the number at byte 16 of a bbolt file, in the machine's byte order.
	boltMagic = 0xED0CDAED
)

// snapshot takes a snapshot and writes what is true of its messages, whatever the size of the file.
func (s *teller) snapshot(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var messages []*pb.SnapshotResponse
	var text string
	if d.HasArg("via") {
		messages, text = s.snapshotJSON(t, d)
	} else {
		messages, text = s.snapshotGRPC(t, d)
	}
	if text != "" {
		return text
	}
	var all []byte
	for _, m := range messages {
		if len(m.Blob) > maxBlob || m.Header != nil {
			return fmt.Sprintf("a message of %d bytes with header %v", len(m.Blob), m.Header)
		}
		all = append(all, m.Blob...)
	}
	if len(messages) < 2 || len(messages[len(messages)-1].Blob) != sha256.Size {
		return fmt.Sprintf("%d messages without a sum of %d bytes at the end", len(messages), sha256.Size)
	}
	file, sum := all[:len(all)-sha256.Size], all[len(all)-sha256.Size:]
	left := len(file)
	for _, m := range messages[:len(messages)-1] {
		if left -= len(m.Blob); m.RemainingBytes != uint64(left) {
			return fmt.Sprintf("remaining_bytes %d where %d bytes are left", m.RemainingBytes, left)
		}
	}
	want := sha256.Sum256(file)
	last := messages[len(messages)-1]
	return fmt.Sprintf("bbolt %v, size mod 512 %d, sum right %v, last remaining %d, versions %q and %q\n",
		binary.NativeEndian.Uint32(file[16:]) == boltMagic, len(all)%512, bytes.Equal(sum, want[:]),
		last.RemainingBytes, messages[0].Version, last.Version)
}

// snapshotGRPC collects the messages, or says what came instead.
func (s *teller) snapshotGRPC(t *testing.T, d *datadriven.TestData) (messages []*pb.SnapshotResponse, failed string) {
	t.Helper()
	stream, err := pb.NewMaintenanceClient(s.conn).Snapshot(s.context(harness.Ctx(t), t, d), &pb.SnapshotRequest{})
	if err != nil {
		return nil, renderError(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return messages, ""
		}
		if err != nil {
			return nil, renderError(err)
		}
		messages = append(messages, m)
	}
}

// snapshotJSON is snapshotGRPC through the gateway: one frame for each message.
func (s *teller) snapshotJSON(t *testing.T, d *datadriven.TestData) (messages []*pb.SnapshotResponse, failed string) {
	t.Helper()
	code, _, text := s.ask(t, d, http.MethodPost, "/v3/maintenance/snapshot", "{}")
	if code != http.StatusOK {
		return nil, fmt.Sprintf("%d %s", code, plainJSON(text))
	}
	for line := range strings.Lines(text) {
		var frame struct{ Result json.RawMessage }
		m := new(pb.SnapshotResponse)
		if err := errors.Join(json.Unmarshal([]byte(line), &frame), protojson.Unmarshal(frame.Result, m)); err != nil {
			return nil, err.Error()
		}
		messages = append(messages, m)
	}
	return messages, ""
}
