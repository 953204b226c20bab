package auth

import (
	"bytes"
	"cmp"
	"slices"
	"sort"

	"github.com/keelson-db/keelson/internal/storage"
)

// AddRole adds a role.
func (t *Table) AddRole(b *storage.Batch, name string) error {
	if name == "" {
		return ErrRoleEmpty
	}
	if _, ok := t.Working().roles.get(name); ok {
		return ErrRoleExists
	}
	t.advance(b).putRole(b, &Role{Name: name})
	return nil
}

// DeleteRole removes a role, also from the users that have it.
func (t *Table) DeleteRole(b *storage.Batch, name string) error {
	v := t.Working()
	if v.enabled && name == rootName {
		return ErrInvalidManagement
	}
	if _, ok := v.roles.get(name); !ok {
		return ErrRoleNotFound
	}
	v = t.advance(b)
	v.setRole(name, nil)
	v.merger = newMerger(v.merger.version + 1)
	b.Delete(storage.RoleRowKey(nil, name))
	var holders []*account
	for _, a := range v.users.all() {
		if _, has := slices.BinarySearch(a.Roles, name); has {
			holders = append(holders, a)
		}
	}
	// In order, so that every member writes the same batch.
	slices.SortFunc(holders, func(a, b *account) int { return cmp.Compare(a.Name, b.Name) })
	for _, a := range holders {
		v.dropRole(b, a, name)
	}
	return nil
}

// GrantPermission lets a role do more. What it may do with exactly this range is replaced.
func (t *Table) GrantPermission(b *storage.Batch, role string, p Permission) error {
	if !validRange(p.Key, p.End) {
		return ErrInvalidManagement
	}
	r, ok := t.Working().roles.get(role)
	if !ok {
		return ErrRoleNotFound
	}
	p.Key, p.End = bytes.Clone(p.Key), bytes.Clone(p.End)
	at, has := r.find(p.Key, p.End)
	list := slices.Clone(r.Permissions)
	if has {
		list[at] = p
	} else {
		list = slices.Insert(list, at, p)
	}
	t.advance(b).putRole(b, &Role{Name: role, Permissions: list})
	return nil
}

// RevokePermission takes the permission of exactly a range from a role.
func (t *Table) RevokePermission(b *storage.Batch, role string, key, end []byte) error {
	r, ok := t.Working().roles.get(role)
	if !ok {
		return ErrRoleNotFound
	}
	at, has := r.find(key, end)
	if !has {
		return ErrPermissionNotGranted
	}
	list := slices.Delete(slices.Clone(r.Permissions), at, at+1)
	t.advance(b).putRole(b, &Role{Name: role, Permissions: list})
	return nil
}

// find returns where the permission of exactly a range is, or where it belongs: behind those of the same key.
func (r *Role) find(key, end []byte) (at int, ok bool) {
	list := r.Permissions
	at = sort.Search(len(list), func(i int) bool { return bytes.Compare(list[i].Key, key) >= 0 })
	for ; at < len(list) && bytes.Equal(list[at].Key, key); at++ {
		if bytes.Equal(list[at].End, end) {
			return at, true
		}
	}
	return at, false
}

// putRole keeps a role as it is now; nobody may change what it refers to afterwards.
func (v *View) putRole(b *storage.Batch, r *Role) {
	v.setRole(r.Name, r)
	v.merger = newMerger(v.merger.version + 1)
	b.Set(storage.RoleRowKey(nil, r.Name), encodeRole(r))
}
