// Package mvcc keeps every version of every key: revisions, ranges,
// transactions' reads and writes, history and compaction.
//
// Records lie in the engine by key, newest version first, and a record is the
// encoded mvccpb.KeyValue itself, so that a range is iterate-and-copy and
// never decode-and-encode. Beside them a revision index tells what happened at
// each position, so that history is read in order and a compaction costs what
// it removes and not what is stored.
//
// Live keys are also in memory: a counted copy-on-write B+tree of Items, with
// all metadata but the value. It answers counts, limits, compares and the
// predecessor of a put without touching the engine, and it leads ranges of the
// current revision, which visit the engine only for bytes. The road not taken
// is an engine snapshot per reader: opening one costs several microseconds,
// and counting with it costs the whole range.
//
// Recent changes sit in a ring of Events, each encoded once as watchers need
// it; an Item points to its Event while that is in the ring, so fresh records
// are read from there. The changes of an unpublished group are always in
// memory, which is why the engine's batch need not be readable.
//
// Ranges that come back find more: the records of a leaf that was read before
// lie ready to be sent (warm.go), and a revision that was asked for before has
// an index of its own, the present one with history undone (pastroot.go). Both
// are caches over immutable things and need no invalidation.
//
// Goroutines. None are started. One goroutine writes (Begin to Publish), any
// number read, one sweeps. A reader takes one atomic pointer to a published
// state, which is immutable, and holds no lock that the writer needs.
//
// Removal. What a reader may still read must not be removed below it. Views
// register in the current generation, a counter; Sweep, after the compaction
// was published, begins a new generation and waits until the older ones have
// no readers. Views taken later see nothing that the compaction removes. A
// view that is never closed therefore stops physical compaction, and nothing
// else.
//
// Invariants. Revisions grow by one per changing command; all changes of one
// command share its revision and are ordered by sub-revision. Rows at or after
// the compact revision are never removed.
//
// Limits. Keys in the index: memory, about 100 bytes plus the key each. The
// ring and the records ready to be sent: Options. Indexes of older revisions:
// maxPastRoots, of at most maxPastChanges each. One revision: 2^31 changes.
package mvcc
