package wire

import "google.golang.org/grpc/mem"

// SnapshotPiece makes the SnapshotResponse of a piece of a snapshot, whose memory it takes over and does not copy.
func SnapshotPiece(remaining uint64, blob mem.Buffer, version []byte) any {
	// What stands in front of the piece and behind it are two ends of one small piece of memory.
	ends := make([]byte, 0, sizeInt(remaining)+1+sizeVarint(uint64(blob.Len()))+sizeBytes(version))
	ends = appendLen(appendInt(ends, tag2Varint, remaining), tag3Bytes, blob.Len())
	head := len(ends)
	ends = appendBytes(ends, tag4Bytes, version)
	return &Encoded{Bufs: mem.BufferSlice{mem.SliceBuffer(ends[:head]), blob, mem.SliceBuffer(ends[head:])}}
}
