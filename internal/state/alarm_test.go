package state

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/storage"
)

func raise(member uint64, kind pb.AlarmType) *pb.AlarmRequest {
	return &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: member, Alarm: kind}
}

// alarmsText is what anybody can see of the alarms.
func (w *world) alarmsText() string {
	return fmt.Sprint(w.m.Alarms(), w.m.Raised(pb.AlarmType_NOSPACE), w.m.Raised(pb.AlarmType_CORRUPT))
}

func TestAlarmsAreVisibleWithTheCommitAndSurviveACrash(t *testing.T) {
	w := newWorld(t, vfs.NewCrashableMem(), mvcc.Options{})
	none := w.alarmsText()
	op := raise(9, pb.AlarmType_NOSPACE)
	w.append(op)
	w.m.Begin()
	if r, err := w.m.Apply(op); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	if got := w.alarmsText(); got != none {
		t.Errorf("before the commit the alarms are %s", got)
	}
	// Within the group the alarm holds already: every member must judge the next command alike.
	put := &pb.PutRequest{Key: []byte("k")}
	w.append(put)
	if r, err := w.m.Apply(put); err != nil || !errors.Is(r.Err, ErrNoSpace) {
		t.Errorf("a put behind the alarm, in its group: %+v, %v", r, err)
	}
	w.must(w.m.Commit(w.end()))
	seen := w.m.Alarms()
	w.one(raise(3, pb.AlarmType_CORRUPT))
	if len(seen) != 1 || seen[0].MemberID != 9 {
		t.Errorf("a list that was handed out has become %v", seen)
	}
	want := w.alarmsText()
	w.must(w.engine.Flush())
	w.restart(w.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{}))
	if got := w.alarmsText(); got != want {
		t.Errorf("after a crash the alarms are %s, want %s", got, want)
	}
}

func TestADamagedListOfAlarmsEndsTheStart(t *testing.T) {
	for what, row := range map[string][]byte{
		"empty": {}, "another format": {2, 0}, "cut off": {alarmFormat, 2, 9, 1}, "too long": {alarmFormat, 0, 0},
		"out of order": {alarmFormat, 2, 9, 1, 3, 1}, "a number without end": {alarmFormat, 0xff, 0xff},
	} {
		w := newWorld(t, vfs.NewMem(), mvcc.Options{})
		b := w.engine.NewBatch()
		b.Set(storage.MetaKey(nil, storage.MetaAlarms), row)
		w.must(w.engine.Commit(b))
		_, err := Open(w.engine, mvcc.Options{})
		if _, ok := errors.AsType[*storage.DamagedError](err); !ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestCostIsThatOfTheDearerBranch(t *testing.T) {
	put := func(n int) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("key"), Value: make([]byte, n)}}}
	}
	nest := func(then, otherwise []*pb.RequestOp) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: then, Failure: otherwise}}}
	}
	free := []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("k")}}},
		{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("k")}}}, {},
	}
	for _, c := range []struct {
		request any
		want    int64
	}{
		{&pb.PutRequest{Key: []byte("key"), Value: make([]byte, 100)}, 359},
		{&pb.LeaseGrantRequest{ID: 1, TTL: 5}, 64},
		{&pb.DeleteRangeRequest{Key: []byte("k")}, 0},
		{&pb.CompactionRequest{Revision: 5}, 0},
		{&pb.LeaseRevokeRequest{ID: 5}, 0},
		{&pb.TxnRequest{}, 0},
		{&pb.TxnRequest{Success: free, Failure: free}, 0},
		{&pb.TxnRequest{Success: []*pb.RequestOp{put(1), put(2)}, Failure: []*pb.RequestOp{put(5)}}, 521},
		{&pb.TxnRequest{Success: []*pb.RequestOp{put(1)}, Failure: []*pb.RequestOp{put(1000)}}, 1259},
		{&pb.TxnRequest{Success: append([]*pb.RequestOp{nest(free, []*pb.RequestOp{put(10), nest([]*pb.RequestOp{put(20)}, nil)})}, free...)}, 548},
	} {
		if got := Cost(c.request); got != c.want {
			t.Errorf("%v costs %d, want %d", c.request, got, c.want)
		}
	}
}

func TestOnlyItsOwnAnswerFollowsARequestAboutAlarms(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), mvcc.Options{})
	off := func(member uint64, kind pb.AlarmType) *pb.AlarmRequest {
		return &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: member, Alarm: kind}
	}
	for _, step := range []struct {
		op              *pb.AlarmRequest
		answers, raised int
	}{
		{raise(1, pb.AlarmType_NONE), 0, 0},
		{off(1, pb.AlarmType_NOSPACE), 0, 0},
		{raise(1, pb.AlarmType_NOSPACE), 1, 1},
		{raise(1, pb.AlarmType_NOSPACE), 1, 1},
		{raise(0, pb.AlarmType_NOSPACE), 1, 2},
		{raise(1, pb.AlarmType_CORRUPT), 1, 3},
		{off(2, pb.AlarmType_NOSPACE), 0, 3},
		{off(1, pb.AlarmType_NOSPACE), 1, 2},
		{&pb.AlarmRequest{Action: 7, MemberID: 1, Alarm: pb.AlarmType_CORRUPT}, 0, 2},
		{off(1, pb.AlarmType_CORRUPT), 1, 1},
		{off(0, pb.AlarmType_NOSPACE), 1, 0},
	} {
		r := w.one(step.op)
		if got := r.Response.(*pb.AlarmResponse); r.Err != nil || len(got.Alarms) != step.answers || len(w.m.Alarms()) != step.raised {
			t.Errorf("%v: %v, %v, raised %v", step.op, got, r.Err, w.m.Alarms())
		}
	}
}
