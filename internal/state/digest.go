package state

import (
	"encoding/binary"
	"hash/fnv"
	"maps"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
)

// keptMarks is how many of the newest marks are known, in marks. What is reported about older ones is passed over.
const keptMarks = 2

// Mark is a place in the log at which members compare what they hold, and what they have told of it so far. All of them
// applied the same commands when they came to it, so all of them must hold the same. It lives in memory alone: a member that
// starts meanwhile takes part from the next mark on.
type Mark struct {
	ID      uint64
	Rev     mvcc.Rev                        // of the store at the mark
	Rest    uint64                          // digest of what is small: members, voters, alarms, versions, users, the number of leases
	Reports map[uint64]command.DigestReport // by member
}

// marks are the newest marks. The applying goroutine writes, any may read.
type marks struct {
	mu      sync.Mutex
	list    []*Mark // oldest first
	changed chan struct{}
}

func newMarks() *marks { return &marks{changed: make(chan struct{})} }

func (m *marks) signal() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *marks) set(one *Mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, one)
	if len(m.list) > keptMarks {
		m.list = slices.Delete(m.list, 0, len(m.list)-keptMarks)
	}
	m.signal()
}

func (m *marks) report(r command.DigestReport) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, one := range m.list {
		if one.ID == r.Mark {
			one.Reports[r.Member] = r
			m.signal()
		}
	}
}

// Marks returns the newest marks, oldest first, and a channel that is closed when there is more to see.
func (m *Machine) Marks() ([]Mark, <-chan struct{}) {
	m.marks.mu.Lock()
	defer m.marks.mu.Unlock()
	list := make([]Mark, len(m.marks.list))
	for i, one := range m.marks.list {
		list[i] = *one
		list[i].Reports = maps.Clone(one.Reports)
	}
	return list, m.marks.changed
}

// applyMark notes what this member holds at a mark. The keys' part is computed later, by whoever compares: up to a
// revision it stays what it is now.
func (m *Machine) applyMark(op *command.DigestMark) error {
	rest, err := m.digestRest()
	if err != nil {
		return err
	}
	m.marks.set(&Mark{ID: op.ID, Rev: m.writer.Rev(), Rest: rest, Reports: map[uint64]command.DigestReport{}})
	return nil
}

// digestRest is the digest of what is replicated beside the keys. It follows from the commands alone.
func (m *Machine) digestRest() (uint64, error) {
	h := fnv.New64a()
	add := func(v uint64) { h.Write(binary.BigEndian.AppendUint64(nil, v)) }
	for _, one := range m.members.List() {
		add(uint64(one.ID))
		// Founders may have been told the same addresses in another order.
		one.PeerURLs = slices.Sorted(slices.Values(one.PeerURLs))
		h.Write(member.Encode(one))
	}
	conf, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.NextConfState())
	if err != nil {
		return 0, err
	}
	h.Write(conf)
	for _, a := range m.alarms.working {
		add(a.member)
		add(uint64(a.kind))
	}
	h.Write([]byte(m.DowngradeTarget()))
	add(uint64(m.Level()))
	users := m.auth.Working()
	add(uint64(users.Revision()))
	if users.Enabled() {
		add(1)
	}
	add(uint64(m.leases.Len()))
	return h.Sum64(), nil
}
