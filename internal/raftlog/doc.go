// Package raftlog keeps raft's entries and hard state, durable and in order.
//
// It is a log of fixed-size segment files that are written full of zeros before
// their first use and recycled after it, so that an append changes data blocks
// only and its one fdatasync has no file system journal to wait for. One Append is
// one batch: entries and hard state leave in one write and one sync, and after a
// crash a batch is there whole or not at all. docs/data.md shows every byte,
// docs/crash.md argues why nothing acknowledged is lost.
//
// # Goroutines
//
// The package starts none. Append and Close belong to one goroutine, the appender.
// The raft.Storage methods, Compact, SetSnapshot and Size may be called from any
// goroutine meanwhile. Run, if the caller starts it, gets the next segment ready;
// without it an append that needs one does that work itself. Reset wants the log to itself.
//
// # Invariants
//
// Entries are contiguous: prefix.Index+1 up to the last. A batch is written only
// after all before it in an earlier segment is durable. Nothing of a segment is
// overwritten once it is durable. A failed write or sync is final: what the disk
// holds is unknown from then on, and every later append returns that error. Only one
// Log is open on a directory: its lock is held from Open, Look or Create to Close.
//
// # Limits
//
// A segment is at most MaxSegmentSize, a batch at most MaxBatchBytes. Recent
// entries up to Options.CacheBytes stay in memory, older ones are read back from
// their file. The position of every entry that is not compacted takes 24 bytes. Within
// one process the lock knows a directory by its path, so two spellings of a path are
// two directories to it; other processes are kept out whatever the spelling.
package raftlog
