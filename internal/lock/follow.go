package lock

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// errLookAgain means that the history to follow has been compacted away: what is true now must be read.
var errLookAgain = errors.New("the history has been compacted")

// follow hands what happens in the given ranges to see, until see is content, ctx ends, or the watch does.
// The watch ends with the call.
func (s *Service) follow(ctx context.Context, see func(*pb.WatchResponse) (enough bool, err error), ranges ...*pb.WatchCreateRequest) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.watches.Watch(ctx)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
		if err := stream.Send(create); err != nil {
			break // the stream has ended, and Recv knows why
		}
	}
	for {
		news, err := stream.Recv()
		switch {
		case err != nil:
			return err
		case news.CompactRevision != 0:
			return errLookAgain
		case news.Canceled:
			return errors.New(news.CancelReason)
		}
		if enough, err := see(news); enough || err != nil {
			return err
		}
	}
}

// untilDeleted waits until one of the keys is deleted at rev or later.
func (s *Service) untilDeleted(ctx context.Context, rev int64, keys ...[]byte) error {
	var ranges []*pb.WatchCreateRequest
	for _, key := range keys {
		ranges = append(ranges, &pb.WatchCreateRequest{
			Key: key, StartRevision: rev, Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT},
		})
	}
	err := s.follow(ctx, func(news *pb.WatchResponse) (bool, error) { return len(news.Events) > 0, nil }, ranges...)
	if errors.Is(err, errLookAgain) {
		return nil
	}
	return err
}

// firstPut waits for the first key to be written below a prefix at rev or later. It is nil when that must be
// read, because it is no longer in the history.
func (s *Service) firstPut(ctx context.Context, prefix []byte, rev int64) (header *pb.ResponseHeader, kv *mvccpb.KeyValue, err error) {
	err = s.follow(ctx, func(news *pb.WatchResponse) (bool, error) {
		header = news.Header
		if len(news.Events) > 0 {
			kv = news.Events[0].Kv
			// The message may tell of later revisions too, and the caller goes on from this one.
			header.Revision = kv.GetModRevision()
		}
		return kv != nil, nil
	}, &pb.WatchCreateRequest{
		Key: prefix, RangeEnd: endOf(prefix), StartRevision: rev,
		Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE},
	})
	if errors.Is(err, errLookAgain) {
		return nil, nil, nil
	}
	return header, kv, err
}
