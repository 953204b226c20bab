package auth

import (
	"crypto/sha256"
	"encoding/binary"
)

// Digest tells users and roles from other ones. It is the sum of a number for each of them, so that it follows each
// change in constant time. Members of different releases compare it: it never changes.
func (v *View) Digest() uint64 { return v.digest }

// setUser keeps a user as it is now, or removes it with nil.
func (v *View) setUser(name string, a *account) {
	if old, ok := v.users.get(name); ok {
		v.digest -= userDigest(&old.User)
	}
	if a != nil {
		v.digest += userDigest(&a.User)
	}
	v.users.set(name, a)
}

// setRole does the same with a role.
func (v *View) setRole(name string, r *Role) {
	if old, ok := v.roles.get(name); ok {
		v.digest -= roleDigest(old)
	}
	if r != nil {
		v.digest += roleDigest(r)
	}
	v.roles.set(name, r)
}

func userDigest(u *User) uint64 { return rowDigest('u', u.Name, encodeUser(u)) }

func roleDigest(r *Role) uint64 { return rowDigest('r', r.Name, encodeRole(r)) }

// rowDigest is the beginning of the SHA-256 of a row, behind its kind and the length of its name.
func rowDigest(kind byte, name string, row []byte) uint64 {
	b := binary.AppendUvarint([]byte{kind}, uint64(len(name)))
	b = append(append(b, name...), row...)
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}
