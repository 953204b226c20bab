package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/storage"
)

func versions() Versions { return Versions{Cluster: "3.7.0", Storage: "3.7.0"} }

// open writes a file and opens it with etcd's library.
func open(t *testing.T, f *File) *bolt.DB {
	t.Helper()
	var out bytes.Buffer
	if err := errors.Join(f.Write(t.Context(), &out), f.Close()); err != nil {
		t.Fatal(err)
	}
	if int64(out.Len()) != f.Size() {
		t.Fatalf("%d bytes were announced and %d written", f.Size(), out.Len())
	}
	name := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(name, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(name, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// sums computes the hash of everything and the hash of the keys as etcd would over the file. The second is
// right as long as nothing was compacted.
func sums(t *testing.T, db *bolt.DB) (all, keys uint32, rows int) {
	t.Helper()
	table := crc32.MakeTable(crc32.Castagnoli)
	err := db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			all = crc32.Update(all, table, name)
			if string(name) == "key" {
				keys = crc32.Update(keys, table, name)
			}
			return b.ForEach(func(k, v []byte) error {
				if string(name) == "meta" && string(k) != "confState" && !strings.HasSuffix(string(k), "CompactRev") {
					return nil
				}
				all = crc32.Update(crc32.Update(all, table, k), table, v)
				if string(name) == "key" {
					keys = crc32.Update(crc32.Update(keys, table, k), table, v)
					rows++
				}
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, keys, rows
}

func TestTheFileHoldsWhatItsHashesSay(t *testing.T) {
	h := newHouse(t, vfs.NewMem(), "db")
	defer h.close()
	rng := rand.New(rand.NewPCG(1, 1))
	rows := 0
	for i := range 3000 {
		key := fmt.Appendf(nil, "key-%d", rng.IntN(500))
		if rng.IntN(5) == 0 {
			// Only what is there leaves a tombstone.
			v := h.machine.KV().View()
			if _, ok := v.Get(key); ok {
				rows++
			}
			v.Close()
			h.do(&pb.DeleteRangeRequest{Key: key})
			continue
		}
		size := rng.IntN(300)
		if i%100 == 0 {
			size = 300_000
		}
		h.do(&pb.PutRequest{Key: key, Value: make([]byte, size)})
		rows++
	}
	h.do(&pb.LeaseGrantRequest{ID: 7, TTL: 60}, &command.Downgrade{Target: "3.6.0"},
		&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 0xa1, Alarm: pb.AlarmType_NOSPACE})

	f, err := Open(h.machine, versions())
	if err != nil {
		t.Fatal(err)
	}
	wantAll, rev, err := Hash(h.machine, versions())
	if err != nil || rev != f.Rev() {
		t.Fatal(rev, err)
	}
	wantKeys, _, err := h.machine.KV().HashKV(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	h.do(&command.LeaseRevoke{IDs: []int64{7}}) // after the moment
	all, keys, n := sums(t, open(t, f))
	if all != wantAll || keys != wantKeys.Hash || n != rows {
		t.Errorf("the file has hashes %08x and %08x and %d rows, want %08x, %08x and %d", all, keys, n, wantAll, wantKeys.Hash, rows)
	}
}

func TestAChangedRecordEndsTheFile(t *testing.T) {
	h := newHouse(t, vfs.NewMem(), "db")
	defer h.close()
	h.do(&pb.PutRequest{Key: []byte("a"), Value: []byte("1")})
	b := h.engine.NewBatch()
	b.SetRecord("a", 2, 0, []byte("something else"))
	if err := h.engine.Commit(b); err != nil {
		t.Fatal(err)
	}
	f, err := Open(h.machine, versions())
	if err != nil {
		t.Fatal(err)
	}
	var damaged *storage.DamagedError
	if err := f.Write(t.Context(), io.Discard); !errors.As(err, &damaged) || string(damaged.Key) != "a" {
		t.Errorf("the file was written: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// stubborn is a writer that fails, or ends the context, after some bytes.
type stubborn struct {
	left int
	then func() error
}

func (s *stubborn) Write(b []byte) (int, error) {
	if s.left -= len(b); s.left < 0 {
		if err := s.then(); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func TestWritingEndsWithItsWriterAndItsContext(t *testing.T) {
	h := newHouse(t, vfs.NewMem(), "db")
	defer h.close()
	for range 200 {
		h.do(&pb.PutRequest{Key: []byte("a"), Value: make([]byte, 100_000)})
	}
	f, err := Open(h.machine, versions())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	full := errors.New("full")
	for _, left := range []int{0, 100, 200_000, 5_000_000} {
		if err := f.Write(t.Context(), &stubborn{left, func() error { return full }}); !errors.Is(err, full) {
			t.Errorf("after %d bytes: %v", left, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if err := f.Write(ctx, &stubborn{left, func() error { cancel(); return nil }}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled after %d bytes: %v", left, err)
		}
		cancel()
	}
	if err := f.Write(t.Context(), io.Discard); err != nil {
		t.Errorf("once more: %v", err)
	}
}
