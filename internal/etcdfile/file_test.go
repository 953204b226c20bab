package etcdfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func write(t *testing.T, buckets ...Bucket) []byte {
	t.Helper()
	l, err := Plan(buckets)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := l.Write(&out); err != nil {
		t.Fatal(err)
	}
	if int64(out.Len()) != l.Size() {
		t.Fatalf("%d bytes were announced and %d written", l.Size(), out.Len())
	}
	return out.Bytes()
}

// open opens a file with etcd's own library.
func open(t *testing.T, file []byte, o *bolt.Options) *bolt.DB {
	t.Helper()
	name := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(name, 0o600, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// verify compares what the library reads with the rows, and lets it check its own structure.
func verify(t *testing.T, db *bolt.DB, want map[string][]Row) {
	t.Helper()
	err := db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("check: %v", err)
		}
		seen := 0
		err := tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			seen++
			rows, ok := want[string(name)]
			if !ok {
				t.Errorf("there is a bucket %q", name)
			}
			at := 0
			err := b.ForEach(func(k, v []byte) error {
				if at < len(rows) && (!bytes.Equal(k, rows[at].Key) || !bytes.Equal(v, rows[at].Value)) {
					t.Errorf("%s: row %d is %.40q, want %.40q", name, at, k, rows[at].Key)
				}
				at++
				return nil
			})
			if at != len(rows) {
				t.Errorf("%s: %d rows, want %d", name, at, len(rows))
			}
			if len(rows) > 0 {
				r := rows[len(rows)/2]
				if v := b.Get(r.Key); !bytes.Equal(v, r.Value) {
					t.Errorf("%s: a lookup of %.40q finds %.40q", name, r.Key, v)
				}
			}
			return err
		})
		if seen != len(want) {
			t.Errorf("%d buckets, want %d", seen, len(want))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func rows(n int, value func(i int) []byte) (list []Row) {
	for i := range n {
		key := binary.BigEndian.AppendUint64(nil, uint64(i))
		key = append(key, '_')
		list = append(list, Row{binary.BigEndian.AppendUint64(key, 0), value(i)})
	}
	return list
}

func TestEtcdsLibraryReadsWhatWasWritten(t *testing.T) {
	src := rand.NewChaCha8([32]byte{5})
	rng := rand.New(src)
	random := func(n int) []byte {
		b := make([]byte, n)
		_, _ = src.Read(b)
		return b
	}
	var long []Row
	for i := range 300 {
		long = append(long, Row{fmt.Appendf(nil, "%04d%s", i, strings.Repeat("n", rng.IntN(30_000))), nil})
	}
	for name, buckets := range map[string]map[string][]Row{
		"nothing":       {},
		"empty buckets": {"a": nil, "key": nil},
		"one row":       {"key": rows(1, func(int) []byte { return []byte("v") })},
		"few rows":      {"key": rows(70, func(int) []byte { return random(40) }), "meta": rows(2, func(int) []byte { return nil }), "z": nil},
		"many rows":     {"key": rows(100_000, func(int) []byte { return random(rng.IntN(300)) })},
		"large values": {"key": rows(40, func(i int) []byte {
			return random([]int{0, 1, 4095, 4096, 4097, 4096 - 16 - 16 - 17, 4096 - 16 - 16 - 16, 1 << 20, 9_000_000}[i%9])
		})},
		"long keys": {"authUsers": long, "key": rows(3, func(int) []byte { return random(5000) })},
	} {
		t.Run(name, func(t *testing.T) {
			var list []Bucket
			for name, rows := range buckets {
				list = append(list, Small(name, rows))
			}
			file := write(t, list...)
			verify(t, open(t, file, nil), buckets)
			verify(t, open(t, file, &bolt.Options{ReadOnly: true}), buckets)
		})
	}
}

func TestEtcdsLibraryCanGoOnWriting(t *testing.T) {
	want := rows(5000, func(int) []byte { return bytes.Repeat([]byte("v"), 200) })
	db := open(t, write(t, Small("key", want), Small("meta", nil)), &bolt.Options{NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	extra := Row{[]byte("\xff"), []byte("last")}
	err := db.Update(func(tx *bolt.Tx) error {
		for i := range 2500 {
			if err := tx.Bucket([]byte("key")).Delete(want[i].Key); err != nil {
				return err
			}
		}
		return errors.Join(tx.Bucket([]byte("key")).Put(extra.Key, extra.Value), tx.Bucket([]byte("meta")).Put(extra.Key, extra.Value))
	})
	if err != nil {
		t.Fatal(err)
	}
	verify(t, db, map[string][]Row{"key": append(want[2500:], extra), "meta": {extra}})
}

func TestRowsThatChangeEndTheFile(t *testing.T) {
	two := rows(1000, func(int) []byte { return make([]byte, 100) })
	for name, second := range map[string][]Row{
		"fewer": two[:500], "none": nil, "longer": rows(1000, func(int) []byte { return make([]byte, 300) }),
	} {
		b := Small("key", two)
		b.Rows = Small("key", second).Rows
		l, err := Plan([]Bucket{b})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Write(io.Discard); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorsOfRowsAndWritersAreHandedOn(t *testing.T) {
	broken := errors.New("broken")
	b := Small("key", rows(10, func(int) []byte { return nil }))
	b.Lengths = func(func(key, value int) error) error { return broken }
	if _, err := Plan([]Bucket{b}); !errors.Is(err, broken) {
		t.Error(err)
	}
	b = Small("key", rows(1000, func(int) []byte { return nil }))
	l, err := Plan([]Bucket{b})
	if err != nil {
		t.Fatal(err)
	}
	for after := range 5 {
		if err := l.Write(&failing{after, broken}); !errors.Is(err, broken) {
			t.Errorf("after %d writes: %v", after, err)
		}
	}
}

type failing struct {
	left int
	err  error
}

func (f *failing) Write(b []byte) (int, error) {
	if f.left == 0 {
		return 0, f.err
	}
	f.left--
	return len(b), nil
}

func BenchmarkWrite(b *testing.B) {
	list := rows(100_000, func(int) []byte { return make([]byte, 1024) })
	bucket := Small("key", list)
	for b.Loop() {
		l, err := Plan([]Bucket{bucket})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(l.Size())
		if err := l.Write(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
