package etcdfile

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Pages that stand at the same place in every file.
const (
	metaPages    = 2
	freelistPage = metaPages
	rootPage     = freelistPage + 1
)

// ErrChanged says that a bucket had other rows when it was written than when it was laid out.
var ErrChanged = errors.New("the rows changed while the database file was written")

// Bucket is a bucket of a file. Its rows come in ascending order of their keys, each key once, and Rows yields
// just what Lengths has announced. Both stop and return the error if yield returns one. What they yield is not
// kept.
type Bucket struct {
	Name    string
	Lengths func(yield func(key, value int) error) error
	Rows    func(yield func(key, value []byte) error) error
}

// Row is a row of a small bucket.
type Row struct{ Key, Value []byte }

// Small is a bucket of rows that are in memory, in any order.
func Small(name string, rows []Row) Bucket {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return Bucket{
		Name: name,
		Lengths: func(yield func(key, value int) error) error {
			for _, r := range rows {
				if err := yield(len(r.Key), len(r.Value)); err != nil {
					return err
				}
			}
			return nil
		},
		Rows: func(yield func(key, value []byte) error) error {
			for _, r := range rows {
				if err := yield(r.Key, r.Value); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// Layout is a file that is laid out and not yet written.
type Layout struct {
	buckets []Bucket
	roots   []uint64
	root    page
	pages   uint64
}

// Plan lays out a file of buckets.
func Plan(buckets []Bucket) (*Layout, error) {
	l := &Layout{buckets: slices.Clone(buckets)}
	slices.SortFunc(l.buckets, func(a, b Bucket) int { return strings.Compare(a.Name, b.Name) })
	l.fillRoot(make([]uint64, len(buckets)))
	l.pages = rootPage + l.root.pages()
	for _, b := range l.buckets {
		t := tree{next: l.pages}
		err := b.Lengths(func(key, value int) error {
			if key < 0 || value < 0 || key > math.MaxInt32-value {
				return fmt.Errorf("lay out a database file: a row of bucket %s has more than 2^31 bytes", b.Name)
			}
			return t.add(row{keyLen: key, valueLen: value})
		})
		if err != nil {
			return nil, err
		}
		root, err := t.finish()
		if err != nil {
			return nil, err
		}
		l.roots = append(l.roots, root)
		l.pages = t.next
	}
	l.fillRoot(l.roots)
	return l, nil
}

// fillRoot makes the page of the root bucket, which grows by no byte when the roots become known.
func (l *Layout) fillRoot(roots []uint64) {
	l.root.kind = kindLeaf
	l.root.reset()
	for i, b := range l.buckets {
		value := make([]byte, 16)
		for k := range 8 {
			value[k] = byte(roots[i] >> (8 * k))
		}
		l.root.add(row{key: []byte(b.Name), value: value, keyLen: len(b.Name), valueLen: len(value), bucket: true})
	}
}

// Size is the size of the file in bytes.
func (l *Layout) Size() int64 { return int64(l.pages) * pageSize }

// Write writes the file. Nothing is buffered beyond a page and its row, so w sees writes of at least 4096 bytes.
func (l *Layout) Write(w io.Writer) error {
	var head []byte
	for id := range uint64(metaPages) {
		head = appendMeta(head, id, rootPage, l.pages)
	}
	start := len(head)
	head = pad(appendHeader(head, freelistPage, kindFreelist, 0, 1), start)
	head = l.root.appendTo(head, rootPage)
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("write a database file: %w", err)
	}
	next := rootPage + l.root.pages()
	for i, b := range l.buckets {
		t := tree{out: w, next: next}
		if err := b.Rows(func(key, value []byte) error { return l.addRow(&t, key, value) }); err != nil {
			return err
		}
		root, err := t.finish()
		if err != nil {
			return err
		}
		if root != l.roots[i] {
			return fmt.Errorf("write bucket %s: %w", b.Name, ErrChanged)
		}
		next = t.next
	}
	return nil
}

// addRow adds a row, if there can still be one: a file that grows past what was announced helps nobody.
func (l *Layout) addRow(t *tree, key, value []byte) error {
	if t.next >= l.pages {
		return fmt.Errorf("write a database file: %w", ErrChanged)
	}
	return t.add(row{key: key, value: value, keyLen: len(key), valueLen: len(value)})
}
