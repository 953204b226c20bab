package rpc

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/wire"
)

// firstChunkKeys is how many keys the first chunk of a streamed range has at most: a client sees
// something soon, and the sizes of the records become known.
const firstChunkKeys = 10

// rangeStream answers a range in chunks. All chunks show the same revision, that of the first one. Every
// chunk reads from a view of its own: a client that reads slowly must not keep compaction waiting, so
// when a compaction overtakes it the stream ends with ErrCompacted, as etcd's does.
func (s *kvServer) rangeStream(stream grpc.ServerStream) error {
	r := new(pb.RangeRequest)
	if err := stream.RecvMsg(r); err != nil {
		return err
	}
	if err := checkRangeStream(r); err != nil {
		return err
	}
	ctx := stream.Context()
	if err := s.barrier(ctx, r.Serializable); err != nil {
		return err
	}
	q := state.Query(r)
	q.Sort, q.Target = mvcc.SortNone, mvcc.ByKey
	return s.sendChunks(ctx, stream, r, q)
}

func checkRangeStream(r *pb.RangeRequest) error {
	if err := checkRange(r); err != nil {
		return err
	}
	if r.SortOrder == pb.RangeRequest_DESCEND ||
		r.SortOrder == pb.RangeRequest_ASCEND && r.SortTarget != pb.RangeRequest_KEY {
		return status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	}
	if r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0 {
		return status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
	}
	return nil
}

// sendChunks reads and sends chunk by chunk until the range or the limit ends. The number of keys in a
// chunk grows while chunks are small; its bytes are bounded whatever the number is. Each chunk asks again
// whether the caller may read the whole range, so a right that is taken away ends the stream.
func (s *kvServer) sendChunks(ctx context.Context, stream grpc.ServerStream, r *pb.RangeRequest, q mvcc.RangeQuery) error {
	limit := r.Limit
	q.MaxBytes = int64(s.maxBytes)
	var first *mvcc.RangeResult // its revisions and its count speak for the whole stream
	keys, left := int64(firstChunkKeys), limit
	for {
		q.Limit = keys
		if limit > 0 {
			q.Limit = min(keys, left)
		}
		res, err := s.look(ctx, r, q)
		if err != nil {
			return err
		}
		if first == nil {
			first = &mvcc.RangeResult{Rev: res.Rev, Count: res.Count}
			if q.Rev <= 0 {
				q.Rev = res.Rev
			}
		}
		left -= int64(res.N)
		// The store says More for a bounded chunk as well as for a range that is cut; it is the end when
		// there is no more, or no more is wanted.
		last := !res.More || limit > 0 && left <= 0
		m := wire.Range{Result: res, Streamed: true}
		if last {
			m.Header, m.More, m.Count = s.at(first.Rev), res.More, first.Count
		}
		if res.Bytes < int64(s.maxBytes)/2 {
			keys *= 2
		}
		next := append(append([]byte(nil), res.LastKey...), 0)
		if err := stream.SendMsg(m.Encode()); err != nil || last {
			return err
		}
		q.Key = next
	}
}
