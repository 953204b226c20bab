package mvcc

import (
	"bytes"
	"hash/crc32"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/storage"
)

// A row of the revision index carries the sum of what etcd would keep under its position, in etcd's own
// encoding.
func TestRowsCarryTheSumsOfEtcdsValues(t *testing.T) {
	d := newDesk(t, Options{})
	write := func(f func(tx *Tx)) {
		d.group(func(w *Writer) {
			tx := w.NewTx()
			f(tx)
			tx.End()
		})
	}
	want := map[Pos]*mvccpb.KeyValue{}
	write(func(tx *Tx) {
		_, _ = tx.Put([]byte("a\x00"), bytes.Repeat([]byte("v"), 3000), 7)
		_, _ = tx.Put([]byte("b"), nil, 0)
	})
	want[Pos{2, 0}] = &mvccpb.KeyValue{Key: []byte("a\x00"), Value: bytes.Repeat([]byte("v"), 3000), Lease: 7, CreateRevision: 2, ModRevision: 2, Version: 1}
	want[Pos{2, 1}] = &mvccpb.KeyValue{Key: []byte("b"), CreateRevision: 2, ModRevision: 2, Version: 1}
	write(func(tx *Tx) { _, _ = tx.Put([]byte("b"), []byte("2"), 0) })
	want[Pos{3, 0}] = &mvccpb.KeyValue{Key: []byte("b"), Value: []byte("2"), CreateRevision: 2, ModRevision: 3, Version: 2}
	write(func(tx *Tx) { _, _ = tx.Delete([]byte("a"), []byte("c")) })
	want[Pos{4, 0}] = &mvccpb.KeyValue{Key: []byte("a\x00")}
	want[Pos{4, 1}] = &mvccpb.KeyValue{Key: []byte("b")}
	err := d.store.eachRevision(0, 10, func(at Pos, row storage.Revision) bool {
		b, err := proto.Marshal(want[at])
		if err != nil {
			t.Fatal(err)
		}
		sum := storage.Sum{Len: uint64(len(b)), CRC: crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))}
		if row.Value != sum {
			t.Errorf("%v: %+v, want %+v", at, row.Value, sum)
		}
		delete(want, at)
		return true
	})
	if err != nil || len(want) > 0 {
		t.Errorf("%v, and not seen: %v", err, want)
	}
}
