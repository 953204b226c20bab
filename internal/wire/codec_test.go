package wire

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/metrics"
)

func testCodec() Codec { return Codec{Received: new(metrics.Counter), Sent: new(metrics.Counter)} }

// requests are the messages that are read by hand, in shapes that clients send.
func requests() []proto.Message {
	k, v := []byte("/registry/pods/default/web-1"), bytes.Repeat([]byte{0, 0xff, 'v'}, 100)
	rangeOp := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: k}}}
	putOp := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: k, Value: v, Lease: -7}}}
	delOp := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: k, RangeEnd: []byte{0}}}}
	txn := &pb.TxnRequest{
		Compare: []*pb.Compare{
			{Target: pb.Compare_MOD, Key: k, TargetUnion: &pb.Compare_ModRevision{ModRevision: 1 << 40}},
			{Result: pb.Compare_NOT_EQUAL, Target: pb.Compare_VALUE, Key: k, TargetUnion: &pb.Compare_Value{Value: v}, RangeEnd: []byte("z")},
			{Result: pb.Compare_LESS, Target: pb.Compare_LEASE, Key: k, TargetUnion: &pb.Compare_Lease{Lease: -1}},
			{Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{}},
			{Target: pb.Compare_VERSION, Key: k, TargetUnion: &pb.Compare_Version{Version: 3}},
			{},
		},
		Success: []*pb.RequestOp{putOp, delOp, rangeOp},
		Failure: []*pb.RequestOp{rangeOp, {}},
	}
	nested := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: txn}}}}
	return []proto.Message{
		&pb.PutRequest{}, &pb.PutRequest{Key: k, Value: v, Lease: math.MaxInt64, PrevKv: true, IgnoreValue: true, IgnoreLease: true},
		&pb.RangeRequest{}, &pb.RangeRequest{
			Key: k, RangeEnd: []byte{0}, Limit: -1, Revision: math.MinInt64, SortOrder: 2, SortTarget: 77, Serializable: true,
			KeysOnly: true, CountOnly: true, MinModRevision: 1, MaxModRevision: 2, MinCreateRevision: 3, MaxCreateRevision: 1 << 62,
		},
		&pb.DeleteRangeRequest{}, &pb.DeleteRangeRequest{Key: k, RangeEnd: []byte("b"), PrevKv: true},
		&pb.TxnRequest{}, txn, nested,
	}
}

// byHand are the readers under test, each with a fresh message of its kind.
var byHand = []struct {
	name  string
	fresh func() proto.Message
	read  func([]byte, proto.Message) bool
}{
	{"put", func() proto.Message { return new(pb.PutRequest) }, func(b []byte, m proto.Message) bool { return readPut(b, m.(*pb.PutRequest)) }},
	{"range", func() proto.Message { return new(pb.RangeRequest) }, func(b []byte, m proto.Message) bool { return readRange(b, m.(*pb.RangeRequest)) }},
	{"delete", func() proto.Message { return new(pb.DeleteRangeRequest) }, func(b []byte, m proto.Message) bool { return readDelete(b, m.(*pb.DeleteRangeRequest)) }},
	{"txn", func() proto.Message { return new(pb.TxnRequest) }, func(b []byte, m proto.Message) bool { return readTxn(b, m.(*pb.TxnRequest)) }},
}

// sameAsLibrary reads b with the hand-written reader and with the library. Where the reader says that it
// understood, the library must have understood the same; the codec as a whole must always agree.
func sameAsLibrary(t *testing.T, b []byte) {
	t.Helper()
	for _, h := range byHand {
		want := h.fresh()
		wantErr := proto.Unmarshal(b, want)
		got := h.fresh()
		if h.read(bytes.Clone(b), got) && (wantErr != nil || !proto.Equal(got, want)) {
			t.Errorf("%s read by hand from %x:\n got %v\nwant %v, %v", h.name, b, got, want, wantErr)
		}
		got = h.fresh()
		err := testCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, got)
		if (err == nil) != (wantErr == nil) || err == nil && !proto.Equal(got, want) {
			t.Errorf("%s from %x:\n got %v, %v\nwant %v, %v", h.name, b, got, err, want, wantErr)
		}
	}
}

func TestHandReadersAgreeWithProtobuf(t *testing.T) {
	for _, m := range requests() {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		sameAsLibrary(t, b)
		for cut := range b {
			sameAsLibrary(t, b[:cut])
		}
	}
	for name, b := range map[string][]byte{
		"unknown field":                {0x0a, 1, 'k', 0x7a, 1, 'x'},
		"wrong wire type":              {0x08, 1},
		"group":                        {0x0b, 0x0c},
		"tag written in two bytes":     {0x8a, 0x00, 1, 'k'},
		"field zero":                   {0x02, 1, 'k'},
		"varint too long":              {0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02},
		"varint padded":                {0x18, 0x85, 0x80, 0x00},
		"length beyond the end":        {0x0a, 0x7f, 'k'},
		"huge length":                  {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"key twice":                    {0x0a, 1, 'a', 0x0a, 1, 'b'},
		"one put in two parts":         {0x12, 10, 0x12, 3, 0x0a, 1, 'k', 0x12, 3, 0x12, 1, 'v'},
		"an op that changes its mind":  {0x12, 10, 0x0a, 3, 0x0a, 1, 'k', 0x12, 3, 0x0a, 1, 'v'},
		"a compare that changes kinds": {0x0a, 6, 0x30, 9, 0x20, 3, 0x30, 5},
	} {
		t.Run(name, func(t *testing.T) { sameAsLibrary(t, b) })
	}
}

func TestHandReadersTakeTheUsualRequests(t *testing.T) {
	for _, m := range requests()[:8] {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if op, ok := m.(*pb.TxnRequest); ok && len(op.Failure) > 0 {
			continue // holds an operation that is none, which is left to the library
		}
		for _, h := range byHand {
			if got := h.fresh(); got.ProtoReflect().Type() == m.ProtoReflect().Type() && !h.read(b, got) {
				t.Errorf("%T was left to the library: %v", m, m)
			}
		}
	}
}

func FuzzReadersAgreeWithProtobuf(f *testing.F) {
	for _, m := range requests() {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { sameAsLibrary(t, b) })
}

func TestReadersAgreeOnDamagedMessages(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var seeds [][]byte
	for _, m := range requests() {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 0 {
			seeds = append(seeds, b)
		}
	}
	for range 5000 {
		b := bytes.Clone(seeds[rng.IntN(len(seeds))])
		for range 1 + rng.IntN(3) {
			i := rng.IntN(len(b))
			switch rng.IntN(4) {
			case 0:
				b[i] = byte(rng.Uint32())
			case 1:
				b[i] ^= 1 << rng.IntN(8)
			case 2:
				b = slices.Insert(b, i, byte(rng.Uint32()))
			case 3:
				b = slices.Concat(b[:i], seeds[rng.IntN(len(seeds))], b[i:])
			}
		}
		sameAsLibrary(t, b)
	}
}

func TestRequestsDoNotShareMemoryWithTheTransport(t *testing.T) {
	b, err := proto.Marshal(&pb.PutRequest{Key: []byte("key"), Value: []byte("value")})
	if err != nil {
		t.Fatal(err)
	}
	var got pb.PutRequest
	if err := testCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b[:4]), mem.SliceBuffer(b[4:])}, &got); err != nil {
		t.Fatal(err)
	}
	clear(b)
	if string(got.Key) != "key" || string(got.Value) != "value" {
		t.Errorf("the request changed with the transport's buffer: %v", &got)
	}
	if grown := append(got.Key, '!'); string(got.Value) != "value" {
		t.Errorf("appending to the key (%q) wrote into the value %q", grown, got.Value)
	}
}

// responses are the messages that are written by hand.
func responses() []proto.Message {
	h := &pb.ResponseHeader{ClusterId: math.MaxUint64, MemberId: 0x8e9e05c52164694d, Revision: 1 << 50, RaftTerm: 2}
	kv := &mvccpb.KeyValue{Key: []byte("k"), CreateRevision: 2, ModRevision: 300, Version: 4, Value: bytes.Repeat([]byte("v"), 5000), Lease: -3}
	empty := &mvccpb.KeyValue{}
	put := &pb.PutResponse{Header: &pb.ResponseHeader{Revision: 9}, PrevKv: kv}
	del := &pb.DeleteRangeResponse{Header: &pb.ResponseHeader{Revision: 9}, Deleted: 2, PrevKvs: []*mvccpb.KeyValue{kv, empty}}
	rng := &pb.RangeResponse{Header: &pb.ResponseHeader{}, Kvs: []*mvccpb.KeyValue{empty, kv}, More: true, Count: 1000}
	txn := &pb.TxnResponse{Header: h, Succeeded: true, Responses: []*pb.ResponseOp{
		{Response: &pb.ResponseOp_ResponsePut{ResponsePut: put}},
		{Response: &pb.ResponseOp_ResponseRange{ResponseRange: rng}},
		{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: del}},
		{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: &pb.TxnResponse{
			Header: &pb.ResponseHeader{}, Responses: []*pb.ResponseOp{{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{}}}},
		}}},
		{},
	}}
	return []proto.Message{
		&pb.PutResponse{}, &pb.PutResponse{Header: h}, put, &pb.PutResponse{Header: h, PrevKv: empty},
		&pb.DeleteRangeResponse{}, &pb.DeleteRangeResponse{Header: h, Deleted: 1}, del,
		&pb.TxnResponse{}, &pb.TxnResponse{Header: h, Succeeded: true}, txn,
		&pb.LeaseKeepAliveResponse{Header: h, ID: math.MaxInt64, TTL: 60}, &pb.LeaseKeepAliveResponse{},
		rng, &pb.MemberListResponse{Header: h, Members: []*pb.Member{{ID: 1, Name: "default"}}}, &pb.StatusResponse{},
	}
}

func TestWrittenRepliesReadBackAsTheyWere(t *testing.T) {
	c := testCodec()
	for _, m := range responses() {
		bufs, err := c.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		b := bufs.Materialize()
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want) {
			t.Errorf("%T:\n got %x\nwant %x", m, b, want)
		}
		bufs.Free()
	}
}

func TestCodecCountsBytes(t *testing.T) {
	c := testCodec()
	out, err := c.Marshal(&Encoded{Bufs: mem.BufferSlice{mem.SliceBuffer("abc"), mem.SliceBuffer("de")}})
	if err != nil || string(out.Materialize()) != "abcde" {
		t.Fatalf("an encoded reply became %q, %v", out.Materialize(), err)
	}
	if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer{0x0a, 1, 'k'}}, new(pb.RangeRequest)); err != nil {
		t.Fatal(err)
	}
	if c.Sent.Value() != 5 || c.Received.Value() != 3 {
		t.Errorf("counted %d sent and %d received, want 5 and 3", c.Sent.Value(), c.Received.Value())
	}
}

func TestCodecRefusesWhatIsNoMessage(t *testing.T) {
	c := testCodec()
	if _, err := c.Marshal("text"); err == nil {
		t.Error("marshalled a string")
	}
	if err := c.Unmarshal(nil, new(string)); err == nil {
		t.Error("unmarshalled into a string")
	}
}

func BenchmarkCodec(b *testing.B) {
	c := testCodec()
	put, err := proto.Marshal(&pb.PutRequest{Key: []byte("/registry/pods/default/web-1"), Value: make([]byte, 256)})
	if err != nil {
		b.Fatal(err)
	}
	data := mem.BufferSlice{mem.SliceBuffer(put)}
	b.Run("read put 256 B", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := c.Unmarshal(data, new(pb.PutRequest)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read put 256 B, library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := proto.Unmarshal(put, new(pb.PutRequest)); err != nil {
				b.Fatal(err)
			}
		}
	})
	txn, err := proto.Marshal(&pb.TxnRequest{
		Compare: []*pb.Compare{{Target: pb.Compare_MOD, Key: []byte("/registry/pods/default/web-1"), TargetUnion: &pb.Compare_ModRevision{ModRevision: 1 << 30}}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("/registry/pods/default/web-1"), Value: make([]byte, 1000)}}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("/registry/pods/default/web-1")}}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	txnData := mem.BufferSlice{mem.SliceBuffer(txn)}
	b.Run("read txn 1 KB", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := c.Unmarshal(txnData, new(pb.TxnRequest)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read txn 1 KB, library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := proto.Unmarshal(txn, new(pb.TxnRequest)); err != nil {
				b.Fatal(err)
			}
		}
	})
	resp := &pb.PutResponse{Header: &pb.ResponseHeader{ClusterId: 1 << 63, MemberId: 1 << 62, Revision: 1 << 30, RaftTerm: 3}}
	b.Run("write put", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			bufs, err := c.Marshal(resp)
			if err != nil {
				b.Fatal(err)
			}
			bufs.Free()
		}
	})
	b.Run("write put, library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := proto.Marshal(resp); err != nil {
				b.Fatal(err)
			}
		}
	})
}
