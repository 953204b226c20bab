package auth

import (
	"sync"
	"sync/atomic"
)

// maxRoleSets bounds the remembered combinations of roles, in combinations.
const maxRoleSets = 4096

// rights are what a user may read and write, by all of its roles.
type rights struct {
	version     uint64 // of the roles
	read, write spans
}

// account is a user with what was worked out about it. A user that changes gets a new one.
type account struct {
	User
	root   bool
	rights atomic.Pointer[rights]
}

// merger merges the permissions of roles, once for each combination that somebody has. It belongs to the roles
// as they stand: when any of them changes, the next version takes its place.
type merger struct {
	version uint64

	mu   sync.Mutex
	sets map[string]*rights
}

func newMerger(version uint64) *merger {
	return &merger{version: version, sets: make(map[string]*rights)}
}

// rightsOf returns what a user may do. Different views can have different roles for the same account, so what is
// remembered counts only for its version.
func (v *View) rightsOf(a *account) *rights {
	if r := a.rights.Load(); r != nil && r.version == v.merger.version {
		return r
	}
	r := v.merger.merge(v, a.Roles)
	a.rights.Store(r)
	return r
}

func (m *merger) merge(v *View, names []string) *rights {
	set := string(appendTexts(nil, names))
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.sets[set]; ok {
		return r
	}
	var read, write []span
	for _, name := range names {
		role, ok := v.roles.get(name)
		if !ok {
			continue // only the role root, which needs no entry
		}
		for _, p := range role.Permissions {
			s := spanOf(p.Key, p.End)
			if p.Read {
				read = append(read, s)
			}
			if p.Write {
				write = append(write, s)
			}
		}
	}
	r := &rights{version: m.version, read: merge(read), write: merge(write)}
	if len(m.sets) >= maxRoleSets {
		clear(m.sets) // accounts keep what they use
	}
	m.sets[set] = r
	return r
}
