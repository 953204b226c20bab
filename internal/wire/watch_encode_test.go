package wire

import (
	"bytes"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/watch"
)

// frameOf is an event in its wire form within a watch response.
func frameOf(t testing.TB, rev int64, size int) ([]byte, *mvccpb.Event) {
	t.Helper()
	ev := &mvccpb.Event{Kv: &mvccpb.KeyValue{
		Key: fmt.Appendf(nil, "key-%d", rev), CreateRevision: rev, ModRevision: rev, Version: 1,
		Value: bytes.Repeat([]byte{'v'}, size),
	}}
	b, err := proto.Marshal(&pb.WatchResponse{Events: []*mvccpb.Event{ev}})
	if err != nil {
		t.Fatal(err)
	}
	return b, ev
}

// decode reads every message that the encoder makes of the response.
func decode(t testing.TB, e *WatchEncoder, limit int) []*pb.WatchResponse {
	t.Helper()
	var all []*pb.WatchResponse
	for more := true; more; {
		var m WatchMessage
		m, more = e.Next(limit)
		bufs, err := marshal(e.Message(m))
		if err != nil {
			t.Fatal(err)
		}
		got := new(pb.WatchResponse)
		if err := proto.Unmarshal(bufs.Materialize(), got); err != nil {
			t.Fatalf("a message cannot be read: %v", err)
		}
		bufs.Free()
		all = append(all, got)
	}
	return all
}

func TestWatchResponsesReadBackAsTheyWere(t *testing.T) {
	head := pb.ResponseHeader{ClusterId: 1 << 63, MemberId: 7, RaftTerm: 3}
	for _, c := range []struct {
		name  string
		resp  watch.Response
		sizes []int
	}{
		{name: "created", resp: watch.Response{ID: 0, Rev: 9, Created: true}},
		{name: "refused", resp: watch.Response{ID: watch.NoID, Rev: 9, Created: true, Canceled: true, Reason: "because"}},
		{name: "canceled", resp: watch.Response{ID: 300, Rev: 9, Canceled: true}},
		{name: "compacted", resp: watch.Response{ID: 2, Canceled: true, CompactRev: 1 << 40}},
		{name: "progress", resp: watch.Response{ID: watch.NoID, Rev: 1 << 33}},
		{name: "one small event", resp: watch.Response{ID: 1, Rev: 9}, sizes: []int{10}},
		{name: "one large event", resp: watch.Response{ID: 1, Rev: 9}, sizes: []int{5000}},
		{name: "small and large in turn", resp: watch.Response{ID: 1, Rev: 9}, sizes: []int{1, 5000, 3, 4, 9000, 9000, 2}},
		{name: "larger than the limit but not divisible", resp: watch.Response{ID: 1, Rev: 9}, sizes: []int{5000, 60000, 5000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e WatchEncoder
			e.SetMember(head.ClusterId, head.MemberId)
			e.SetTerm(head.RaftTerm)
			e.take(&c.resp)
			want := &pb.WatchResponse{
				Header:  &pb.ResponseHeader{ClusterId: head.ClusterId, MemberId: head.MemberId, RaftTerm: head.RaftTerm, Revision: int64(c.resp.Rev)},
				WatchId: c.resp.ID, Created: c.resp.Created, Canceled: c.resp.Canceled,
				CompactRevision: int64(c.resp.CompactRev), CancelReason: c.resp.Reason,
			}
			for i, n := range c.sizes {
				f, ev := frameOf(t, int64(i+2), n)
				e.frames = append(e.frames, f)
				want.Events = append(want.Events, ev)
			}
			got := decode(t, &e, 20000)
			if len(got) != 1 || !proto.Equal(got[0], want) {
				t.Fatalf("got %v\nwant %v", got, want)
			}
		})
	}
}

func TestFragmentsHoldEveryEventOnceAndStayBelowTheLimit(t *testing.T) {
	for _, c := range []struct {
		name  string
		sizes []int
		limit int
		parts []int // events per message
	}{
		{"below the limit", []int{100, 100}, 1000, []int{2}},
		{"one huge event", []int{9000}, 1000, []int{1}},
		{"two huge events", []int{9000, 9000}, 1000, []int{1, 1}},
		{"pairs fit", []int{400, 400, 400, 400, 400}, 1000, []int{2, 2, 1}},
		{"huge between small", []int{10, 5000, 10, 10}, 1000, []int{1, 1, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e WatchEncoder
			e.take(&watch.Response{ID: 4, Rev: mvcc.Rev(2), Fragment: true})
			var want []*mvccpb.Event
			for i, n := range c.sizes {
				f, ev := frameOf(t, int64(i+2), n)
				e.frames = append(e.frames, f)
				want = append(want, ev)
			}
			got := decode(t, &e, c.limit)
			if len(got) != len(c.parts) {
				t.Fatalf("%d messages, want %d", len(got), len(c.parts))
			}
			for i, m := range got {
				if len(m.Events) != c.parts[i] {
					t.Errorf("message %d has %d events, want %d", i, len(m.Events), c.parts[i])
				}
				if m.Fragment != (i < len(got)-1) {
					t.Errorf("message %d of %d: fragment=%v", i, len(got), m.Fragment)
				}
				if len(m.Events) > 1 && proto.Size(m) >= c.limit {
					t.Errorf("message %d has %d bytes, limit %d", i, proto.Size(m), c.limit)
				}
				for _, ev := range m.Events {
					if !proto.Equal(ev, want[0]) {
						t.Fatalf("message %d holds %v, want %v", i, ev, want[0])
					}
					want = want[1:]
				}
			}
		})
	}
}

func TestHeadersFollowTheRevisionAndTheTerm(t *testing.T) {
	var e WatchEncoder
	e.SetMember(7, 0)
	for i, c := range []struct {
		rev  mvcc.Rev
		term uint64
	}{{5, 1}, {5, 1}, {6, 1}, {6, 2}, {5, 2}, {0, 2}, {0, 2}} {
		e.SetTerm(c.term)
		r := &watch.Response{ID: 3, Rev: c.rev, Created: true}
		e.take(r)
		e.frames, e.sent = nil, 0
		want := &pb.ResponseHeader{ClusterId: 7, Revision: int64(c.rev), RaftTerm: c.term}
		if got := decode(t, &e, 1000); len(got) != 1 || !proto.Equal(got[0].Header, want) {
			t.Errorf("response %d says %v, want the header %v", i, got, want)
		}
	}
}
