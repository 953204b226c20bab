package mvcc

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

func FuzzRecordIsWhatProtobufWrites(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), int64(2), int64(3), int64(4), int64(5))
	f.Add([]byte("k"), []byte{}, int64(0), int64(1<<62), int64(-1), int64(-1<<63))
	f.Fuzz(func(t *testing.T, key, value []byte, create, mod, version, lease int64) {
		kv := &mvccpb.KeyValue{Key: key, Value: value, CreateRevision: create, ModRevision: mod, Version: version, Lease: lease}
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(kv)
		if err != nil {
			t.Fatal(err)
		}
		got := appendRecord(nil, key, value, Rev(create), Rev(mod), version, lease)
		if !bytes.Equal(got, want) {
			t.Fatalf("encoded %x, protobuf writes %x", got, want)
		}
		if n := recordLen(len(key), len(value), Rev(create), Rev(mod), version, lease); n != len(got) {
			t.Fatalf("length %d, want %d", n, len(got))
		}
		r, ok := parseRecord(got)
		if !ok || !bytes.Equal(r.key, key) || !bytes.Equal(r.value, value) || r.create != Rev(create) ||
			r.mod != Rev(mod) || r.version != version || r.lease != lease {
			t.Fatalf("parsed %+v of %x", r, got)
		}
	})
}

func FuzzParseRecordRefusesOrAgrees(f *testing.F) {
	f.Add(appendRecord(nil, "key", []byte("value"), 1, 2, 3, 4))
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := parseRecord(b)
		if !ok {
			return
		}
		var kv mvccpb.KeyValue
		if err := proto.Unmarshal(b, &kv); err != nil {
			t.Fatalf("parsed %x, which protobuf refuses: %v", b, err)
		}
		if !bytes.Equal(kv.Key, r.key) || !bytes.Equal(kv.Value, r.value) || kv.ModRevision != int64(r.mod) || kv.Lease != r.lease {
			t.Fatalf("parsed %+v, protobuf reads %v", r, &kv)
		}
	})
}
