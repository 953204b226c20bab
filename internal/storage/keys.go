package storage

// LeaseKey is the key of a lease's row.
func LeaseKey(dst []byte, id int64) []byte { panic("not built") }

// ParseLeaseKey returns the lease of a row's key.
func ParseLeaseKey(key []byte) (id int64, ok bool) { panic("not built") }

// LeaseSpan bounds all lease rows.
func LeaseSpan() (lower, upper []byte) { panic("not built") }

// MemberKey is the key of a member's row.
func MemberKey(dst []byte, id uint64) []byte { panic("not built") }

// ParseMemberKey returns the member of a row's key.
func ParseMemberKey(key []byte) (id uint64, ok bool) { panic("not built") }

// MemberSpan bounds all member rows.
func MemberSpan() (lower, upper []byte) { panic("not built") }

// MetaKey is the key of a named value.
func MetaKey(dst []byte, name string) []byte { panic("not built") }

// Names of the meta table.
const (
	MetaFormat    = "format"
	MetaApplied   = "applied"
	MetaConfState = "confstate"
	MetaRevision  = "revision"
	MetaCompact   = "compact"
	MetaCompacted = "compacted"
	MetaCluster   = "cluster"
	MetaAlarms    = "alarms"
)
