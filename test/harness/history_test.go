package harness

import (
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// sound is a history that a store can have made: two puts, a lost put that came later, a swap, a delete, and reads between.
func sound() ([]Event, []Op) {
	log := []Event{
		{Revision: 2, Key: "load/a", Value: "1", Version: 1},
		{Revision: 3, Key: "load/b", Value: "2", Version: 1},
		{Revision: 4, Key: "load/a", Value: "3", Version: 2},
		{Revision: 5, Key: "load/a", Value: "lost", Version: 3},
		{Revision: 6, Key: "load/a", Deleted: true},
		{Revision: 7, Key: "load/a", Value: "4", Version: 1},
	}
	op := func(begin, end time.Duration, call Call, a Answer) Op {
		return Op{Call: call, Answer: a, Begin: begin, End: end}
	}
	ops := []Op{
		op(1, 2, Call{Kind: Put, Key: "load/a", Value: "1"}, Answer{Revision: 2, Done: true}),
		op(2, 4, Call{Kind: Put, Key: "load/b", Value: "2"}, Answer{Revision: 3, Done: true}),
		op(5, 6, Call{Kind: Get, Key: "load/a"}, Answer{Revision: 3, Found: true, Value: "1", Mod: 2, Version: 1}),
		op(7, 8, Call{Kind: Swap, Key: "load/a", Value: "3", Expect: "1"}, Answer{Revision: 4, Done: true}),
		op(8, forEver, Call{Kind: Put, Key: "load/a", Value: "lost"}, Answer{Unknown: true}),
		op(10, 12, Call{Kind: Swap, Key: "load/a", Value: "no", Expect: "1"},
			Answer{Revision: 5, Found: true, Value: "lost", Mod: 5, Version: 3}),
		op(11, 13, Call{Kind: GetAnywhere, Key: "load/a"}, Answer{Revision: 4, Found: true, Value: "3", Mod: 4, Version: 2}),
		op(14, 15, Call{Kind: Delete, Key: "load/a"}, Answer{Revision: 6, Done: true}),
		op(16, 17, Call{Kind: Delete, Key: "load/a"}, Answer{Revision: 6}),
		op(16, 17, Call{Kind: Get, Key: "load/a"}, Answer{Revision: 6}),
		op(18, 19, Call{Kind: Put, Key: "load/a", Value: "4"}, Answer{Revision: 7, Done: true}),
	}
	return log, ops
}

// verdict is everything that the checks of a history find.
func verdict(t *testing.T, log []Event, ops []Op) string {
	t.Helper()
	all := append(CheckRevisions(ops), CheckLog(log, 2)...)
	all = append(all, CheckAgainst(log, ops)...)
	if err := Linearizable(ops, t.TempDir()); err != nil {
		all = append(all, err.Error())
	}
	return strings.Join(all, "\n")
}

// TestChecksAcceptASoundHistory must pass before it means something that they refuse others.
func TestChecksAcceptASoundHistory(t *testing.T) {
	log, ops := sound()
	if text := verdict(t, log, ops); text != "" {
		t.Error(text)
	}
}

// TestChecksRefuse spoils the sound history in every way that the checks are for.
func TestChecksRefuse(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(log []Event, ops []Op) ([]Event, []Op)
		want  []string // each a part of the verdict
	}{
		{"an acknowledged put is lost", func(log []Event, ops []Op) ([]Event, []Op) {
			return log[:5], ops
		}, []string{"is not in the history"}},
		{"a put was done twice", func(log []Event, ops []Op) ([]Event, []Op) {
			return append(log, Event{Revision: 8, Key: "load/a", Value: "4", Version: 2}), ops
		}, []string{"written twice"}},
		{"a put nobody asked for", func(log []Event, ops []Op) ([]Event, []Op) {
			return append(log, Event{Revision: 8, Key: "load/a", Value: "ghost", Version: 2}), ops
		}, []string{"nobody wrote"}},
		{"a revision is missing", func(log []Event, ops []Op) ([]Event, []Op) {
			log[5].Revision = 8
			ops[10].Answer.Revision = 8
			return log, ops
		}, []string{"revision 8 follows revision 6"}},
		{"a version is skipped", func(log []Event, ops []Op) ([]Event, []Op) {
			log[2].Version = 3
			return log, ops
		}, []string{"has not version 2"}},
		{"a stale read", func(log []Event, ops []Op) ([]Event, []Op) {
			ops[2].Answer = Answer{Revision: 2, Found: true, Value: "1", Mod: 2, Version: 1}
			return log, ops
		}, []string{"older than one that had ended"}},
		{"a stale read of the key itself", func(log []Event, ops []Op) ([]Event, []Op) {
			ops[9].Answer = Answer{Revision: 5, Found: true, Value: "lost", Mod: 5, Version: 3}
			return log, ops
		}, []string{"older than one that had ended", "no order explains"}},
		{"a read of something else", func(log []Event, ops []Op) ([]Event, []Op) {
			ops[6].Answer.Value = "1"
			return log, ops
		}, []string{"where a client read"}},
		{"a read of a key that is gone", func(log []Event, ops []Op) ([]Event, []Op) {
			ops[9].Answer = Answer{Revision: 6, Found: true, Value: "lost", Mod: 5, Version: 3}
			return log, ops
		}, []string{"not there at the revision", "no order explains"}},
		{"a swap of another value", func(log []Event, ops []Op) ([]Event, []Op) {
			ops[3].Call.Expect = "other"
			return log, ops
		}, []string{"no order explains"}},
		{"a delete of nothing", func(log []Event, ops []Op) ([]Event, []Op) {
			ops[8].Answer = Answer{Revision: 6, Done: true}
			return log, ops
		}, []string{"two changes have one revision", "no order explains"}},
		{"a lost put is seen twice", func(log []Event, ops []Op) ([]Event, []Op) {
			return log, append(ops, Op{Call: Call{Kind: Get, Key: "load/a"}, Begin: 20, End: 21,
				Answer: Answer{Revision: 7, Found: true, Value: "lost", Mod: 7, Version: 1}})
		}, []string{"where a client read", "no order explains"}},
	} {
		log, ops := c.spoil(sound())
		text := verdict(t, log, ops)
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the verdict has no %q: %q", c.name, want, text)
			}
		}
	}
}

// TestAWatcherComplains gives a watcher responses that a sound stream does not have.
func TestAWatcherComplains(t *testing.T) {
	log, _ := sound()
	response := func(events ...Event) clientv3.WatchResponse {
		var r clientv3.WatchResponse
		for _, e := range events {
			kv := &mvccpb.KeyValue{Key: []byte(e.Key), Value: []byte(e.Value), ModRevision: e.Revision, Version: e.Version}
			ev := &clientv3.Event{Kv: kv}
			if e.Deleted {
				ev.Type = clientv3.EventTypeDelete
			}
			r.Events = append(r.Events, ev)
		}
		return r
	}
	progress := func(rev int64) clientv3.WatchResponse {
		return clientv3.WatchResponse{Header: &pb.ResponseHeader{Revision: rev}}
	}
	for _, c := range []struct {
		name string
		in   []clientv3.WatchResponse
		want string // a part of what is found; empty means nothing
	}{
		{"all", []clientv3.WatchResponse{response(log[0]), response(log[1], log[2]), progress(4), response(log[3:]...)}, ""},
		{"a gap", []clientv3.WatchResponse{response(log[0]), response(log[2:]...)}, "event 1 is"},
		{"twice", []clientv3.WatchResponse{response(log[0]), response(log...)}, "came after the stream had said"},
		{"too early a promise", []clientv3.WatchResponse{progress(3), response(log...)}, "came after the stream had said"},
		{"the end is missing", []clientv3.WatchResponse{response(log[:3]...), progress(7)}, "did not get"},
		{"another event", []clientv3.WatchResponse{response(log...), response(Event{Revision: 8, Key: "load/x"})}, "is no event"},
		{"other order", []clientv3.WatchResponse{response(log[1], log[0]), response(log[2:]...)}, "event 0 is"},
		{"compacted", []clientv3.WatchResponse{{CompactRevision: 5}}, "cancelled as compacted at 5"},
	} {
		w := NewWatcher(nil, "load/", 2)
		for _, resp := range c.in {
			w.take(resp)
		}
		events, until, wrong := w.snapshot()
		found := strings.Join(append(wrong, CheckWatch(log, events, w.wants, 2, max(until, 7))...), "\n")
		if c.want == "" && found != "" || !strings.Contains(found, c.want) {
			t.Errorf("%s: found %q, want %q", c.name, found, c.want)
		}
	}
}

// TestALeaseThatEndsEarlyIsFound looks at leases that ended before and after their time.
func TestALeaseThatEndsEarlyIsFound(t *testing.T) {
	now := time.Now()
	l := &Leases{
		all:   map[string]*leased{"early": {key: "early", promise: now}, "late": {key: "late", promise: now}},
		ended: map[string]time.Time{"early": now.Add(-time.Millisecond), "late": now.Add(time.Millisecond)},
	}
	if found := l.early(); len(found) != 1 || !strings.Contains(found[0], "early") {
		t.Errorf("found %q", found)
	}
}
