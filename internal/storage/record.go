package storage

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// A record's key is the user's key, escaped so that no key is a prefix of
// another and byte order is kept, followed by the inverted revision and
// sub-revision, so that the newest version of a key sorts first:
//
//	esc: every 0x00 becomes 0x00 0xFF, and the end is marked by 0x00 0x01
const (
	escByte = 0x00
	escZero = 0xff
	escEnd  = 0x01
	escPast = 0x02 // in place of escEnd: sorts after every version of the key
	// positionLen is the length of the inverted revision and sub-revision.
	positionLen = 8 + 4
)

func escapedLen(user string) int {
	if strings.IndexByte(user, escByte) < 0 {
		return len(user)
	}
	return len(user) + strings.Count(user, "\x00")
}

func recordKeyLen(user string) int { return 1 + escapedLen(user) + 2 + positionLen }

// putRecordKey fills dst, which has exactly the right length.
func putRecordKey(dst []byte, user string, rev int64, sub int32) {
	key := AppendRecordKey(dst[:0], user, rev, sub)
	_ = dst[len(key)-1]
}

func appendEscaped(dst []byte, user string, end byte) []byte {
	dst = append(dst, tableRecord)
	for {
		i := strings.IndexByte(user, escByte)
		if i < 0 {
			break
		}
		dst = append(append(dst, user[:i]...), escByte, escZero)
		user = user[i+1:]
	}
	return append(append(dst, user...), escByte, end)
}

// AppendRecordKey appends the key of one version of a user's key to dst.
func AppendRecordKey(dst []byte, user string, rev int64, sub int32) []byte {
	return AppendPosition(appendEscaped(dst, user, escEnd), rev, sub)
}

// AppendRecordFrom appends the bound at or below every version of a user's
// key and above every smaller key.
func AppendRecordFrom(dst []byte, user string) []byte { return appendEscaped(dst, user, escEnd) }

// AppendRecordPast appends the bound above every version of a user's key and
// at or below every larger key.
func AppendRecordPast(dst []byte, user string) []byte { return appendEscaped(dst, user, escPast) }

// RecordEnd is the bound above every record.
func RecordEnd() []byte { return []byte{tableRecord + 1} }

// SplitRecordKey cuts a record's key into the part that all versions of the
// user's key share and the position of this version.
func SplitRecordKey(key []byte) (shared []byte, rev int64, sub int32, ok bool) {
	n := len(key) - positionLen
	if n < 3 || key[0] != tableRecord || key[n-2] != escByte || key[n-1] != escEnd {
		return nil, 0, 0, false
	}
	rev = int64(^binary.BigEndian.Uint64(key[n:]))
	sub = int32(^binary.BigEndian.Uint32(key[n+8:]))
	return key[:n], rev, sub, rev >= 0 && sub >= 0
}

// UserKey returns the user's key of the shared part that SplitRecordKey
// returned: a part of it where nothing was escaped, else appended to dst.
func UserKey(shared, dst []byte) (user []byte, ok bool) {
	esc := shared[1 : len(shared)-2]
	if bytes.IndexByte(esc, escByte) < 0 {
		return esc, true
	}
	for {
		i := bytes.IndexByte(esc, escByte)
		if i < 0 {
			return append(dst, esc...), true
		}
		if i+1 >= len(esc) || esc[i+1] != escZero {
			return nil, false
		}
		dst = append(append(dst, esc[:i]...), escByte)
		esc = esc[i+2:]
	}
}

// AppendPosition appends a position to the shared part of a record's key.
func AppendPosition(shared []byte, rev int64, sub int32) []byte {
	shared = binary.BigEndian.AppendUint64(shared, ^uint64(rev))
	return binary.BigEndian.AppendUint32(shared, ^uint32(sub))
}
