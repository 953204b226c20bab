package storage

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"github.com/keelson-db/keelson/internal/invariant"
)

// Batch collects changes that become visible together and survive a crash
// together. It cannot be read. A batch belongs to one goroutine.
type Batch struct {
	b *pebble.Batch
	// revisions holds the rows of the revision index, which come in the order of their keys. Behind one another the
	// engine finds each one's place beside the last one's; between records it would search for it.
	revisions *pebble.Batch
}

// NewBatch returns an empty batch.
func (e *Engine) NewBatch() *Batch { return &Batch{e.db.NewBatch(), e.db.NewBatch()} }

// join returns all changes. Afterwards the batch can only be reset or closed.
func (b *Batch) join() *pebble.Batch {
	check(b.b.Apply(b.revisions, nil))
	return b.b
}

// Set puts a key.
func (b *Batch) Set(key, value []byte) {
	check(b.b.Set(key, value, nil))
}

// Delete removes a key.
func (b *Batch) Delete(key []byte) {
	check(b.b.Delete(key, nil))
}

// SetRecord puts one version of a user's key, encoding the engine's key in
// place so that nothing is copied twice.
func (b *Batch) SetRecord(user string, rev int64, sub int32, record []byte) {
	op := b.b.SetDeferred(recordKeyLen(user), len(record))
	putRecordKey(op.Key, user, rev, sub)
	copy(op.Value, record)
	check(op.Finish())
}

// DeleteRecord removes one version of a user's key.
func (b *Batch) DeleteRecord(user string, rev int64, sub int32) {
	op := b.b.DeleteDeferred(recordKeyLen(user))
	putRecordKey(op.Key, user, rev, sub)
	check(op.Finish())
}

// SetRevision puts a row of the revision index.
func (b *Batch) SetRevision(rev int64, sub int32, r Revision) {
	op := b.revisions.SetDeferred(revisionKeyLen, r.len())
	putRevisionKey(op.Key, rev, sub)
	r.put(op.Value)
	check(op.Finish())
}

// DeleteRevision removes a row of the revision index.
func (b *Batch) DeleteRevision(rev int64, sub int32) {
	op := b.revisions.DeleteDeferred(revisionKeyLen)
	putRevisionKey(op.Key, rev, sub)
	check(op.Finish())
}

// SetMetaInt puts a number into the meta table, eight bytes big-endian.
func (b *Batch) SetMetaInt(name string, v int64) {
	op := b.b.SetDeferred(1+len(name), 8)
	op.Key[0] = tableMeta
	copy(op.Key[1:], name)
	binary.BigEndian.PutUint64(op.Value, uint64(v))
	check(op.Finish())
}

// Len is the encoded size of the batch in bytes.
func (b *Batch) Len() int { return b.b.Len() + b.revisions.Len() }

// Count is the number of changes in the batch.
func (b *Batch) Count() int { return int(b.b.Count() + b.revisions.Count()) }

// Reset empties the batch for another use.
func (b *Batch) Reset() {
	b.b.Reset()
	b.revisions.Reset()
}

// Close gives the batch's memory back; it must not be used afterwards.
func (b *Batch) Close() {
	check(b.b.Close())
	check(b.revisions.Close())
}

// check asserts what holds for a batch that is not indexed: collecting a
// change is an append to memory and cannot fail.
func check(err error) {
	invariant.Check(err == nil, "collecting a change in a batch cannot fail")
}
