package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/lease"
)

func wantHeader(t *testing.T, what string, got *pb.ResponseHeader, rev int64) {
	t.Helper()
	want := &pb.ResponseHeader{ClusterId: houseCluster, MemberId: houseMember, Revision: rev, RaftTerm: 2}
	if !proto.Equal(got, want) {
		t.Errorf("%s: header %v, want %v", what, got, want)
	}
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if status.Code(got) != status.Code(want) || rpctypes.ErrorDesc(got) != rpctypes.ErrorDesc(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestHeadersTellTheRevisionTheMethodSaw(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	empty, err := h.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")})
	if err != nil {
		t.Fatal(err)
	}
	wantHeader(t, "range of an empty store", empty.Header, 1)
	wantHeader(t, "first put", h.put(t, "a", "1").Header, 2)
	wantHeader(t, "second put", h.put(t, "a", "2").Header, 3)

	old, err := h.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a"), Revision: 2})
	if err != nil {
		t.Fatal(err)
	}
	wantHeader(t, "range of an old revision", old.Header, 3)
	if len(old.Kvs) != 1 || string(old.Kvs[0].Value) != "1" {
		t.Errorf("old revision: %v", old.Kvs)
	}

	nothing, err := h.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("none")})
	if err != nil {
		t.Fatal(err)
	}
	wantHeader(t, "delete of nothing", nothing.Header, 3)

	txn, err := h.kv.Txn(ctx, &pb.TxnRequest{Success: ops(opPut("b"), opRange("b"), opTxn(ops(opDel("a", "")), nil))})
	if err != nil {
		t.Fatal(err)
	}
	wantHeader(t, "txn", txn.Header, 4)
	if got := txn.Responses[0].GetResponsePut().Header; !proto.Equal(got, &pb.ResponseHeader{Revision: 4}) {
		t.Errorf("nested put: header %v", got)
	}
	if got := txn.Responses[2].GetResponseTxn(); got.Header == nil || !proto.Equal(got.Header, &pb.ResponseHeader{}) {
		t.Errorf("nested txn: header %v, want an empty one", got.Header)
	}

	compacted, err := h.kv.Compact(ctx, &pb.CompactionRequest{Revision: 3})
	if err != nil {
		t.Fatal(err)
	}
	wantHeader(t, "compaction", compacted.Header, 4)
}

func TestRangeAnswersAsItWasAsked(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	want := map[string]*mvccpb.KeyValue{}
	for i := range 40 {
		// The sizes make some answers one copied buffer and others lent frames.
		k, v := fmt.Sprintf("k%02d", i), strings.Repeat("v", i*i*4)
		rev := h.put(t, k, v).Header.Revision
		want[k] = &mvccpb.KeyValue{Key: []byte(k), Value: []byte(v), CreateRevision: rev, ModRevision: rev, Version: 1}
	}
	for _, limit := range []int64{0, 1, 2, 10, 39, 40, 41} {
		got, err := h.kv.Range(ctx, &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		n := int64(40)
		if limit > 0 {
			n = min(n, limit)
		}
		if int64(len(got.Kvs)) != n || got.More != (n < 40) || got.Count != 40 {
			t.Errorf("limit %d: %d keys, more %v, count %d", limit, len(got.Kvs), got.More, got.Count)
		}
		for _, kv := range got.Kvs {
			if !proto.Equal(kv, want[string(kv.Key)]) {
				t.Errorf("limit %d: key %s is wrong", limit, kv.Key)
			}
		}
	}
	count, err := h.kv.Range(ctx, &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), CountOnly: true})
	if err != nil || count.Count != 40 || len(count.Kvs) != 0 || count.More {
		t.Errorf("count only: %v, %v", count, err)
	}
	none, err := h.kv.Range(ctx, &pb.RangeRequest{Key: []byte("l"), RangeEnd: []byte("k")})
	if err != nil || none.Count != 0 || len(none.Kvs) != 0 {
		t.Errorf("an end before the key: %v, %v", none, err)
	}
}

func TestRefusedRequestsNeverReachTheLog(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	_, err := h.kv.Put(ctx, &pb.PutRequest{})
	wantError(t, "put", err, rpctypes.ErrGRPCEmptyKey)
	_, err = h.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{})
	wantError(t, "delete", err, rpctypes.ErrGRPCEmptyKey)
	_, err = h.kv.Range(ctx, &pb.RangeRequest{})
	wantError(t, "range", err, rpctypes.ErrGRPCEmptyKey)
	_, err = h.kv.Txn(ctx, &pb.TxnRequest{Success: ops(opPut("a"), opPut("a"))})
	wantError(t, "txn", err, rpctypes.ErrGRPCDuplicateKey)
	_, err = h.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: lease.MaxTTL + 1})
	wantError(t, "grant", err, rpctypes.ErrGRPCLeaseTTLTooLarge)
	if n := h.replica.proposals.Load() + h.replica.barriers.Load(); n != 0 {
		t.Errorf("%d of them went further", n)
	}
}

func TestVerdictsOfCommandsArriveAsEtcdsErrors(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	h.put(t, "a", "1")
	_, err := h.kv.Put(ctx, &pb.PutRequest{Key: []byte("b"), IgnoreValue: true})
	wantError(t, "ignore_value of a missing key", err, rpctypes.ErrGRPCKeyNotFound)
	_, err = h.kv.Put(ctx, &pb.PutRequest{Key: []byte("b"), Lease: 7})
	wantError(t, "unknown lease", err, rpctypes.ErrGRPCLeaseNotFound)
	_, err = h.kv.Compact(ctx, &pb.CompactionRequest{Revision: 99})
	wantError(t, "compaction of the future", err, rpctypes.ErrGRPCFutureRev)
	_, err = h.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a"), Revision: 99})
	wantError(t, "range of the future", err, rpctypes.ErrGRPCFutureRev)
	h.put(t, "a", "2")
	if _, err = h.kv.Compact(ctx, &pb.CompactionRequest{Revision: 3}); err != nil {
		t.Fatal(err)
	}
	_, err = h.kv.Compact(ctx, &pb.CompactionRequest{Revision: 3})
	wantError(t, "second compaction", err, rpctypes.ErrGRPCCompacted)
	_, err = h.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a"), Revision: 2})
	wantError(t, "range of the past", err, rpctypes.ErrGRPCCompacted)
	for _, row := range wireRows {
		if row.code == codes.Canceled || row.code == codes.DeadlineExceeded {
			continue // a client that is told so may report its own
		}
		h.replica.refuse.Store(&row.ours)
		_, err := h.kv.Put(ctx, &pb.PutRequest{Key: []byte("a")})
		wantError(t, "refused", err, status.Error(row.code, row.text))
	}
}

func TestReadsTakeABarrierUnlessSerializable(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	local := opRange("a")
	local.GetRequestRange().Serializable = true
	for _, tc := range []struct {
		name     string
		call     func() error
		barriers int64
	}{
		{"range", func() error { _, err := h.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")}); return err }, 1},
		{"serializable range", func() error {
			_, err := h.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a"), Serializable: true})
			return err
		}, 0},
		{"txn of ranges", func() error { _, err := h.kv.Txn(ctx, &pb.TxnRequest{Success: ops(opRange("a"), local)}); return err }, 1},
		{"txn of serializable ranges", func() error { _, err := h.kv.Txn(ctx, &pb.TxnRequest{Failure: ops(local)}); return err }, 0},
		{"member list", func() error {
			_, err := h.cluster.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
			return err
		}, 1},
		{"local member list", func() error { _, err := h.cluster.MemberList(ctx, &pb.MemberListRequest{}); return err }, 0},
		{"status", func() error { _, err := h.maintenance.Status(ctx, &pb.StatusRequest{}); return err }, 0},
	} {
		before := h.replica.barriers.Load()
		if err := tc.call(); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if n := h.replica.barriers.Load() - before; n != tc.barriers {
			t.Errorf("%s took %d barriers, want %d", tc.name, n, tc.barriers)
		}
	}
	if n := h.replica.proposals.Load(); n != 0 {
		t.Errorf("reading proposed %d commands", n)
	}
	fail := func() error { return errors.New("no quorum") }
	h.replica.onBarrier.Store(&fail)
	_, err := h.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")})
	wantError(t, "failed barrier", err, status.Error(codes.Unknown, "no quorum"))
}

// streamed reads a streamed range and puts its chunks together as clients do.
func (h *house) streamed(r *pb.RangeRequest) (chunks []*pb.RangeResponse, err error) {
	stream, err := h.kv.RangeStream(context.Background(), r)
	if err != nil {
		return nil, err
	}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return chunks, nil
		}
		if err != nil {
			return chunks, err
		}
		chunks = append(chunks, chunk.RangeResponse)
	}
}

func merged(chunks []*pb.RangeResponse) *pb.RangeResponse {
	all := new(pb.RangeResponse)
	for _, c := range chunks {
		proto.Merge(all, c)
	}
	return all
}

func TestStreamedRangesSayWhatRangesSay(t *testing.T) {
	h, ctx := newHouse(t, func(d *Deps) { d.MaxRequestBytes = 64 << 10 }), context.Background()
	for i := range 300 {
		h.put(t, fmt.Sprintf("k%03d", i), strings.Repeat("v", i*i%5000))
	}
	for _, r := range []*pb.RangeRequest{
		{Key: []byte("k"), RangeEnd: []byte("l")},
		{Key: []byte{0}, RangeEnd: []byte{0}},
		{Key: []byte("k"), RangeEnd: []byte("l"), Limit: 7},
		{Key: []byte("k"), RangeEnd: []byte("l"), Limit: 10},
		{Key: []byte("k"), RangeEnd: []byte("l"), Limit: 100},
		{Key: []byte("k"), RangeEnd: []byte("l"), Limit: 300},
		{Key: []byte("k"), RangeEnd: []byte("l"), Limit: 1000},
		{Key: []byte("k"), RangeEnd: []byte("l"), Revision: 100},
		{Key: []byte("k"), RangeEnd: []byte("l"), Revision: 100, Limit: 50},
		{Key: []byte("k"), RangeEnd: []byte("l"), KeysOnly: true},
		{Key: []byte("k"), RangeEnd: []byte("l"), CountOnly: true},
		{Key: []byte("k"), RangeEnd: []byte("l"), SortOrder: pb.RangeRequest_ASCEND},
		{Key: []byte("k007")},
		{Key: []byte("none")},
		{Key: []byte("l"), RangeEnd: []byte("k")},
	} {
		want, err := h.kv.Range(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		chunks, err := h.streamed(r)
		if err != nil {
			t.Errorf("%v: %v", r, err)
			continue
		}
		if got := merged(chunks); !proto.Equal(got, want) {
			t.Errorf("%v: %d keys, more %v, count %d, header %v; the range says %d, %v, %d, %v", r,
				len(got.Kvs), got.More, got.Count, got.Header, len(want.Kvs), want.More, want.Count, want.Header)
		}
		if len(chunks[0].Kvs) > firstChunkKeys {
			t.Errorf("%v: the first chunk has %d keys", r, len(chunks[0].Kvs))
		}
		for _, c := range chunks[:len(chunks)-1] {
			if c.Header != nil || c.More || c.Count != 0 || len(c.Kvs) == 0 {
				t.Errorf("%v: a chunk that is not the last has header %v, more %v, count %d, %d keys", r, c.Header, c.More, c.Count, len(c.Kvs))
			}
		}
	}
}

func TestStreamedRangesRefuseWhatTheyCannotDo(t *testing.T) {
	h := newHouse(t, nil)
	sorts := status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	filters := status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
	k := []byte("k")
	for _, tc := range []struct {
		r    *pb.RangeRequest
		want error
	}{
		{&pb.RangeRequest{SortOrder: pb.RangeRequest_DESCEND}, rpctypes.ErrGRPCEmptyKey},
		{&pb.RangeRequest{Key: k, SortOrder: pb.RangeRequest_DESCEND}, sorts},
		{&pb.RangeRequest{Key: k, SortOrder: pb.RangeRequest_ASCEND, SortTarget: pb.RangeRequest_MOD}, sorts},
		{&pb.RangeRequest{Key: k, SortTarget: 9}, rpctypes.ErrGRPCInvalidSortOption},
		{&pb.RangeRequest{Key: k, MinModRevision: 1}, filters},
		{&pb.RangeRequest{Key: k, MaxCreateRevision: 1}, filters},
		{&pb.RangeRequest{Key: k, Revision: 9}, rpctypes.ErrGRPCFutureRev},
		{&pb.RangeRequest{Key: k, SortTarget: pb.RangeRequest_VALUE}, nil},
	} {
		_, err := h.streamed(tc.r)
		wantError(t, tc.r.String(), err, tc.want)
	}
}

func TestAStreamedRangeShowsOneRevision(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	for i := range 100 {
		h.put(t, fmt.Sprintf("k%03d", i), "old")
	}
	// A chunk is larger than what flow control lets through before the client reads, so the server is held
	// up in the middle while the store changes.
	for i := range 40 {
		h.put(t, fmt.Sprintf("big%02d", i), strings.Repeat("v", 64<<10))
	}
	stream, err := h.kv.RangeStream(ctx, &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("z")})
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	chunks := []*pb.RangeResponse{first.RangeResponse}
	for i := range 100 {
		h.put(t, fmt.Sprintf("k%03d", i), "new")
	}
	h.put(t, "kzzz", "new")
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		chunks = append(chunks, chunk.RangeResponse)
	}
	all := merged(chunks)
	wantHeader(t, "stream", all.Header, 141)
	if len(all.Kvs) != 140 || all.Count != 140 {
		t.Errorf("%d keys, count %d", len(all.Kvs), all.Count)
	}
	for _, kv := range all.Kvs {
		if bytes.Equal(kv.Value, []byte("new")) {
			t.Errorf("%s shows what was put after the first chunk", kv.Key)
		}
	}
}

func TestAStreamedRangeEndsWhenCompactionOvertakesIt(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	for i := range 60 {
		h.put(t, fmt.Sprintf("big%02d", i), strings.Repeat("v", 64<<10))
	}
	stream, err := h.kv.RangeStream(ctx, &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("z")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	h.put(t, "a", "1")
	if _, err := h.kv.Compact(ctx, &pb.CompactionRequest{Revision: 62}); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = stream.Recv()
	}
	wantError(t, "overtaken", err, rpctypes.ErrGRPCCompacted)
}

func TestAPhysicalCompactionWaitsForTheSweep(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	h.put(t, "a", "1")
	h.put(t, "a", "2")
	store := h.deps.Machine.KV()
	changed := store.Changed()
	ended := make(chan error, 1)
	go func() {
		_, err := h.kv.Compact(ctx, &pb.CompactionRequest{Revision: 3, Physical: true})
		ended <- err
	}()
	<-changed
	select {
	case err := <-ended:
		t.Fatalf("ended before anything was removed: %v", err)
	default:
	}
	for done := false; !done; {
		var err error
		if _, done, err = store.Sweep(ctx, 100); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestMessagesAreLimitedByTheTransportAndCommandsByTheLog(t *testing.T) {
	h, ctx := newHouse(t, func(d *Deps) { d.MaxRequestBytes = 1000 }), context.Background()
	_, err := h.kv.Put(ctx, &pb.PutRequest{Key: []byte("a"), Value: make([]byte, 1000+grpcOverheadBytes)})
	if status.Code(err) != codes.ResourceExhausted || !strings.HasPrefix(rpctypes.ErrorDesc(err), "grpc: received message larger than max") {
		t.Errorf("a message beyond the transport's limit: %v", err)
	}
	if n := h.replica.proposals.Load(); n != 0 {
		t.Error("it was proposed")
	}
}

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}
func (rawCodec) Unmarshal(mem.BufferSlice, any) error { return nil }

var _ encoding.CodecV2 = rawCodec{}

func TestMalformedMessagesAreRefusedAsProtobufRefusesThem(t *testing.T) {
	h, ctx := newHouse(t, nil), context.Background()
	for _, method := range []string{"Range", "Put", "DeleteRange", "Txn", "Compact"} {
		err := h.conn.Invoke(ctx, "/etcdserverpb.KV/"+method, []byte{0x0a, 0xff}, new([]byte), grpc.ForceCodecV2(rawCodec{}))
		if status.Code(err) != codes.Internal || !strings.Contains(rpctypes.ErrorDesc(err), "failed to unmarshal") {
			t.Errorf("%s: %v", method, err)
		}
	}
}
