package compat

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/encoding/prototext"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/test/harness"
)

func (s *teller) tellWatch(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var name string
	d.ScanArgs(t, "stream", &name)
	w := s.watches[name]
	if w == nil {
		w = harness.OpenWatchIn(s.context(context.Background(), t, d), t, pb.NewWatchClient(s.conn))
		s.watches[name] = w
	}
	switch d.Cmd {
	case "watch":
		for line := range strings.Lines(d.Input) {
			w.Send(t, watchRequest(t, strings.TrimSpace(line)))
		}
		return ""
	case "recv":
		n := 1
		d.MaybeScanArgs(t, "n", &n)
		var lines []string
		for range n {
			resp, err := w.Next(harness.ArriveLimit)
			if err != nil {
				lines = append(lines, err.Error())
				break
			}
			lines = append(lines, renderWatch(resp))
		}
		if d.HasArg("sorted") {
			slices.Sort(lines)
		}
		return s.named(strings.Join(lines, "\n"))
	case "events":
		n, id := 0, int64(0)
		d.ScanArgs(t, "n", &n)
		d.MaybeScanArgs(t, "id", &id)
		return collectEvents(w, n, id)
	default: // quiet
		if resp, err := w.Next(quietFor); err == nil {
			return "heard " + renderWatch(resp)
		}
		return "nothing"
	}
}

// collectEvents waits for n events of one watch over as many responses as they come in.
func collectEvents(w *harness.WatchStream, n int, id int64) string {
	var lines []string
	keep := func(resp *pb.WatchResponse) bool {
		if resp.WatchId != id || len(resp.Events) == 0 {
			return false
		}
		for _, ev := range resp.Events {
			lines = append(lines, renderMessage(ev.ProtoReflect()))
			if resp.Header.Revision < ev.Kv.ModRevision {
				lines = append(lines, fmt.Sprintf("header revision %d is older than its event", resp.Header.Revision))
			}
		}
		return true
	}
	w.Held = slices.DeleteFunc(w.Held, keep)
	for len(lines) < n {
		resp, err := w.NextNew(harness.ArriveLimit)
		if err != nil {
			lines = append(lines, err.Error())
			break
		}
		if !keep(resp) {
			w.Held = append(w.Held, resp)
		}
	}
	return strings.Join(lines, "\n")
}

func renderWatch(r *pb.WatchResponse) string {
	text := render(r)
	// The default watch ID 0 is no set field, yet it is the answer.
	if r.WatchId == 0 {
		text = "watch_id:0 " + text
	}
	return text
}

func watchRequest(t *testing.T, line string) *pb.WatchRequest {
	t.Helper()
	kind, text, _ := strings.Cut(line, " ")
	fields := map[string]string{"create": "create_request", "cancel": "cancel_request", "progress": "progress_request"}
	req := new(pb.WatchRequest)
	if kind != "nothing" {
		text = fields[kind] + ":{" + text + "}"
	}
	if err := prototext.Unmarshal([]byte(text), req); err != nil {
		t.Fatalf("read watch request %q: %v", line, err)
	}
	return req
}
