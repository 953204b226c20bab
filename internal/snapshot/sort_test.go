package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/storage"
)

// spoiled is a file system whose scratch files can be told to fail or to lie.
type spoiled struct {
	vfs.FS
	write func(n int) error    // asked before each write, with its length
	read  func(b []byte) error // shown what each read returns
}

func (s *spoiled) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	if err == nil && strings.Contains(name, "scratch-") {
		return &spoiledFile{f, s}, nil
	}
	return f, err
}

type spoiledFile struct {
	vfs.File
	fs *spoiled
}

func (f *spoiledFile) Write(b []byte) (int, error) {
	if f.fs.write != nil {
		if err := f.fs.write(len(b)); err != nil {
			return 0, err
		}
	}
	return f.File.Write(b)
}

func (f *spoiledFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(b, at)
	if err == nil && f.fs.read != nil {
		err = f.fs.read(b)
	}
	return n, err
}

// bytesOf writes a file.
func bytesOf(t *testing.T, f *File) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := f.Write(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// lookedUp writes a file without sorting.
func lookedUp(t *testing.T, f *File) []byte {
	t.Helper()
	defer func() { f.sorts = true }()
	f.sorts = false
	return bytesOf(t, f)
}

// live writes some history, with large and empty values, transactions, leases, deletes and compactions.
func live(h *house, rng *rand.Rand, steps int) {
	h.t.Helper()
	for range steps {
		key := func() []byte { return fmt.Appendf(nil, "key\x00%d", rng.IntN(200)) }
		put := func() *pb.PutRequest {
			size := rng.IntN(400)
			switch rng.IntN(50) {
			case 0:
				size = directBytes - 64 + rng.IntN(64)
			case 1:
				size = 2 * directBytes
			case 2:
				size = 0
			}
			value := make([]byte, size)
			for i := range value {
				value[i] = byte(rng.Uint32())
			}
			return &pb.PutRequest{Key: key(), Value: value}
		}
		switch rng.IntN(12) {
		case 0, 1:
			h.do(&pb.DeleteRangeRequest{Key: key()})
		case 2:
			h.do(&pb.DeleteRangeRequest{Key: key(), RangeEnd: []byte("key\x01")})
		case 3:
			txn := &pb.TxnRequest{}
			for i := range 1 + rng.IntN(20) {
				p := put()
				p.Key = fmt.Appendf(p.Key[:0], "txn%d", i)
				txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p}})
			}
			h.do(txn)
		default:
			h.do(put(), put(), put())
		}
	}
}

// compact removes history up to a revision in the last quarter.
func compact(h *house, rng *rand.Rand) {
	h.t.Helper()
	kv := h.machine.KV()
	stats := kv.Stats()
	from := max(stats.CompactRev, 1)
	to := from + (stats.Rev-from)*3/4 + mvcc.Rev(rng.Int64N(int64(stats.Rev-from)/4+1))
	if to <= from {
		return
	}
	h.do(&pb.CompactionRequest{Revision: int64(to)})
	for done := false; !done; {
		var err error
		if _, done, err = kv.Sweep(h.t.Context(), 1+rng.IntN(200)); err != nil {
			h.t.Fatal(err)
		}
	}
}

func TestSortingChangesNoByteOfTheFile(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 1))
		h := newHouse(t, vfs.NewMem(), "db")
		for round := range 6 {
			live(h, rng, 100)
			f, err := Open(h.machine, versions())
			if err != nil {
				t.Fatal(err)
			}
			want := lookedUp(t, f)
			// What comes after the moment is not to be seen.
			live(h, rng, 30)
			compact(h, rng)
			if rng.IntN(2) == 0 {
				if err := h.engine.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			for _, most := range []limits{{runBytes, runRows}, {40 << 10, runRows}, {runBytes, 7}, {1 << 20, 100}} {
				f.most = most
				if got := bytesOf(t, f); !bytes.Equal(got, want) {
					t.Errorf("seed %d, round %d, %v: the files are different", seed, round, most)
				}
				if f.Slow() != nil && !errors.Is(f.Slow(), errCrowded) {
					t.Errorf("seed %d, round %d, %v: %v", seed, round, most, f.Slow())
				}
			}
			if got := lookedUp(t, f); !bytes.Equal(got, want) {
				t.Errorf("seed %d, round %d: the files that were looked up are different", seed, round)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		h.close()
	}
}

// trouble is what may go wrong on the side.
type trouble struct {
	name  string
	spoil func(mem *vfs.MemFS, fs *spoiled)
	why   error
}

func troubles() []trouble {
	bad := errors.New("bad disk")
	return []trouble{
		{"all is well", func(*vfs.MemFS, *spoiled) {}, nil},
		{"room enough", func(mem *vfs.MemFS, _ *spoiled) {
			mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 2 << 30, TotalBytes: 4 << 30, UsedBytes: 2 << 30})
		}, nil},
		{"no room", func(mem *vfs.MemFS, _ *spoiled) {
			mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 4 << 30, UsedBytes: 3 << 30})
		}, storage.ErrNoRoom},
		{"the first write fails", func(_ *vfs.MemFS, fs *spoiled) { fs.write = func(int) error { return bad } }, bad},
		{"a later write fails", func(_ *vfs.MemFS, fs *spoiled) {
			left := 100_000
			fs.write = func(n int) error {
				if left -= n; left < 0 {
					return bad
				}
				return nil
			}
		}, bad},
		{"the first read fails", func(_ *vfs.MemFS, fs *spoiled) { fs.read = func([]byte) error { return bad } }, bad},
		{"a later read fails", func(_ *vfs.MemFS, fs *spoiled) {
			left := 60
			fs.read = func([]byte) error {
				if left--; left < 0 {
					return bad
				}
				return nil
			}
		}, bad},
		{"reads return zeroes", func(_ *vfs.MemFS, fs *spoiled) { fs.read = func(b []byte) error { clear(b); return nil } }, errScratch},
		{"reads return ones", func(_ *vfs.MemFS, fs *spoiled) {
			fs.read = func(b []byte) error {
				for i := range b {
					b[i] = 0xff
				}
				return nil
			}
		}, errScratch},
		{"a bit is wrong here and there", func(_ *vfs.MemFS, fs *spoiled) {
			rng := rand.New(rand.NewPCG(3, 3))
			fs.read = func(b []byte) error {
				b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
				return nil
			}
		}, errAny},
	}
}

func TestWithoutRoomOrWithABadDiskRecordsAreLookedUp(t *testing.T) {
	for _, c := range troubles() {
		t.Run(c.name, func(t *testing.T) {
			mem := vfs.NewMem()
			fs := &spoiled{FS: mem}
			h := newHouse(t, fs, "db")
			defer h.close()
			live(h, rand.New(rand.NewPCG(1, 2)), 300)
			f, err := Open(h.machine, versions())
			if err != nil {
				t.Fatal(err)
			}
			if err := h.engine.Flush(); err != nil {
				t.Fatal(err)
			}
			want := lookedUp(t, f)
			f.most = limits{20 << 10, runRows}
			c.spoil(mem, fs)
			if got := bytesOf(t, f); !bytes.Equal(got, want) {
				t.Error("the files are different")
			}
			if c.why != errAny && !errors.Is(f.Slow(), c.why) || c.why == nil && f.Slow() != nil {
				t.Errorf("it was slow because of %v, want %v", f.Slow(), c.why)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			live(h, rand.New(rand.NewPCG(2, 2)), 10) // the server does not care
			if err := h.engine.Err(); err != nil {
				t.Error(err)
			}
			names, err := mem.List("db")
			if err != nil || strings.Contains(strings.Join(names, " "), "scratch-") {
				t.Errorf("what is left: %v %v", names, err)
			}
		})
	}
}

// errAny stands for any reason or none.
var errAny = errors.New("any")

func TestSortingEndsWithItsContext(t *testing.T) {
	fs := &spoiled{FS: vfs.NewMem()}
	h := newHouse(t, fs, "db")
	defer h.close()
	live(h, rand.New(rand.NewPCG(1, 2)), 2000)
	f, err := Open(h.machine, versions())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := h.engine.Flush(); err != nil {
		t.Fatal(err)
	}
	f.sorts, f.most = true, limits{20 << 10, runRows}
	ctx, cancel := context.WithCancel(t.Context())
	fs.write = func(int) error { cancel(); return nil }
	if err := f.Write(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while it sorts: %v", err)
	}
}

func TestMostlyLargeRecordsAreNotSorted(t *testing.T) {
	fs := &spoiled{FS: vfs.NewMem(), write: func(int) error { return errors.New("must not be written") }}
	h := newHouse(t, fs, "db")
	defer h.close()
	for i := range 100 {
		h.do(&pb.PutRequest{Key: fmt.Appendf(nil, "k%d", 99-i), Value: make([]byte, 2*directBytes)},
			&pb.PutRequest{Key: fmt.Appendf(nil, "s%d", i)})
	}
	f, err := Open(h.machine, versions())
	if err != nil {
		t.Fatal(err)
	}
	f.most = limits{20, 20}
	_ = open(t, f)
	if f.Slow() != nil {
		t.Error(f.Slow())
	}
}
