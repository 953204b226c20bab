// Package storage is an ordered key-value engine: Pebble without its own log.
// It owns the directory of the state, every key prefix in it (keys.go), and
// nothing of what the values mean.
//
// Durability. A commit is atomic but not synced. Data becomes durable when a
// memtable is flushed, and memtables are flushed in the order in which they
// were filled, so what survives a crash is a prefix of the committed batches.
// The log of the replicated commands is kept elsewhere and is the only thing
// that is synced per command; a second log here would double the bytes
// written and the syncs for nothing. Whoever cuts that log asks GetDurable
// how far the surviving prefix reaches.
//
// A copy of another member's state is built in a directory beside the engine's:
// a Loader fills it, and Promote and Adopt put it in the engine's place, each
// so that a crash leaves the one or the other.
//
// Beside iterators there is ScanTables, for who can do with less than a
// moment and wants everything, and Scratch, for what does not fit into memory.
//
// Goroutines. Close waits in one of its own, so that a disk that fails
// meanwhile cannot hold it; Pebble flushes and compacts in the background. An Engine may be used from any goroutine, a Batch or an Iter
// from one at a time.
//
// Failure. The first error of background work, and the first error that
// Pebble considers fatal, is final: Failed is closed, Err tells the reason,
// and Commit and Flush refuse to go on. A Commit that is already waiting for
// a flush inside Pebble may never return then; the process must end without
// waiting for it. Nothing is lost by that: what was acknowledged is in the
// log, and the next start replays it.
//
// Limits. Keys and values are bounded by the request limits above. Memory is
// bounded by the named sizes in options.go. A scratch file is made only where
// it leaves scratchReserve on the disk. A Loader holds one block and its
// table's index in memory.
package storage
