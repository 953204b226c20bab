package auth

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/keelson-db/keelson/internal/storage"
)

// The layouts are in docs/data.md. A text is its length as uvarint and its bytes, a list its count as uvarint and
// its items. Lists are in order, so that a row that was damaged is noticed more often than by its lengths alone.
const rowFormat = 1

// Flags of a user's row.
const flagNoPassword = 1

// Flags of a permission in a role's row.
const (
	flagRead  = 1
	flagWrite = 2
)

func saveMeta(b *storage.Batch, v *View) {
	b.Set(storage.MetaKey(nil, storage.MetaAuth), encodeMeta(v))
}

func encodeMeta(v *View) []byte {
	b := []byte{rowFormat, flag(v.enabled, 1)}
	b = binary.AppendUvarint(b, v.rev)
	return appendText(b, v.key)
}

func parseMeta(row []byte) (v View, why string) {
	r := newReader(row)
	enabled := r.flags(1)
	v = View{enabled: enabled == 1, rev: r.uvarint(), key: r.text()}
	if v.rev < firstRevision {
		r.fail("the auth revision begins at 1")
	}
	return v, r.end()
}

func encodeUser(u *User) []byte {
	b := []byte{rowFormat, flag(u.NoPassword, flagNoPassword)}
	b = binary.AppendUvarint(b, u.Epoch)
	b = appendText(b, u.Hash)
	return appendTexts(b, u.Roles)
}

func parseUser(name string, row []byte) (u User, why string) {
	r := newReader(row)
	u = User{Name: name, NoPassword: r.flags(flagNoPassword) != 0, Epoch: r.uvarint(), Hash: r.text()}
	for range r.count() {
		role := string(r.text())
		if n := len(u.Roles); n > 0 && u.Roles[n-1] >= role {
			r.fail("the roles are not in order")
		}
		u.Roles = append(u.Roles, role)
	}
	return u, r.end()
}

func encodeRole(role *Role) []byte {
	b := binary.AppendUvarint([]byte{rowFormat}, uint64(len(role.Permissions)))
	for _, p := range role.Permissions {
		b = append(b, flag(p.Read, flagRead)|flag(p.Write, flagWrite))
		b = appendText(b, p.Key)
		b = appendText(b, p.End)
	}
	return b
}

func parseRole(name string, row []byte) (role Role, why string) {
	r := newReader(row)
	role.Name = name
	for range r.count() {
		f := r.flags(flagRead | flagWrite)
		p := Permission{Read: f&flagRead != 0, Write: f&flagWrite != 0, Key: r.text(), End: r.text()}
		if n := len(role.Permissions); n > 0 && bytes.Compare(role.Permissions[n-1].Key, p.Key) > 0 {
			r.fail("the permissions are not in order")
		}
		role.Permissions = append(role.Permissions, p)
	}
	return role, r.end()
}

func load(e storage.Reader) (*View, error) {
	v, err := loadMeta(e)
	if err != nil {
		return nil, fmt.Errorf("read whether users are on: %w", err)
	}
	v.users.base, v.roles.base, v.merger = make(map[string]*account), make(map[string]*Role), newMerger(0)
	lower, upper := storage.UserRowSpan()
	err = walk(e, "users", lower, upper, storage.ParseUserRowKey, func(name string, row []byte) string {
		u, why := parseUser(name, row)
		v.users.base[name] = newAccount(u)
		v.digest += userDigest(&u)
		return why
	})
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	lower, upper = storage.RoleRowSpan()
	err = walk(e, "roles", lower, upper, storage.ParseRoleRowKey, func(name string, row []byte) string {
		r, why := parseRole(name, row)
		v.roles.base[name] = &r
		v.digest += roleDigest(&r)
		return why
	})
	if err != nil {
		return nil, fmt.Errorf("read roles: %w", err)
	}
	return v, nil
}

func loadMeta(e storage.Reader) (*View, error) {
	row, ok, err := e.Get(storage.MetaKey(nil, storage.MetaAuth), nil)
	if err != nil {
		return nil, err
	}
	if !ok {
		return &View{rev: firstRevision}, nil
	}
	v, why := parseMeta(row)
	if why != "" {
		return nil, &storage.DamagedError{Table: "meta", Key: []byte(storage.MetaAuth), Why: why}
	}
	return &v, nil
}

func walk(e storage.Reader, table string, lower, upper []byte, nameOf func([]byte) (string, bool),
	row func(name string, row []byte) (why string),
) (err error) {
	it, err := e.Iter(lower, upper)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		name, valid := nameOf(it.Key())
		if !valid {
			return &storage.DamagedError{Table: table, Key: bytes.Clone(it.Key()), Why: "the key has no name"}
		}
		if why := row(name, it.Value()); why != "" {
			return &storage.DamagedError{Table: table, Key: bytes.Clone(it.Key()), Why: why}
		}
	}
	return nil
}
