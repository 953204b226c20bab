package snapshot

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/storage"
)

const (
	// readers is the number of goroutines that fetch records. Records lie scattered, so a reader waits for the
	// disk or the processor most of the time; more would take the processor from those who write meanwhile.
	readers = 4
	// batchBytes is the size of the records that one reader fetches in a go, in bytes; it ends a batch.
	batchBytes = 128 << 10
	// batchRows bounds a batch of small records.
	batchRows = 1024
	// batchesAhead is how many batches may be fetched ahead of the one that is written.
	batchesAhead = 2 * readers
	// batchesSpare are in other hands meanwhile: the one that is filled with rows, the one that is written.
	batchesSpare = 2
)

// version is a row whose record is to be fetched. Its key lies in the batch.
type version struct {
	at     mvcc.Pos
	del    bool
	sum    storage.Sum
	keyEnd int
}

// batch is a piece of history, and its records once they are fetched.
type batch struct {
	versions []version
	keys     []byte
	size     int
	records  []byte
	err      error
	done     chan struct{}
}

func (b *batch) add(r mvcc.Row) {
	b.keys = append(b.keys, r.Key...)
	b.versions = append(b.versions, version{r.Pos, r.Delete, r.Value, len(b.keys)})
	b.size += int(r.Value.Len)
}

func (b *batch) full() bool { return b.size >= batchBytes || len(b.versions) >= batchRows }

// fetch reads the records of the batch.
func (b *batch) fetch(m *mvcc.Moment) {
	defer close(b.done)
	from := 0
	for _, v := range b.versions {
		if b.records, b.err = m.Value(b.records, v.at, v.del, b.keys[from:v.keyEnd], v.sum); b.err != nil {
			return
		}
		from = v.keyEnd
	}
}

// take brings the records of the batch from a merger, and from where they lie what the merger does not have.
func (b *batch) take(m *mvcc.Moment, from *merger) {
	defer close(b.done)
	key := 0
	for _, v := range b.versions {
		start, ok := len(b.records), false
		if !v.del && sorted(v.sum.Len) {
			b.records, ok = from.take(b.records, v.at)
			var found storage.Sum
			found.Write(b.records[start:])
			ok = ok && found == v.sum
		}
		if !ok {
			if b.records, b.err = m.Value(b.records[:start], v.at, v.del, b.keys[key:v.keyEnd], v.sum); b.err != nil {
				return
			}
		}
		key = v.keyEnd
	}
}

// history yields etcd's keys and values of all versions in order. Without a merger every record is read from where
// it lies.
func history(ctx context.Context, m *mvcc.Moment, from *merger, yield func(key, value []byte) error) error {
	fetch, readers := func(b *batch) { b.fetch(m) }, readers
	if from != nil {
		fetch, readers = func(b *batch) { b.take(m, from) }, 1
	}
	group, ctx := errgroup.WithContext(ctx)
	ordered := make(chan *batch, batchesAhead+batchesSpare)
	work := make(chan *batch, batchesAhead+batchesSpare)
	free := make(chan *batch, batchesAhead+batchesSpare)
	for range cap(free) {
		free <- new(batch)
	}
	group.Go(func() error {
		defer close(ordered)
		defer close(work)
		return cut(ctx, m, free, func(b *batch) {
			ordered <- b // there is always room: there are no more batches than that
			work <- b
		})
	})
	for range readers {
		group.Go(func() error {
			for b := range work {
				fetch(b)
			}
			return nil
		})
	}
	group.Go(func() error {
		for b := range ordered {
			<-b.done
			if err := b.each(yield); err != nil {
				return err
			}
			free <- b
		}
		return nil
	})
	return group.Wait()
}

// cut cuts the history into batches and hands them on.
func cut(ctx context.Context, m *mvcc.Moment, free <-chan *batch, hand func(*batch)) error {
	next := func() (*batch, error) {
		select {
		case b := <-free:
			*b = batch{versions: b.versions[:0], keys: b.keys[:0], records: b.spare(), done: make(chan struct{})}
			return b, nil
		case <-ctx.Done():
			return nil, fmt.Errorf("read history: %w", context.Cause(ctx))
		}
	}
	b, err := next()
	if err != nil {
		return err
	}
	err = m.Rows(func(r mvcc.Row) (err error) {
		if b.full() {
			hand(b)
			if b, err = next(); err != nil {
				return err
			}
		}
		b.add(r)
		return nil
	})
	if err == nil {
		hand(b)
	}
	return err
}

// spare is the memory that a batch keeps for its next records: not that of a single large one.
func (b *batch) spare() []byte {
	if cap(b.records) > 2*batchBytes {
		return nil
	}
	return b.records[:0]
}

// each yields the batch's versions.
func (b *batch) each(yield func(key, value []byte) error) error {
	if b.err != nil {
		return fmt.Errorf("read history: %w", b.err)
	}
	var raw []byte
	at := uint64(0)
	for _, v := range b.versions {
		row := mvcc.Row{Pos: v.at, Delete: v.del}
		raw = row.AppendRawKey(raw[:0])
		if err := yield(raw, b.records[at:at+v.sum.Len]); err != nil {
			return err
		}
		at += v.sum.Len
	}
	return nil
}
