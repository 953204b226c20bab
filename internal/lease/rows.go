package lease

import (
	"encoding/binary"
	"fmt"

	"github.com/keelson-db/keelson/internal/storage"
)

// A lease's row: format 1 byte, granted seconds uvarint, remaining seconds uvarint.
const rowFormat = 1

func save(b *storage.Batch, l Lease) {
	b.Set(storage.LeaseKey(nil, int64(l.ID)), appendRow(nil, l))
}

func appendRow(b []byte, l Lease) []byte {
	b = append(b, rowFormat)
	b = binary.AppendUvarint(b, uint64(l.TTL))
	return binary.AppendUvarint(b, uint64(l.Remaining))
}

func remove(b *storage.Batch, id ID) {
	b.Delete(storage.LeaseKey(nil, int64(id)))
}

func load(e storage.Reader) (leases []Lease, err error) {
	it, err := e.Iter(storage.LeaseSpan())
	if err != nil {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	defer func() {
		if cerr := it.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("read leases: %w", cerr)
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		id, valid := storage.ParseLeaseKey(it.Key())
		l, parsed := parseRow(ID(id), it.Value())
		if !valid || !parsed {
			return nil, fmt.Errorf("read leases: row %x is malformed: the data was damaged or written by a newer release", it.Key())
		}
		leases = append(leases, l)
	}
	return leases, it.Error()
}

func parseRow(id ID, row []byte) (Lease, bool) {
	if len(row) == 0 || row[0] != rowFormat {
		return Lease{}, false
	}
	ttl, n := binary.Uvarint(row[1:])
	if n <= 0 {
		return Lease{}, false
	}
	remaining, m := binary.Uvarint(row[1+n:])
	if m <= 0 || 1+n+m != len(row) {
		return Lease{}, false
	}
	return Lease{ID: id, TTL: int64(ttl), Remaining: int64(remaining)}, true
}
