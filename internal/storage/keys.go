package storage

import (
	"encoding/binary"
)

// Every key of the engine begins with one byte that names its table. The
// table of tables, also in docs/data.md:
//
//	'k' records    k · esc(user key) · ^rev(8) · ^sub(4)   encoded KeyValue, or empty for a tombstone
//	'r' revisions  r · rev(8) · sub(4)                     kind(1) · prev rev · prev sub · length · crc(4) · user key
//	'l' leases     l · id(8)                               owned by lease
//	'n' members    n · id(8)                               owned by member
//	'u' users      u · name                                owned by auth
//	'o' roles      o · name                                owned by auth
//	'm' meta       m · name                                by name
//
// Numbers are big-endian, so that byte order is number order.
const (
	tableLease    = 'l'
	tableMeta     = 'm'
	tableMember   = 'n'
	tableRecord   = 'k'
	tableRevision = 'r'
	tableRole     = 'o'
	tableUser     = 'u'
)

// Names of the meta table.
const (
	MetaFormat    = "format"    // version of the state's layout
	MetaApplied   = "applied"   // index and term of the last applied log entry
	MetaConfState = "confstate" // raft's configuration
	MetaRevision  = "revision"  // revision of the store
	MetaCompact   = "compact"   // newest compaction that was asked for
	MetaCompacted = "compacted" // revision up to which it was carried out
	MetaWritten   = "written"   // bytes of all versions ever written
	MetaRemoved   = "removed"   // bytes of those that compactions removed
	MetaCluster   = "cluster"   // identity of the cluster
	MetaLog       = "log"       // name of the raft log that feeds the state
	MetaAlarms    = "alarms"    // active alarms
	MetaAuth      = "auth"      // whether users are asked for, the auth revision, the key of tokens
	MetaLevel     = "level"     // feature level of the cluster
	MetaDowngrade = "downgrade" // the release that the cluster is told to go back to
	MetaDiverged  = "diverged"  // says that other members hold something else
)

// MetaKey appends the key of a named value to dst.
func MetaKey(dst []byte, name string) []byte {
	return append(append(dst, tableMeta), name...)
}

// MetaInt reads a number that SetMetaInt wrote; ok is false if there is none.
func (e *Engine) MetaInt(name string) (v int64, ok bool, err error) { return MetaInt(e, name) }

// LeaseKey appends the key of a lease's row to dst.
func LeaseKey(dst []byte, id int64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, tableLease), uint64(id))
}

// ParseLeaseKey returns the lease of a row's key.
func ParseLeaseKey(key []byte) (id int64, ok bool) {
	if len(key) != 9 || key[0] != tableLease {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(key[1:])), true
}

// LeaseSpan bounds all lease rows.
func LeaseSpan() (lower, upper []byte) { return []byte{tableLease}, []byte{tableLease + 1} }

// MemberKey appends the key of a member's row to dst.
func MemberKey(dst []byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, tableMember), id)
}

// ParseMemberKey returns the member of a row's key.
func ParseMemberKey(key []byte) (id uint64, ok bool) {
	if len(key) != 9 || key[0] != tableMember {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[1:]), true
}

// MemberSpan bounds all member rows.
func MemberSpan() (lower, upper []byte) { return []byte{tableMember}, []byte{tableMember + 1} }

// UserRowKey appends the key of a user's row to dst.
func UserRowKey(dst []byte, name string) []byte { return append(append(dst, tableUser), name...) }

// ParseUserRowKey returns the user of a row's key.
func ParseUserRowKey(key []byte) (name string, ok bool) { return parseName(key, tableUser) }

// UserRowSpan bounds all users' rows.
func UserRowSpan() (lower, upper []byte) { return []byte{tableUser}, []byte{tableUser + 1} }

// RoleRowKey appends the key of a role's row to dst.
func RoleRowKey(dst []byte, name string) []byte { return append(append(dst, tableRole), name...) }

// ParseRoleRowKey returns the role of a row's key.
func ParseRoleRowKey(key []byte) (name string, ok bool) { return parseName(key, tableRole) }

// RoleRowSpan bounds all roles' rows.
func RoleRowSpan() (lower, upper []byte) { return []byte{tableRole}, []byte{tableRole + 1} }

func parseName(key []byte, table byte) (name string, ok bool) {
	if len(key) < 2 || key[0] != table {
		return "", false
	}
	return string(key[1:]), true
}
