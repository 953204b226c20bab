package lease

// Kind says what happened to a lease.
type Kind uint8

// What can happen to a lease.
const (
	Granted Kind = iota
	Revoked
	Checkpointed
)

// Change is one thing that happened to a lease, and the lease as it was after it.
type Change struct {
	Lease
	Kind Kind
}

// changes is the recent past of the table, so that whoever follows it can ask what is new.
type changes struct {
	first   uint64 // sequence number of recent[0]; numbers begin at 1
	recent  []Change
	changed chan struct{} // closed at the next publish
	pending bool          // something was added since the last publish
}

func newChanges() changes {
	return changes{first: 1, changed: make(chan struct{})}
}

func (c *changes) add(ch Change) {
	if len(c.recent) == MaxChanges {
		// Half at a time, so that forgetting costs a copy now and then and not one each time.
		c.first += MaxChanges / 2
		c.recent = append(c.recent[:0], c.recent[MaxChanges/2:]...)
	}
	c.recent = append(c.recent, ch)
	c.pending = true
}

func (c *changes) publish() {
	if c.pending {
		c.pending = false
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// Changes returns what happened after the sequence number since, and the number to ask with next. Who
// begins (since 0) or has fallen behind what is remembered is given every living lease as Granted, with
// whole set: what it knew before no longer counts.
func (t *Table) Changes(since uint64) (list []Change, whole bool, next uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	next = t.history.first + uint64(len(t.history.recent))
	if since >= t.history.first {
		return append([]Change(nil), t.history.recent[since-t.history.first:]...), false, next
	}
	for _, l := range t.list() {
		list = append(list, Change{Lease: l, Kind: Granted})
	}
	return list, true, next
}

// Changed returns a channel that is closed when something happens to a lease.
func (t *Table) Changed() <-chan struct{} {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.history.changed
}
