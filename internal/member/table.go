// Package member is the replicated truth about who is in the cluster.
//
// A member is known by an ID that never returns once it was removed, by the addresses where the others
// reach it, and, once it has started and said so, by its name and the addresses of its clients. The
// cluster's own ID derives from its first members and never changes.
//
// One goroutine, the one that applies the log, writes; any may read. One mutex guards the table and is held
// for lines. On disk: one row a member and the cluster's ID; see docs/data.md.
package member

import (
	"cmp"
	"fmt"
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
}

// Table holds the members. Its writing methods put what they change into the caller's batch.
type Table struct {
	local   ID
	cluster uint64

	mu      sync.RWMutex
	members map[ID]Member
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
	t := &Table{local: local, cluster: cluster, members: make(map[ID]Member)}
	members, err := load(e)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		t.members[m.ID] = m
	}
	return t, nil
}

// Publish notes a started member's name and client URLs. A member that is not in the cluster is passed over.
func (t *Table) Publish(b *storage.Batch, id ID, name string, clientURLs []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, ok := t.members[id]
	if !ok {
		return
	}
	m.Name, m.ClientURLs = name, slices.Clone(clientURLs)
	t.members[id] = m
	save(b, m)
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
