package mvcc

import (
	"encoding/binary"
	"math/bits"
)

// The encoded mvccpb.KeyValue, written by hand in wire order with zero fields
// left out, as any protobuf library reads it.
const (
	tagKey     = 1<<3 | 2
	tagCreate  = 2<<3 | 0
	tagMod     = 3<<3 | 0
	tagVersion = 4<<3 | 0
	tagValue   = 5<<3 | 2
	tagLease   = 6<<3 | 0
)

// record is a KeyValue's fields. Of a parsed one, key and value are parts of
// the encoded bytes.
type record struct {
	key, value  []byte
	create, mod Rev
	version     int64
	lease       int64
}

func varintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func fieldLen(v int64) int {
	if v == 0 {
		return 0
	}
	return 1 + varintLen(uint64(v))
}

func bytesLen(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + varintLen(uint64(n)) + n
}

// recordLen is the encoded length of a record.
func recordLen(key, value int, create, mod Rev, version, lease int64) int {
	return bytesLen(key) + fieldLen(int64(create)) + fieldLen(int64(mod)) + fieldLen(version) +
		bytesLen(value) + fieldLen(lease)
}

func appendField(dst []byte, tag byte, v int64) []byte {
	if v == 0 {
		return dst
	}
	return binary.AppendUvarint(append(dst, tag), uint64(v))
}

func appendBytes[T string | []byte](dst []byte, tag byte, v T) []byte {
	if len(v) == 0 {
		return dst
	}
	return append(binary.AppendUvarint(append(dst, tag), uint64(len(v))), v...)
}

// appendRecord appends an encoded record.
func appendRecord[T string | []byte](dst []byte, key T, value []byte, create, mod Rev, version, lease int64) []byte {
	dst = appendBytes(dst, tagKey, key)
	dst = appendField(dst, tagCreate, int64(create))
	dst = appendField(dst, tagMod, int64(mod))
	dst = appendField(dst, tagVersion, version)
	dst = appendBytes(dst, tagValue, value)
	return appendField(dst, tagLease, lease)
}

// parseRecord reads an encoded record without copying; ok is false if the
// bytes are not what appendRecord writes.
func parseRecord(b []byte) (r record, ok bool) {
	for last := byte(0); len(b) > 0; {
		tag := b[0]
		if tag <= last {
			return record{}, false
		}
		last = tag
		v, n := binary.Uvarint(b[1:])
		if n <= 0 {
			return record{}, false
		}
		b = b[1+n:]
		switch tag {
		case tagKey, tagValue:
			if v > uint64(len(b)) {
				return record{}, false
			}
			if tag == tagKey {
				r.key = b[:v:v]
			} else {
				r.value = b[:v:v]
			}
			b = b[v:]
		case tagCreate:
			r.create = Rev(v)
		case tagMod:
			r.mod = Rev(v)
		case tagVersion:
			r.version = int64(v)
		case tagLease:
			r.lease = int64(v)
		default:
			return record{}, false
		}
	}
	return r, true
}
