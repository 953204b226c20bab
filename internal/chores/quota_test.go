package chores

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/state"
)

const kilobyte = 1 << 10

func (w *world) quota(bytes int64, selfClear bool) *Quota {
	return NewQuota(QuotaOptions{
		Bytes: bytes, SelfClear: selfClear, Machine: w.machine, Proposer: w, Logger: slog.New(slog.DiscardHandler),
	})
}

// admitted asks the quota as a door does, and carries out what it admits.
func (w *world) admitted(q *Quota, op any) error {
	if err := q.Admit(state.Cost(op)); err != nil {
		return err
	}
	result, err := w.Propose(w.t.Context(), op)
	return errors.Join(err, result.Err)
}

// fill puts until it is refused, and returns how many puts went through.
func (w *world) fill(q *Quota) (n int) {
	w.t.Helper()
	for ; ; n++ {
		err := w.admitted(q, &pb.PutRequest{Key: fmt.Appendf(nil, "key-%06d", n), Value: make([]byte, kilobyte)})
		if errors.Is(err, state.ErrNoSpace) {
			return n
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestAFullDatabaseRefusesRaisesOnceAndLetsRoomBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		q := w.quota(200*kilobyte, false)
		stop := running(t, q.Run)
		if n := w.fill(q); n < 150 || n > 190 {
			t.Errorf("%d puts of a kilobyte fit into 200", n)
		}
		// Whoever was refused finds the alarm.
		if alarms := w.machine.Alarms(); len(alarms) != 1 || alarms[0].MemberID != 1 || alarms[0].Alarm != pb.AlarmType_NOSPACE {
			t.Errorf("after the refusal the alarms are %v", alarms)
		}
		var crowd sync.WaitGroup
		for range 50 {
			crowd.Go(func() {
				if err := q.Admit(2 * kilobyte); !errors.Is(err, state.ErrNoSpace) {
					t.Errorf("the quota answers %v", err)
				}
			})
		}
		crowd.Wait()
		if len(w.ops) != 1 {
			t.Errorf("the alarm was raised %d times", len(w.ops))
		}
		grant := &pb.LeaseGrantRequest{ID: 7, TTL: 60}
		if err := w.admitted(q, grant); !errors.Is(err, state.ErrNoSpace) {
			t.Errorf("a lease is granted: %v", err)
		}
		for _, op := range []any{
			&pb.DeleteRangeRequest{Key: []byte("key-"), RangeEnd: []byte("key.")},
			&pb.CompactionRequest{Revision: 3}, &pb.TxnRequest{},
		} {
			if err := w.admitted(q, op); err != nil {
				t.Errorf("%T: %v", op, err)
			}
		}
		// Nobody clears it but an operator.
		time.Sleep(time.Hour)
		if !w.machine.Raised(pb.AlarmType_NOSPACE) {
			t.Error("the alarm cleared itself")
		}
		stop()
		w.close()
	})
}

func TestANegativeQuotaIsNone(t *testing.T) {
	w := newWorld(t)
	q := w.quota(-1, true)
	if err := q.Admit(1 << 60); err != nil || q.Tight() {
		t.Error(err)
	}
	w.close()
}

func TestTheAlarmClearsItselfOnlyWithAMargin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		q := w.quota(200*kilobyte, true)
		stop, sweep := running(t, q.Run), running(t, w.sweeper().Run)
		raised := func() bool {
			time.Sleep(3 * clearPause)
			return w.machine.Raised(pb.AlarmType_NOSPACE)
		}
		w.fill(q)
		deleteTo := func(end string) {
			w.do(&pb.DeleteRangeRequest{Key: []byte("key-000000"), RangeEnd: []byte(end)})
			w.do(&pb.CompactionRequest{Revision: int64(w.machine.KV().Stats().Rev)})
		}
		deleteTo("key-000010")
		if !raised() {
			t.Errorf("with %d of %d the alarm is cleared", q.Size(), q.opts.Bytes)
		}
		deleteTo("key-000030")
		if raised() {
			t.Errorf("with %d of %d the alarm is not cleared", q.Size(), q.opts.Bytes)
		}
		if err := w.admitted(q, &pb.PutRequest{Key: []byte("more")}); err != nil {
			t.Error(err)
		}
		stop()
		sweep()
		w.close()
	})
}

func TestAnAlarmRaisedByHandIsClearedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		q := w.quota(200*kilobyte, true)
		stop := running(t, q.Run)
		w.do(&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 1, Alarm: pb.AlarmType_NOSPACE})
		w.do(&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 2, Alarm: pb.AlarmType_NOSPACE})
		time.Sleep(time.Hour)
		if n := len(w.machine.Alarms()); n != 2 {
			t.Errorf("%d alarms are left", n)
		}
		stop()
		// The next run takes the alarm of its own member for what the last one found.
		next := w.quota(200*kilobyte, true)
		next.Adopt()
		stop = running(t, next.Run)
		time.Sleep(time.Minute)
		if alarms := w.machine.Alarms(); len(alarms) != 1 || alarms[0].MemberID != 2 {
			t.Errorf("the alarms are %v", alarms)
		}
		stop()
		w.close()
	})
}

func TestTheQuotaAnswersWhenNoAlarmCanBeRaised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		q := w.quota(100, true)
		w.setRefuse(errors.New("no leader"))
		stop := running(t, q.Run)
		if err := q.Admit(200); !errors.Is(err, state.ErrNoSpace) {
			t.Error(err)
		}
		stop()
		if err := q.Admit(200); !errors.Is(err, state.ErrNoSpace) { // nobody runs any more
			t.Error(err)
		}
		w.close()
	})
}

// TestADeleteAndACompactionBringWritesBack is the whole story in real time: no defragmentation, no disarming.
func TestADeleteAndACompactionBringWritesBack(t *testing.T) {
	w := newWorld(t)
	q := w.quota(16<<20, true)
	stop, sweep := running(t, q.Run), running(t, w.sweeper().Run)
	n := w.fill(q)
	w.do(&pb.DeleteRangeRequest{Key: []byte("key-000000"), RangeEnd: fmt.Appendf(nil, "key-%06d", n/2)})
	w.do(&pb.CompactionRequest{Revision: int64(w.machine.KV().Stats().Rev)})
	took := until(t, 5*time.Second, "a put is accepted", func() bool {
		return w.admitted(q, &pb.PutRequest{Key: []byte("again"), Value: make([]byte, kilobyte)}) == nil
	})
	t.Logf("writes came back %s after the compaction of %d keys", took, n)
	stop()
	sweep()
	w.close()
}

func BenchmarkAdmit(b *testing.B) {
	_, m := open(&testing.T{})
	q := NewQuota(QuotaOptions{Bytes: 1 << 30, Machine: m})
	for b.Loop() {
		if err := q.Admit(1000); err != nil {
			b.Fatal(err)
		}
	}
}
