package auth

import (
	"bytes"
	"sync"
	"sync/atomic"

	"github.com/keelson-db/keelson/internal/storage"
)

// firstRevision is the auth revision of a table that nobody has changed, as in etcd.
const firstRevision = 1

// Table is all users and roles. Its writing methods check first and put what they change into the caller's batch.
type Table struct {
	published atomic.Pointer[View]
	working   *View // nil until the group that is being applied changes something

	mu      sync.Mutex
	changed chan struct{} // closed at the next Publish that changed anything
}

// Open reads the table that the engine holds.
func Open(e storage.Reader) (*Table, error) {
	v, err := load(e)
	if err != nil {
		return nil, err
	}
	t := &Table{changed: make(chan struct{})}
	t.published.Store(v)
	return t, nil
}

// View returns the published table.
func (t *Table) View() *View { return t.published.Load() }

// Working returns the table with the changes of the group that is being applied. It is for the applying goroutine,
// and good until the next change.
func (t *Table) Working() *View {
	if t.working != nil {
		return t.working
	}
	return t.published.Load()
}

// Publish makes the group's changes visible.
func (t *Table) Publish() {
	if t.working == nil {
		return
	}
	t.published.Store(t.working)
	t.working = nil
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.changed)
	t.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next Publish that changed anything. Who takes it before View
// misses nothing.
func (t *Table) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// edit returns the view that the group may change.
func (t *Table) edit() *View {
	if t.working == nil {
		v := t.published.Load()
		t.working = &View{
			enabled: v.enabled, rev: v.rev, key: v.key, digest: v.digest,
			users: v.users.fork(), roles: v.roles.fork(), merger: v.merger,
		}
	}
	return t.working
}

// advance returns the view to change, with the revision of the change.
func (t *Table) advance(b *storage.Batch) *View {
	v := t.edit()
	v.rev++
	saveMeta(b, v)
	return v
}

// Enable switches users on. The auth revision stays: nobody was asked for a name before.
func (t *Table) Enable(b *storage.Batch, key []byte) error {
	v := t.Working()
	if v.enabled {
		return nil
	}
	root, ok := v.users.get(rootName)
	if !ok {
		return ErrRootUserNotExist
	}
	if !root.root {
		return ErrRootRoleNotExist
	}
	v = t.edit()
	v.enabled, v.key = true, bytes.Clone(key)
	saveMeta(b, v)
	return nil
}

// Disable switches users off, and forgets the key: no token is good any more.
func (t *Table) Disable(b *storage.Batch) error {
	if !t.Working().enabled {
		return nil
	}
	v := t.edit()
	v.enabled, v.key = false, nil
	t.advance(b)
	return nil
}
