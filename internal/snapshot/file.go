package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/keelson-db/keelson/internal/etcdfile"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// File is etcd's database file of one moment. It must be closed.
type File struct {
	state  *state.Snapshot
	layout *etcdfile.Layout
	ctx    context.Context // of the Write that is going on
	size   measure
	sorts  bool // it pays
	most   limits
	slow   error // why the last Write did not sort
}

// Open takes the state at this moment and lays out its file.
func Open(m *state.Machine, v Versions) (*File, error) {
	s, err := m.Snapshot()
	if err != nil {
		return nil, err
	}
	f := &File{state: s, most: limits{runBytes, runRows}}
	if f.layout, err = f.plan(v); err != nil {
		return nil, errors.Join(fmt.Errorf("lay out a snapshot: %w", err), s.Close())
	}
	f.sorts = f.size.pays()
	return f, nil
}

func (f *File) plan(v Versions) (*etcdfile.Layout, error) {
	small, err := tables(f.state, v)
	if err != nil {
		return nil, err
	}
	buckets := []etcdfile.Bucket{{
		Name: bucketKey,
		Lengths: func(yield func(key, value int) error) error {
			return f.state.KV.Rows(func(r mvcc.Row) error {
				f.size.add(r)
				return yield(r.RawKeyLen(), int(r.Value.Len))
			})
		},
		Rows: f.history,
	}}
	for _, t := range small {
		buckets = append(buckets, etcdfile.Small(t.name, t.rows))
	}
	return etcdfile.Plan(buckets)
}

// history yields the rows of the bucket of keys. What keeps it from sorting makes it slower and nothing else.
func (f *File) history(yield func(key, value []byte) error) (err error) {
	f.slow = nil
	if !f.sorts {
		return history(f.ctx, f.state.KV, nil, yield)
	}
	var s sorter
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.gather(f.ctx, f.state.KV, f.size, f.most, f.state.Scratch); err != nil {
		if f.ctx.Err() != nil {
			return fmt.Errorf("sort history: %w", err)
		}
		f.slow = err
		return history(f.ctx, f.state.KV, nil, yield)
	}
	from := s.merge()
	err = history(f.ctx, f.state.KV, from, yield)
	f.slow = from.failed
	return err
}

// Slow tells why the last Write had to look for each record where it lies, which takes much longer than
// to sort them; nil if it had not.
func (f *File) Slow() error { return f.slow }

// Size is the size of the file in bytes.
func (f *File) Size() int64 { return f.layout.Size() }

// Rev is the revision of the store in the file.
func (f *File) Rev() mvcc.Rev { return f.state.KV.Rev }

// Write writes the file, front to back. It can be called again, but not twice at a time.
func (f *File) Write(ctx context.Context, w io.Writer) error {
	f.ctx = ctx
	if err := f.layout.Write(w); err != nil {
		return fmt.Errorf("write a snapshot: %w", err)
	}
	return nil
}

// Close lets go of the moment.
func (f *File) Close() error { return f.state.Close() }

// Hash is the CRC-32C of everything in the file, as etcd computes it: of each bucket its name and then keys and
// values, without what says how far the log was applied and who wrote the file.
func Hash(m *state.Machine, v Versions) (hash uint32, rev mvcc.Rev, err error) {
	s, err := m.Snapshot()
	if err != nil {
		return 0, 0, err
	}
	hash, err = hashOf(s, v)
	return hash, s.KV.Rev, errors.Join(err, s.Close())
}

func hashOf(s *state.Snapshot, v Versions) (uint32, error) {
	small, err := tables(s, v)
	if err != nil {
		return 0, err
	}
	small = append(small, table{name: bucketKey})
	slices.SortFunc(small, func(a, b table) int { return strings.Compare(a.name, b.name) })
	var sum storage.Sum
	joiner := storage.NewJoiner()
	var key []byte
	for _, t := range small {
		sum.Write([]byte(t.name))
		slices.SortFunc(t.rows, func(a, b etcdfile.Row) int { return bytes.Compare(a.Key, b.Key) })
		for _, r := range t.rows {
			if t.name == bucketMeta && slices.Contains([]string{metaConsistent, metaTerm, metaStorage}, string(r.Key)) {
				continue
			}
			sum.Write(r.Key)
			sum.Write(r.Value)
		}
		if t.name != bucketKey {
			continue
		}
		err := s.KV.Rows(func(r mvcc.Row) error {
			key = r.AppendRawKey(key[:0])
			sum.Write(key)
			joiner.Join(&sum, r.Value)
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("hash the keys: %w", err)
		}
	}
	return sum.CRC, nil
}
