package main

import (
	"math/rand/v2"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	mvccpb "go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// decode strips the gRPC frame header and decodes what follows.
func decode(t *testing.T, framed []byte, into proto.Message) {
	t.Helper()
	count := 0
	rest, err := splitMessages(framed, func(m []byte) error {
		count++
		return proto.Unmarshal(m, into)
	})
	if err != nil || count != 1 || len(rest) != 0 {
		t.Fatalf("%d messages, %d bytes left: %v", count, len(rest), err)
	}
}

func TestHandWrittenRequestsDecodeToWhatWasMeant(t *testing.T) {
	random := rand.NewPCG(1, 2)
	space := keyspace{prefix: "t/", size: 10}

	var put pb.PutRequest
	decode(t, appendPut(nil, space.key(7), random), &put)
	if string(put.Key) != string(space.key(7)) || len(put.Value) != valueSize {
		t.Errorf("put %q with %d bytes", put.Key, len(put.Value))
	}

	var all pb.RangeRequest
	decode(t, appendRange(nil, space.key(1), space.end(), 500, 42), &all)
	if string(all.Key) != string(space.key(1)) || string(all.RangeEnd) != "t0" || all.Limit != 500 || all.Revision != 42 {
		t.Errorf("range %v", &all)
	}

	var txn pb.TxnRequest
	decode(t, appendPutTxn(nil, [][]byte{space.key(1), space.key(2)}, valueSize, random), &txn)
	if len(txn.Success) != 2 || string(txn.Success[1].GetRequestPut().GetKey()) != string(space.key(2)) ||
		len(txn.Success[0].GetRequestPut().GetValue()) != valueSize {
		t.Errorf("txn %v", &txn)
	}

	var watch pb.WatchRequest
	decode(t, appendWatchCreate(nil, space.key(0), space.end()), &watch)
	if create := watch.GetCreateRequest(); string(create.GetKey()) != string(space.key(0)) || string(create.GetRangeEnd()) != "t0" {
		t.Errorf("watch %v", &watch)
	}
}

func TestWatchResponsesAreReadWithoutDecodingThem(t *testing.T) {
	event := &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"), Value: []byte{1, 0, 0, 0, 0, 0, 0, 0, 9}, ModRevision: 3}}
	message, err := proto.Marshal(&pb.WatchResponse{
		Header: &pb.ResponseHeader{Revision: 3}, WatchId: 12, Events: []*mvccpb.Event{event, event},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseWatchResponse(message)
	if err != nil || r.watcher != 12 || r.events != 2 || r.created || r.canceled {
		t.Errorf("got %+v, %v", r, err)
	}
	if sent, err := sentTime(r.event); err != nil || sent.UnixNano() != 1 {
		t.Errorf("sent at %v, %v", sent, err)
	}
	for cut := 1; cut < len(message); cut++ {
		_, _ = parseWatchResponse(message[:cut]) // a torn message may be an error but not a panic
	}
	cancelled, err := proto.Marshal(&pb.WatchResponse{Created: true, Canceled: true})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := parseWatchResponse(cancelled); err != nil || !r.canceled || !r.created {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestMessagesAreCutFromAStreamWhereverItIsTorn(t *testing.T) {
	stream := []byte("\x00\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01c")
	for cut := range len(stream) {
		var got []string
		take := func(m []byte) error { got = append(got, string(m)); return nil }
		rest, err := splitMessages(stream[:cut], take)
		if err != nil {
			t.Fatal(err)
		}
		rest, err = splitMessages(append(append([]byte{}, rest...), stream[cut:]...), take)
		if err != nil || len(rest) != 0 || len(got) != 3 || got[0] != "ab" || got[1] != "" || got[2] != "c" {
			t.Errorf("cut at %d: %q, %d bytes left, %v", cut, got, len(rest), err)
		}
	}
	if _, err := splitMessages([]byte("\x01\x00\x00\x00\x00"), nil); err == nil {
		t.Error("a compressed message was accepted")
	}
}

func TestKeysHaveOneLengthAndTheOrderOfTheirNumbers(t *testing.T) {
	space := keyspace{prefix: "t/", size: 1000}
	seen := map[int]bool{}
	for n := range space.size {
		seen[space.scattered(n)] = true
		key := space.key(n)
		if len(key) != keySize {
			t.Fatalf("key %d has %d bytes", n, len(key))
		}
		if n > 0 && string(space.key(n-1)) >= string(key) || string(key) >= string(space.end()) {
			t.Fatalf("key %d is out of order", n)
		}
	}
	if len(seen) != space.size {
		t.Errorf("the scattered order visits %d of %d", len(seen), space.size)
	}
}
