// Package member is the replicated truth about who is in the cluster.
//
// A member is known by an ID that never returns once it was removed, by the addresses where the others
// reach it, and, once it has started and said so, by its name, the addresses of its clients, the identity of
// its data directory and what its release can do. The cluster's own ID derives from its first members and
// never changes.
//
// One goroutine, the one that applies the log, writes; any may read. One mutex guards the table and is held
// for lines. On disk: one row a member and the cluster's ID; see docs/data.md.
package member

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/keelson-db/keelson/internal/storage"
)

// ID names a member. It is never 0.
type ID uint64

// Member is one member of the cluster.
type Member struct {
	ID         ID
	Name       string // empty until the member has started
	PeerURLs   []string
	ClientURLs []string // empty until the member has started
	Learner    bool
	// Incarnation names the data directory that the member has started with; 0 until it has said so. A
	// member that comes with another one has lost what it knew.
	Incarnation uint64
	// Level is the newest feature level that the member's release knows; 0 until it has said so.
	Level uint32
	// Version is the member's release, as text, for people.
	Version string
}

// Verdicts on changes of the membership.
var (
	ErrRemoved       = errors.New("the member ID was removed before")
	ErrExists        = errors.New("the member exists")
	ErrNotFound      = errors.New("there is no such member")
	ErrNotLearner    = errors.New("the member is no learner")
	ErrPeerURLExists = errors.New("a peer URL belongs to another member")
)

// Table holds the members. Its writing methods put what they change into the caller's batch.
type Table struct {
	local   ID
	cluster uint64

	mu      sync.RWMutex
	members map[ID]Member
	removed map[ID]bool
	changed chan struct{} // closed and replaced at every change
}

// Found writes the rows of a new cluster: its ID, which of the members this one is, and all of them.
func Found(b *storage.Batch, cluster uint64, local ID, members []Member) {
	b.Set(storage.MetaKey(nil, storage.MetaCluster), appendIdentity(nil, cluster, local))
	for _, m := range members {
		save(b, m)
	}
}

// Open reads the members that the engine holds.
func Open(e storage.Reader) (*Table, error) {
	row, ok, err := e.Get(storage.MetaKey(nil, storage.MetaCluster), nil)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's identity: %w", err)
	}
	cluster, local, valid := parseIdentity(row)
	if !ok || !valid {
		return nil, fmt.Errorf("read the cluster's identity: it is missing or malformed: the data was damaged or written by a newer release")
	}
	t := &Table{local: local, cluster: cluster, members: make(map[ID]Member), removed: make(map[ID]bool), changed: make(chan struct{})}
	members, removed, err := load(e)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		t.members[m.ID] = m
	}
	for _, id := range removed {
		t.removed[id] = true
	}
	return t, nil
}

// Publish notes what a member that has started says of itself, its ID aside. Of the fields only a started
// member knows they are taken; a zero incarnation or level and an empty version leave what is known. A member
// that is not in the cluster is passed over.
func (t *Table) Publish(b *storage.Batch, said Member) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, ok := t.members[said.ID]
	if !ok {
		return
	}
	m.Name, m.ClientURLs = said.Name, slices.Clone(said.ClientURLs)
	m.Incarnation = cmp.Or(said.Incarnation, m.Incarnation)
	m.Level = cmp.Or(said.Level, m.Level)
	m.Version = cmp.Or(said.Version, m.Version)
	t.put(b, m)
}

// Add takes in a new member, who must not be there and never have been.
func (t *Table) Add(b *storage.Batch, m Member) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.removed[m.ID] {
		return ErrRemoved
	}
	if _, ok := t.members[m.ID]; ok {
		return ErrExists
	}
	if err := t.checkURLs(m); err != nil {
		return err
	}
	m.PeerURLs = slices.Clone(m.PeerURLs)
	t.put(b, m)
	return nil
}

// Promote makes a learner a voter.
func (t *Table) Promote(b *storage.Batch, id ID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, ok := t.members[id]
	switch {
	case t.removed[id]:
		return ErrRemoved
	case !ok:
		return ErrNotFound
	case !m.Learner:
		return ErrNotLearner
	}
	m.Learner = false
	t.put(b, m)
	return nil
}

// Update gives a member other peer URLs.
func (t *Table) Update(b *storage.Batch, id ID, peerURLs []string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, ok := t.members[id]
	switch {
	case t.removed[id]:
		return ErrRemoved
	case !ok:
		return ErrNotFound
	}
	m.PeerURLs = slices.Clone(peerURLs)
	if err := t.checkURLs(m); err != nil {
		return err
	}
	t.put(b, m)
	return nil
}

// Remove takes a member out, for ever.
func (t *Table) Remove(b *storage.Batch, id ID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.removed[id] {
		return ErrRemoved
	}
	if _, ok := t.members[id]; !ok {
		return ErrNotFound
	}
	delete(t.members, id)
	t.removed[id] = true
	saveRemoved(b, id)
	t.signal()
	return nil
}

// checkURLs refuses a peer URL that another member has. The caller holds the mutex.
func (t *Table) checkURLs(m Member) error {
	for _, other := range t.members {
		if other.ID == m.ID {
			continue
		}
		for _, u := range m.PeerURLs {
			if slices.Contains(other.PeerURLs, u) {
				return ErrPeerURLExists
			}
		}
	}
	return nil
}

// put replaces a member's row. The caller holds the mutex.
func (t *Table) put(b *storage.Batch, m Member) {
	t.members[m.ID] = m
	save(b, m)
	t.signal()
}

func (t *Table) signal() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change. Take it before looking.
func (t *Table) Changed() <-chan struct{} {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.changed
}

// Removed reports whether there was a member of this ID that was removed.
func (t *Table) Removed(id ID) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.removed[id]
}

// RemovedIDs returns those that were removed, in order.
func (t *Table) RemovedIDs() []ID {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Sorted(maps.Keys(t.removed))
}

// List returns the members by ID. The caller does not change the URLs.
func (t *Table) List() []Member {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]Member, 0, len(t.members))
	for _, m := range t.members {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Get returns one member.
func (t *Table) Get(id ID) (Member, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	m, ok := t.members[id]
	return m, ok
}

// ClusterID returns the cluster's ID.
func (t *Table) ClusterID() uint64 { return t.cluster }

// Local returns the ID of the member that keeps this table.
func (t *Table) Local() ID { return t.local }
