package config

import (
	"crypto/sha1" // The ids of etcd are defined by SHA-1; nothing here needs its strength.
	"encoding/binary"
	"slices"
	"strings"
)

// MemberID is the id that a member gets when its cluster is founded: the first
// eight bytes of a hash over its sorted peer URLs and the cluster's token. It
// is etcd's own rule, so that the same flags give the same ids.
func MemberID(peerURLs []string, token string) uint64 {
	sorted := slices.Sorted(slices.Values(peerURLs))
	sum := sha1.Sum([]byte(strings.Join(sorted, "") + token))
	return binary.BigEndian.Uint64(sum[:8])
}

// ClusterID is the id of a cluster founded by these members: the first eight
// bytes of a hash over their sorted ids. It stays the same when members change.
func ClusterID(members []uint64) uint64 {
	sorted := slices.Sorted(slices.Values(members))
	bytes := make([]byte, 0, 8*len(sorted))
	for _, id := range sorted {
		bytes = binary.BigEndian.AppendUint64(bytes, id)
	}
	sum := sha1.Sum(bytes)
	return binary.BigEndian.Uint64(sum[:8])
}
