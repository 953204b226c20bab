package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"google.golang.org/protobuf/encoding/protowire"
)

// The gRPC methods the benchmark calls.
const (
	methodRange    = "/etcdserverpb.KV/Range"
	methodPut      = "/etcdserverpb.KV/Put"
	methodTxn      = "/etcdserverpb.KV/Txn"
	methodCompact  = "/etcdserverpb.KV/Compact"
	methodWatch    = "/etcdserverpb.Watch/Watch"
	methodStatus   = "/etcdserverpb.Maintenance/Status"
	methodHashKV   = "/etcdserverpb.Maintenance/HashKV"
	methodSnapshot = "/etcdserverpb.Maintenance/Snapshot"
	// methodsAuth is what all methods for users and roles begin with.
	methodsAuth = "/etcdserverpb.Auth/"
	methodLogin = methodsAuth + "Authenticate"
	// methodsCluster is what all methods for members begin with.
	methodsCluster   = "/etcdserverpb.Cluster/"
	methodMoveLeader = "/etcdserverpb.Maintenance/MoveLeader"
)

// keySize is the length of every benchmark key in bytes.
const keySize = 32

// valueSize is the length of every benchmark value in bytes.
const valueSize = 256

// grpcPrefix is the length of the frame header before each gRPC message: one flag byte, four bytes of length.
const grpcPrefix = 5

// Requests are encoded by hand because a generic encoder would cost the client more than the whole lean
// transport under it. Each function appends the gRPC frame header and the message to dst.

// appendPut encodes a PutRequest with a value drawn from random.
func appendPut(dst, key []byte, random *rand.PCG) []byte {
	dst, start := beginMessage(dst)
	dst = appendPutFields(dst, key, valueSize, random)
	return endMessage(dst, start)
}

// appendRange encodes a RangeRequest. Zero limit and revision mean all and latest; nil end means one key.
func appendRange(dst, key, end []byte, limit, revision int64) []byte {
	dst, start := beginMessage(dst)
	dst = appendBytesField(dst, 1, key)
	if len(end) > 0 {
		dst = appendBytesField(dst, 2, end)
	}
	dst = appendIntField(dst, 3, limit)
	dst = appendIntField(dst, 4, revision)
	return endMessage(dst, start)
}

// appendPutTxn encodes a TxnRequest without comparisons that puts every key with a value of so many bytes.
func appendPutTxn(dst []byte, keys [][]byte, value int, random *rand.PCG) []byte {
	dst, start := beginMessage(dst)
	putSize := bytesFieldSize(keySize) + bytesFieldSize(value)
	for _, key := range keys {
		opSize := bytesFieldSize(putSize)
		dst = protowire.AppendTag(dst, 2, protowire.BytesType) // TxnRequest.success
		dst = protowire.AppendVarint(dst, uint64(opSize))
		dst = protowire.AppendTag(dst, 2, protowire.BytesType) // RequestOp.request_put
		dst = protowire.AppendVarint(dst, uint64(putSize))
		dst = appendPutFields(dst, key, value, random)
	}
	return endMessage(dst, start)
}

// appendWatchCreate encodes a WatchRequest that creates one watcher on [key, end).
func appendWatchCreate(dst, key, end []byte) []byte {
	var create []byte
	create = appendBytesField(create, 1, key)
	create = appendBytesField(create, 2, end)
	dst, start := beginMessage(dst)
	dst = appendBytesField(dst, 1, create)
	return endMessage(dst, start)
}

func appendPutFields(dst, key []byte, value int, random *rand.PCG) []byte {
	dst = appendBytesField(dst, 1, key)
	dst = protowire.AppendTag(dst, 2, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(value))
	return appendRandom(dst, value, random)
}

// appendRandom appends size bytes (a multiple of eight) that no compressor can shorten: a server that
// compresses its files must not win by the emptiness of the test's values.
func appendRandom(dst []byte, size int, random *rand.PCG) []byte {
	for range size / 8 {
		dst = binary.LittleEndian.AppendUint64(dst, random.Uint64())
	}
	return dst
}

func appendBytesField(dst []byte, field protowire.Number, value []byte) []byte {
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	return protowire.AppendBytes(dst, value)
}

func appendIntField(dst []byte, field protowire.Number, value int64) []byte {
	if value == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, field, protowire.VarintType)
	return protowire.AppendVarint(dst, uint64(value))
}

// bytesFieldSize is the encoded size of a bytes field with a one-byte tag.
func bytesFieldSize(size int) int { return 1 + protowire.SizeBytes(size) }

func beginMessage(dst []byte) ([]byte, int) {
	start := len(dst)
	return append(dst, 0, 0, 0, 0, 0), start
}

func endMessage(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start+1:], uint32(len(dst)-start-grpcPrefix))
	return dst
}

// splitMessages cuts complete gRPC messages from the front of data, hands each to take, and returns the
// unfinished rest.
func splitMessages(data []byte, take func(message []byte) error) ([]byte, error) {
	for len(data) >= grpcPrefix {
		if data[0] != 0 {
			return nil, fmt.Errorf("read gRPC message: compressed although compression was not offered")
		}
		size := int(binary.BigEndian.Uint32(data[1:]))
		if len(data) < grpcPrefix+size {
			break
		}
		if err := take(data[grpcPrefix : grpcPrefix+size]); err != nil {
			return nil, err
		}
		data = data[grpcPrefix+size:]
	}
	return data, nil
}
