package auth

import (
	"bytes"
	"slices"

	"github.com/keelson-db/keelson/internal/storage"
)

// AddUser adds a user; hash is empty with noPassword.
func (t *Table) AddUser(b *storage.Batch, name string, hash []byte, noPassword bool) error {
	if name == "" {
		return ErrUserEmpty
	}
	if _, ok := t.Working().users.get(name); ok {
		return ErrUserExists
	}
	t.advance(b).setPassword(b, User{Name: name, NoPassword: noPassword}, hash)
	return nil
}

// DeleteUser removes a user.
func (t *Table) DeleteUser(b *storage.Batch, name string) error {
	v := t.Working()
	if v.enabled && name == rootName {
		return ErrInvalidManagement
	}
	if _, ok := v.users.get(name); !ok {
		return ErrUserNotFound
	}
	t.advance(b).setUser(name, nil)
	b.Delete(storage.UserRowKey(nil, name))
	return nil
}

// ChangePassword replaces a user's password. A user that cannot log in with one still cannot.
func (t *Table) ChangePassword(b *storage.Batch, name string, hash []byte) error {
	a, ok := t.Working().users.get(name)
	if !ok {
		return ErrUserNotFound
	}
	t.advance(b).setPassword(b, a.User, hash)
	return nil
}

// setPassword puts a user whose password is set with the change that is being made.
func (v *View) setPassword(b *storage.Batch, u User, hash []byte) {
	u.Hash, u.Epoch = nil, v.rev
	if !u.NoPassword && len(hash) > 0 {
		u.Hash = bytes.Clone(hash)
	}
	v.putUser(b, u)
}

// GrantRole gives a user a role. It may have it already. The role root needs no entry.
func (t *Table) GrantRole(b *storage.Batch, user, role string) error {
	v := t.Working()
	a, ok := v.users.get(user)
	if !ok {
		return ErrUserNotFound
	}
	if _, ok := v.roles.get(role); !ok && role != rootName {
		return ErrRoleNotFound
	}
	i, has := slices.BinarySearch(a.Roles, role)
	if has {
		return nil
	}
	u := a.User
	u.Roles = slices.Insert(slices.Clone(u.Roles), i, role)
	t.advance(b).putUser(b, u)
	return nil
}

// RevokeRole takes a role from a user.
func (t *Table) RevokeRole(b *storage.Batch, user, role string) error {
	v := t.Working()
	if v.enabled && user == rootName && role == rootName {
		return ErrInvalidManagement
	}
	a, ok := v.users.get(user)
	if !ok {
		return ErrUserNotFound
	}
	if _, has := slices.BinarySearch(a.Roles, role); !has {
		return ErrRoleNotGranted
	}
	t.advance(b).dropRole(b, a, role)
	return nil
}

// dropRole takes a role from a user that has it.
func (v *View) dropRole(b *storage.Batch, a *account, role string) {
	i, _ := slices.BinarySearch(a.Roles, role)
	u := a.User
	u.Roles = slices.Delete(slices.Clone(u.Roles), i, i+1)
	v.putUser(b, u)
}

// putUser keeps a user as it is now; nobody may change what it refers to afterwards.
func (v *View) putUser(b *storage.Batch, u User) {
	v.setUser(u.Name, newAccount(u))
	b.Set(storage.UserRowKey(nil, u.Name), encodeUser(&u))
}

func newAccount(u User) *account {
	_, root := slices.BinarySearch(u.Roles, rootName)
	return &account{User: u, root: root}
}
