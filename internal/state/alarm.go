package state

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/storage"
)

// Verdicts on commands while an alarm is raised.
var (
	// ErrNoSpace refuses what would make the database larger.
	ErrNoSpace = errors.New("database space exceeded")
	// ErrCorrupt refuses every change: what members hold is in doubt.
	ErrCorrupt = errors.New("corrupt cluster")
)

// What one change is taken to cost of the quota, in bytes beside key and value.
const (
	putCost   = 256
	leaseCost = 64
)

// alarmFormat is the first byte of the alarms' row.
const alarmFormat = 1

// alarm is one kind of trouble of one member.
type alarm struct {
	member uint64
	kind   pb.AlarmType
}

func (a alarm) compare(b alarm) int {
	return cmp.Or(cmp.Compare(a.member, b.member), cmp.Compare(a.kind, b.kind))
}

// alarms are the alarms that are raised, in order. The applying goroutine changes them.
type alarms struct {
	working   []alarm // replaced and never changed
	published atomic.Pointer[[]alarm]
}

func openAlarms(e storage.Reader) (*alarms, error) {
	row, ok, err := e.Get(storage.MetaKey(nil, storage.MetaAlarms), nil)
	if err != nil {
		return nil, fmt.Errorf("read the alarms: %w", err)
	}
	a := new(alarms)
	if ok {
		if a.working, err = parseAlarms(row); err != nil {
			return nil, err
		}
	}
	a.publish()
	return a, nil
}

func (a *alarms) publish() {
	list := a.working // a variable of its own: readers must not look at what the next command sets
	a.published.Store(&list)
}

// raised reports whether any member has raised an alarm of the kind.
func (a *alarms) raised(kind pb.AlarmType) bool {
	return slices.ContainsFunc(a.working, func(x alarm) bool { return x.kind == kind })
}

// set raises or clears an alarm and returns what the API answers: the alarm, where there is or was one.
func (a *alarms) set(b *storage.Batch, r *pb.AlarmRequest) *pb.AlarmResponse {
	response := new(pb.AlarmResponse)
	one := alarm{r.MemberID, r.Alarm}
	i, found := slices.BinarySearchFunc(a.working, one, alarm.compare)
	switch r.Action {
	case pb.AlarmRequest_ACTIVATE:
		if r.Alarm == pb.AlarmType_NONE {
			return response
		}
		if !found {
			a.working = slices.Insert(slices.Clone(a.working), i, one)
			a.write(b)
		}
	case pb.AlarmRequest_DEACTIVATE:
		if !found {
			return response
		}
		a.working = slices.Delete(slices.Clone(a.working), i, i+1)
		a.write(b)
	default:
		return response
	}
	response.Alarms = []*pb.AlarmMember{{MemberID: r.MemberID, Alarm: r.Alarm}}
	return response
}

// forget clears the alarms of a member that is no more: what they spoke of left with it.
func (a *alarms) forget(b *storage.Batch, member uint64) {
	rest := slices.DeleteFunc(slices.Clone(a.working), func(x alarm) bool { return x.member == member })
	if len(rest) < len(a.working) {
		a.working = rest
		a.write(b)
	}
}

// write puts the row: format (1), uvarint count, and for each alarm uvarint member and uvarint kind.
func (a *alarms) write(b *storage.Batch) {
	row := binary.AppendUvarint([]byte{alarmFormat}, uint64(len(a.working)))
	for _, one := range a.working {
		row = binary.AppendUvarint(row, one.member)
		row = binary.AppendUvarint(row, uint64(uint32(one.kind)))
	}
	b.Set(storage.MetaKey(nil, storage.MetaAlarms), row)
}

func parseAlarms(row []byte) ([]alarm, error) {
	damaged := &storage.DamagedError{Table: "meta", Key: []byte(storage.MetaAlarms), Why: "it is no list of alarms"}
	if len(row) == 0 || row[0] != alarmFormat {
		return nil, damaged
	}
	rest, bad := row[1:], false
	next := func() uint64 {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			bad = true
			return 0
		}
		rest = rest[n:]
		return v
	}
	var list []alarm
	for count := next(); count > 0 && !bad; count-- {
		list = append(list, alarm{next(), pb.AlarmType(uint32(next()))})
	}
	if bad || len(rest) > 0 || !slices.IsSortedFunc(list, alarm.compare) {
		return nil, damaged
	}
	return list, nil
}

// Alarms returns the alarms that are raised, by member.
func (m *Machine) Alarms() []*pb.AlarmMember { return m.alarms.list() }

func (a *alarms) list() []*pb.AlarmMember {
	list := *a.published.Load()
	if len(list) == 0 {
		return nil
	}
	out := make([]*pb.AlarmMember, len(list))
	for i, one := range list {
		out[i] = &pb.AlarmMember{MemberID: one.member, Alarm: one.kind}
	}
	return out
}

// Raised reports whether any member has raised an alarm of the kind. It is cheap.
func (m *Machine) Raised(kind pb.AlarmType) bool {
	return slices.ContainsFunc(*m.alarms.published.Load(), func(x alarm) bool { return x.kind == kind })
}

// checkAlarms refuses a command because of an alarm.
func (m *Machine) checkAlarms(op command.Op) error {
	if len(m.alarms.working) == 0 {
		return nil
	}
	if m.alarms.raised(pb.AlarmType_CORRUPT) && changesKeys(op) {
		return ErrCorrupt
	}
	if m.alarms.raised(pb.AlarmType_NOSPACE) && Cost(op) > 0 {
		return ErrNoSpace
	}
	return nil
}

// changesKeys says that a command is about keys or leases.
func changesKeys(op command.Op) bool {
	switch op.(type) {
	case *pb.PutRequest, *pb.DeleteRangeRequest, *pb.TxnRequest, *pb.CompactionRequest, *pb.LeaseGrantRequest, *command.LeaseRevoke:
		return true
	}
	return false
}

// Cost is what a request is taken to cost of the quota, in bytes; what costs nothing is always let pass, so
// that room can be made.
func Cost(request any) int64 {
	switch r := request.(type) {
	case *pb.PutRequest:
		return putCost + int64(len(r.Key)) + int64(len(r.Value))
	case *pb.LeaseGrantRequest:
		return leaseCost
	case *pb.TxnRequest:
		return max(branchCost(r.Success), branchCost(r.Failure))
	}
	return 0
}

func branchCost(ops []*pb.RequestOp) (sum int64) {
	for _, op := range ops {
		switch r := op.Request.(type) {
		case *pb.RequestOp_RequestPut:
			sum += Cost(r.RequestPut)
		case *pb.RequestOp_RequestTxn:
			sum += Cost(r.RequestTxn)
		}
	}
	return sum
}
