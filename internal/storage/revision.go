package storage

import (
	"encoding/binary"
	"fmt"
)

// revisionKeyLen is the length of a revision row's key in bytes.
const revisionKeyLen = 1 + 8 + 4

// Kinds of a revision row.
const (
	kindPut    = 0
	kindDelete = 1
)

// Revision is one row of the revision index: what happened at a position.
type Revision struct {
	Delete  bool
	PrevRev int64 // position of the version that was replaced; 0 if the key did not exist
	PrevSub int32
	// Value is the sum of what etcd keeps under the position: the encoded
	// KeyValue, of a tombstone one with nothing but the key. With it, hashes
	// and the layout of a snapshot need none of the records.
	Value Sum
	User  string // user's key; of a parsed row it is a copy
}

// sumLen is the length of a row's check sum in bytes.
const sumLen = 4

func (r Revision) len() int {
	return 1 + uvarintLen(uint64(r.PrevRev)) + uvarintLen(uint64(r.PrevSub)) + uvarintLen(r.Value.Len) + sumLen + len(r.User)
}

func uvarintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// put fills dst, which has exactly the right length.
func (r Revision) put(dst []byte) {
	dst[0] = kindPut
	if r.Delete {
		dst[0] = kindDelete
	}
	n := 1 + binary.PutUvarint(dst[1:], uint64(r.PrevRev))
	n += binary.PutUvarint(dst[n:], uint64(r.PrevSub))
	n += binary.PutUvarint(dst[n:], r.Value.Len)
	binary.BigEndian.PutUint32(dst[n:], r.Value.CRC)
	copy(dst[n+sumLen:], r.User)
}

// ParseRevision reads a revision row's value.
func ParseRevision(val []byte) (Revision, error) {
	r, user, err := SplitRevision(val)
	r.User = string(user)
	return r, err
}

// SplitRevision reads a revision row's value without copying: the user's key
// is a part of it, and not in the Revision.
func SplitRevision(val []byte) (r Revision, user []byte, err error) {
	if len(val) < 3 || val[0] > kindDelete {
		return Revision{}, nil, &DamagedError{Table: "revisions", Why: "a row begins with its kind and the replaced position"}
	}
	rest := val[1:]
	rev, n := binary.Uvarint(rest)
	if n <= 0 || int64(rev) < 0 {
		return Revision{}, nil, &DamagedError{Table: "revisions", Why: "the replaced revision is not a number"}
	}
	rest = rest[n:]
	sub, n := binary.Uvarint(rest)
	if n <= 0 || sub > 1<<31-1 {
		return Revision{}, nil, &DamagedError{Table: "revisions", Why: "the replaced sub-revision is not a number"}
	}
	rest = rest[n:]
	size, n := binary.Uvarint(rest)
	if n <= 0 || size > maxValueLen || len(rest) < n+sumLen {
		return Revision{}, nil, &DamagedError{Table: "revisions", Why: "the record's length and check sum are missing"}
	}
	return Revision{
		Delete: val[0] == kindDelete, PrevRev: int64(rev), PrevSub: int32(sub),
		Value: Sum{Len: size, CRC: binary.BigEndian.Uint32(rest[n:])},
	}, rest[n+sumLen:], nil
}

func putRevisionKey(dst []byte, rev int64, sub int32) {
	dst[0] = tableRevision
	binary.BigEndian.PutUint64(dst[1:], uint64(rev))
	binary.BigEndian.PutUint32(dst[9:], uint32(sub))
}

// AppendRevisionKey appends the key of a position's row to dst.
func AppendRevisionKey(dst []byte, rev int64, sub int32) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, tableRevision), uint64(rev))
	return binary.BigEndian.AppendUint32(dst, uint32(sub))
}

// ParseRevisionKey returns the position of a row's key.
func ParseRevisionKey(key []byte) (rev int64, sub int32, ok bool) {
	if len(key) != revisionKeyLen || key[0] != tableRevision {
		return 0, 0, false
	}
	rev = int64(binary.BigEndian.Uint64(key[1:]))
	sub = int32(binary.BigEndian.Uint32(key[9:]))
	return rev, sub, rev >= 0 && sub >= 0
}

// DamagedError says that a row cannot be what this program wrote.
type DamagedError struct {
	Table string
	Key   []byte
	Why   string
}

// Error tells which row is damaged, what it means and what to do.
func (d *DamagedError) Error() string {
	return fmt.Sprintf("damaged row %q in table %s: %s; the data directory was changed by something else or the disk "+
		"returned wrong bytes: restore this member from a backup or from the other members", d.Key, d.Table, d.Why)
}
