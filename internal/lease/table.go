package lease

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/keelson-db/keelson/internal/storage"
)

// ID names a lease. It is positive for leases whose ID the server chose.
type ID int64

// MaxTTL is the longest time a lease can be granted, in seconds (etcd's limit).
const MaxTTL = 9_000_000_000

// MaxChanges bounds the remembered changes, in changes.
const MaxChanges = 16384

// Errors of leases.
var (
	ErrNotFound = errors.New("lease not found")
	ErrExists   = errors.New("lease already exists")
)

// Lease is one grant.
type Lease struct {
	ID        ID
	TTL       int64 // seconds granted
	Remaining int64 // seconds left when last checkpointed; 0 means all of TTL
}

// Left returns the seconds a clock that begins now must give the lease.
func (l Lease) Left() int64 {
	if l.Remaining > 0 {
		return l.Remaining
	}
	return l.TTL
}

type entry struct {
	Lease
	keys map[string]struct{}
}

// Table holds the leases. Its writing methods put what they change into the caller's batch.
type Table struct {
	mu      sync.RWMutex
	leases  map[ID]*entry
	digest  uint64 // sum over all leases
	history changes
}

// Open reads the leases that the engine holds. The keys attached to them follow by Attach.
func Open(e storage.Reader) (*Table, error) {
	t := &Table{leases: make(map[ID]*entry), history: newChanges()}
	leases, err := load(e)
	if err != nil {
		return nil, err
	}
	for _, l := range leases {
		t.leases[l.ID] = &entry{Lease: l}
		t.digest += l.digest()
	}
	return t, nil
}

// Grant adds a lease.
func (t *Table) Grant(b *storage.Batch, l Lease) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.leases[l.ID]; ok {
		return ErrExists
	}
	t.leases[l.ID] = &entry{Lease: l}
	t.digest += l.digest()
	save(b, l)
	t.history.add(Change{Lease: l, Kind: Granted})
	return nil
}

// Revoke removes a lease. The caller deletes the keys that Keys named before.
func (t *Table) Revoke(b *storage.Batch, id ID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.leases[id]
	if !ok {
		return ErrNotFound
	}
	delete(t.leases, id)
	t.digest -= e.Lease.digest()
	remove(b, id)
	t.history.add(Change{Lease: e.Lease, Kind: Revoked})
	return nil
}

// Checkpoint notes the seconds a lease has left, 0 for all of its time. A lease that has ended since the
// proposal is passed over.
func (t *Table) Checkpoint(b *storage.Batch, id ID, remaining int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.leases[id]
	if !ok || remaining < 0 || remaining > e.TTL {
		return
	}
	t.digest -= e.Lease.digest()
	e.Remaining = remaining
	t.digest += e.Lease.digest()
	save(b, e.Lease)
	t.history.add(Change{Lease: e.Lease, Kind: Checkpointed})
}

// Attach hangs a key on a lease. It reports whether the lease exists.
func (t *Table) Attach(id ID, key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.leases[id]
	if !ok {
		return false
	}
	if e.keys == nil {
		e.keys = make(map[string]struct{})
	}
	e.keys[key] = struct{}{}
	return true
}

// Detach takes a key off a lease; neither need exist.
func (t *Table) Detach(id ID, key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.leases[id]; ok {
		delete(e.keys, key)
	}
}

// Publish wakes those who wait for Changed. The applying goroutine calls it once what it changed is part
// of the state, so that nobody acts on a lease that a crash would take back.
func (t *Table) Publish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.history.publish()
}

// Get returns a lease.
func (t *Table) Get(id ID) (Lease, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e, ok := t.leases[id]
	if !ok {
		return Lease{}, false
	}
	return e.Lease, true
}

// Keys returns the keys attached to a lease, in order.
func (t *Table) Keys(id ID) []string {
	keys := t.unsorted(id)
	slices.Sort(keys)
	return keys
}

// Each calls f with the keys attached to a lease, in no order, until f returns false. The table is locked
// meanwhile: f must not call it.
func (t *Table) Each(id ID, f func(key string) bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e, ok := t.leases[id]
	if !ok {
		return
	}
	for key := range e.keys {
		if !f(key) {
			return
		}
	}
}

func (t *Table) unsorted(id ID) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e, ok := t.leases[id]
	if !ok || len(e.keys) == 0 {
		return nil
	}
	return slices.AppendSeq(make([]string, 0, len(e.keys)), maps.Keys(e.keys))
}

// KeyCount returns how many keys are attached to a lease.
func (t *Table) KeyCount(id ID) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if e, ok := t.leases[id]; ok {
		return len(e.keys)
	}
	return 0
}

// List returns all leases, by ID.
func (t *Table) List() []Lease {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.list()
}

func (t *Table) list() []Lease {
	all := make([]Lease, 0, len(t.leases))
	for _, e := range t.leases {
		all = append(all, e.Lease)
	}
	slices.SortFunc(all, func(a, b Lease) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return all
}

// Len returns the number of leases.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.leases)
}
