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
	Rest    uint64                          // digest of everything but the keys: members, voters, alarms, versions, users, leases
	Reports map[uint64]command.DigestReport // by member
}

// marks are the newest marks. The applying goroutine writes, any may read.
type marks struct {
	// applied are the marks of the group that is being applied, with its reports. They are told when it is
	// committed: before, nobody can see the keys at their revision.
	applied  []*Mark
	reported []command.DigestReport

	mu      sync.Mutex // guards what follows
	list    []*Mark    // oldest first
	changed chan struct{}
}

func newMarks() *marks { return &marks{changed: make(chan struct{})} }

// publish tells the marks and reports of the group that was committed.
func (m *marks) publish() {
	if len(m.applied)+len(m.reported) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, m.applied...)
	m.list = slices.Delete(m.list, 0, max(0, len(m.list)-keptMarks))
	for _, r := range m.reported {
		for _, one := range m.list {
			if one.ID == r.Mark {
				one.Reports[r.Member] = r
			}
		}
	}
	m.applied, m.reported = nil, nil
	close(m.changed)
	m.changed = make(chan struct{})
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
	m.marks.applied = append(m.marks.applied, &Mark{ID: op.ID, Rev: m.writer.Rev(), Rest: rest, Reports: map[uint64]command.DigestReport{}})
	return nil
}

// digestRest is the digest of what is replicated beside the keys. It follows from the commands alone. Members of several
// releases compare it: another definition can only begin with a feature level.
func (m *Machine) digestRest() (uint64, error) {
	h := fnv.New64a()
	add := func(v uint64) { h.Write(binary.BigEndian.AppendUint64(nil, v)) }
	for _, one := range m.members.List() {
		add(uint64(one.ID))
		// Founders may have been told the same addresses in another order, and other names for members that have
		// not said their own yet.
		one.PeerURLs = slices.Sorted(slices.Values(one.PeerURLs))
		if one.Incarnation == 0 {
			one.Name = ""
		}
		h.Write(member.Encode(one))
	}
	conf, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.NextConfState())
	if err != nil {
		return 0, err
	}
	h.Write(conf)
	for _, id := range m.members.RemovedIDs() {
		add(uint64(id))
	}
	for _, a := range m.alarms.working {
		add(a.member)
		add(uint64(a.kind))
	}
	h.Write([]byte(m.DowngradeTarget()))
	add(uint64(m.Level()))
	users := m.auth.Working()
	add(users.Revision())
	add(users.Digest())
	if users.Enabled() {
		add(1)
		h.Write(users.Key())
	}
	add(uint64(m.leases.Len()))
	add(m.leases.Digest())
	return h.Sum64(), nil
}
